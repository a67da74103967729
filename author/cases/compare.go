package cases

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"penstock.dev/penstock/core/exchange"
)

// message is one that came.
type message struct {
	method, path, authority, scheme string
	status                          int
	from, failure                   string
	headers, trailers               *exchange.Header
	body                            []byte
}

// compare says how m differs from what is wanted of it.
func (m *message) compare(where string, want *Message) (faults []string) {
	if want == nil {
		return nil
	}
	fault := func(field string, got, want any) {
		faults = append(faults, fmt.Sprintf("%s.%s: got %s; want %s", where, field, short(got), short(want)))
	}
	for _, f := range []struct{ name, got, want string }{
		{"method", m.method, want.Method}, {"path", m.path, want.Path}, {"authority", m.authority, want.Authority}, {"scheme", m.scheme, want.Scheme},
		{"from", m.from, want.From}, {"error", m.failure, want.Error},
	} {
		if f.want != "" && f.got != f.want {
			fault(f.name, f.got, f.want)
		}
	}
	if want.Status != 0 && m.status != want.Status {
		fault("status", m.status, want.Status)
	}
	faults = append(faults, want.Headers.compare(where+".headers", m.headers)...)
	faults = append(faults, want.Trailers.compare(where+".trailers", m.trailers)...)
	body := string(m.body)
	if want.Body != nil && body != *want.Body {
		fault("body", body, *want.Body)
	}
	if want.Chunks != nil && body != strings.Join(want.Chunks, "") {
		fault("body", body, strings.Join(want.Chunks, ""))
	}
	for _, part := range want.Contains {
		if !strings.Contains(body, part) {
			faults = append(faults, fmt.Sprintf("%s.body: got %s; want that it contains %s", where, short(body), short(part)))
		}
	}
	return faults
}

// compare says which fields of h are not as wanted.
func (f Fields) compare(where string, h *exchange.Header) (faults []string) {
	for _, want := range f {
		var got []string
		for _, have := range h.Fields() {
			if exchange.EqualFold(have.Name, want.Name) {
				got = append(got, string(have.Value))
			}
		}
		switch {
		case want.Values == nil && got != nil:
			faults = append(faults, fmt.Sprintf("%s.%s: got %s; want none", where, want.Name, short(strings.Join(got, ", "))))
		case want.Values != nil && got == nil:
			faults = append(faults, fmt.Sprintf("%s.%s: got none; want %s", where, want.Name, short(strings.Join(want.Values, ", "))))
		case !slices.Equal(got, want.Values):
			faults = append(faults, fmt.Sprintf("%s.%s: got %s; want %s", where, want.Name, short(strings.Join(got, ", ")), short(strings.Join(want.Values, ", "))))
		}
	}
	return faults
}

// short writes a value for people.
func short(v any) string {
	s, ok := v.(string)
	if !ok {
		return fmt.Sprint(v)
	}
	if len(s) > 200 {
		return fmt.Sprintf("%q… (%d bytes)", strings.ToValidUTF8(s[:200], ""), len(s))
	}
	return fmt.Sprintf("%q", s)
}

// sameJSON says whether two texts are one value.
func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// compare says how what was said to the cache differs.
func (c *Cache) compare(said *exchange.CacheSteer) []string {
	if c == nil {
		return nil
	}
	got := Cache{}
	if said != nil {
		got = Cache{Bypass: said.Bypass, TTL: Duration(said.TTL), Force: said.Force}
		for _, part := range said.Key {
			got.Key = append(got.Key, string(part))
		}
		for _, tag := range said.Tags {
			got.Tags = append(got.Tags, string(tag))
		}
	}
	if got.Bypass == c.Bypass && got.TTL == c.TTL && got.Force == c.Force && slices.Equal(got.Key, c.Key) && slices.Equal(got.Tags, c.Tags) {
		return nil
	}
	return []string{fmt.Sprintf("cache: got %s; want %s", got, *c)}
}

// String writes it for people.
func (c Cache) String() string {
	return fmt.Sprintf("bypass %t, key %q, ttl %v, force %t, tags %q", c.Bypass, c.Key, time.Duration(c.TTL), c.Force, c.Tags)
}
