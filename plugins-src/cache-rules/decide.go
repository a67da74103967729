package main

import (
	"encoding/binary"
	"strings"

	sdk "penstock.dev/penstock/wasm-sdk/go"
)

// request is what rules look at.
type request struct {
	path, method string // path with its query
	// get returns the first field of a name, all the whole list with lower case names.
	get func(name string) (string, bool)
	all func() [][2]string
}

// outcome is what is to be done with a request.
type outcome struct {
	steering []byte // as sdk.SendSteering takes it; nil: nothing is said
	path     string // in place of the request's; empty: that stays
	device   string // of deviceHeader; empty: that is taken away
}

// bypassed is the steering of a request that the cache is to leave alone.
var bypassed = []byte{1, 0, 0, 0, 0, 0, 0}

// decide finds the first rule that is for the request, and what it says.
func (all *rules) decide(q *request) (o outcome) {
	path, _, _ := strings.Cut(q.path, "?")
	clear := true
	if all.paths {
		path, clear = normalise(path)
	}
	if !clear { // a rule of another path may be meant
		return outcome{steering: bypassed}
	}
	for _, r := range all.list {
		if !r.match(path, q.method) {
			continue
		}
		if !r.query.empty() {
			if changed := r.query.change(q.path); changed != q.path {
				o.path = changed
			}
		}
		class := desktop
		if r.device {
			agent, _ := q.get("user-agent")
			hint, _ := q.get("sec-ch-ua-mobile")
			class = all.agents.device(agent, hint)
			o.device = classes[class]
		}
		switch {
		case r.fromTheRequest:
			o.steering = r.steer(q.all(), class)
		case r.ready != nil:
			o.steering = r.ready[class]
		}
		return o
	}
	return o
}

// steer makes the steering of a request. What does not fit into the key, or names no tag,
// keeps the request from the cache: there it would be found by others, or by no purge.
func (r *rule) steer(fields [][2]string, class int) []byte {
	s := r.steering()
	if r.device {
		s.Key = append(s.Key, devicePart+classes[class])
	}
	for _, name := range r.headers {
		s.Key = append(s.Key, headerPart(fields, name))
	}
	for _, name := range r.cookies {
		s.Key = append(s.Key, cookiePart(fields, name))
	}
	if r.tagHeader != "" {
		found := false
		for _, f := range fields {
			if f[0] != r.tagHeader {
				continue
			}
			tag := strings.TrimSpace(f[1])
			if found || !isTag(tag) {
				return bypassed
			}
			s.Tags, found = append(s.Tags, tag), true
		}
	}
	b, err := s.Append(nil)
	if err != nil {
		return bypassed
	}
	return b
}

// headerPart is a key part with all fields of a name, in their order; none differs from
// an empty one.
func headerPart(fields [][2]string, name string) string {
	b := append([]byte("header "), name...)
	for _, f := range fields {
		if f[0] == name {
			b = append(binary.AppendUvarint(append(b, 0), uint64(len(f[1]))), f[1]...)
		}
	}
	return string(b[:min(len(b), sdk.MaxCachePart+1)])
}

// cookiePart is a key part with all values that a cookie has: origins differ in which one
// counts.
func cookiePart(fields [][2]string, name string) string {
	b := append([]byte("cookie "), name...)
	for _, f := range fields {
		if f[0] != "cookie" {
			continue
		}
		for rest := f[1]; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			own, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if strings.TrimSpace(own) == name {
				b = append(binary.AppendUvarint(append(b, 0), uint64(len(value))), value...)
			}
		}
	}
	return string(b[:min(len(b), sdk.MaxCachePart+1)])
}
