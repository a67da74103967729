package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	sdk "penstock.dev/penstock/wasm-sdk/go"
)

// Bounds on a configuration.
const (
	maxRules = 64
	maxList  = 32
	maxTTL   = 365 * 24 * time.Hour
)

// rule is what holds for some requests.
type rule struct {
	path    string // without a query; empty: any
	prefix  bool   // path is whole segments that a path begins with
	methods []string

	ttl            time.Duration
	force, bypass  bool
	query          query
	device         bool
	headers        []string // lower case
	cookies        []string
	tags           []string
	tagHeader      string // lower case
	ready          [][]byte
	fromTheRequest bool // the steering depends on the request's fields
}

// query says which parameters go on to the cache and the origin.
type query struct {
	allow, deny []string // at most one of them; an element that ends in * is a prefix
	sort        bool
}

func (q *query) empty() bool { return q.allow == nil && q.deny == nil && !q.sort }

// rules is a whole configuration.
type rules struct {
	list []*rule
	// paths, methods and devices: some rule looks at them.
	paths, methods, devices bool

	agents agents
}

// parse reads the configuration strictly: every error has its path.
func parse(text []byte) (*rules, error) {
	out := &rules{agents: agents{}}
	var list []json.RawMessage
	err := object("config", text, map[string]field{"rules": func(at string, raw json.RawMessage) error { return read(at, raw, &list) }})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 || len(list) > maxRules {
		return nil, fmt.Errorf("config.rules: %d rules: want 1 to %d", len(list), maxRules)
	}
	var errs []error
	for i, raw := range list {
		r, err := parseRule(fmt.Sprintf("config.rules[%d]", i), raw)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out.list = append(out.list, r)
		out.paths = out.paths || r.path != ""
		out.methods = out.methods || r.methods != nil
		out.devices = out.devices || r.device
	}
	return out, errors.Join(errs...)
}

func parseRule(at string, raw json.RawMessage) (*rule, error) {
	r := &rule{}
	err := object(at, raw, map[string]field{
		"path":    r.readPath,
		"methods": func(at string, raw json.RawMessage) error { return names(at, raw, &r.methods, isToken, "a method") },
		"ttl":     func(at string, raw json.RawMessage) error { return duration(at, raw, &r.ttl) },
		"force":   func(at string, raw json.RawMessage) error { return read(at, raw, &r.force) },
		"bypass":  func(at string, raw json.RawMessage) error { return read(at, raw, &r.bypass) },
		"query":   r.query.read,
		"device":  func(at string, raw json.RawMessage) error { return read(at, raw, &r.device) },
		"key": func(at string, raw json.RawMessage) error {
			err := object(at, raw, map[string]field{
				"headers": func(at string, raw json.RawMessage) error {
					return names(at, raw, &r.headers, isToken, "a header's name")
				},
				"cookies": func(at string, raw json.RawMessage) error {
					return names(at, raw, &r.cookies, isToken, "a cookie's name")
				},
			})
			if err == nil && r.headers == nil && r.cookies == nil {
				return fmt.Errorf("%s: it is empty: want headers or cookies", at)
			}
			return err
		},
		"tags": func(at string, raw json.RawMessage) error {
			return names(at, raw, &r.tags, isTag, "a tag: 1 to 256 visible ASCII characters without commas")
		},
		"tagHeader": func(at string, raw json.RawMessage) error {
			if err := read(at, raw, &r.tagHeader); err != nil {
				return err
			}
			if !isToken(r.tagHeader) {
				return fmt.Errorf("%s: %.80q is no header's name", at, r.tagHeader)
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	return r, r.finish(at)
}

// readPath reads {exact: /a} or {prefix: /a}.
func (r *rule) readPath(at string, raw json.RawMessage) error {
	var exact, prefix string
	err := object(at, raw, map[string]field{
		"exact":  func(at string, raw json.RawMessage) error { return read(at, raw, &exact) },
		"prefix": func(at string, raw json.RawMessage) error { return read(at, raw, &prefix) },
	})
	if err != nil {
		return err
	}
	if (exact == "") == (prefix == "") {
		return fmt.Errorf("%s: want exactly one of exact and prefix", at)
	}
	path := exact + prefix
	if at += ".exact"; exact == "" {
		at = strings.TrimSuffix(at, "exact") + "prefix"
	}
	normal, clear := normalise(path)
	if path[0] != '/' || strings.ContainsAny(path, "?#") || !clear || normal != path {
		return fmt.Errorf("%s: %.80q is no path as it is matched: want one such as /static, without a query, dot segments, empty segments and needless encoding", at, path)
	}
	r.path, r.prefix = path, prefix != ""
	if r.prefix && len(path) > 1 {
		r.path = strings.TrimSuffix(path, "/")
	}
	return nil
}

// read reads {allow: [...]} or {deny: [...]}, and sort.
func (q *query) read(at string, raw json.RawMessage) error {
	isParameter := func(s string) bool {
		return s != "" && len(s) <= 256 && strings.Count(s, "*") == strings.Count(s[len(s)-1:], "*")
	}
	const what = "a parameter's name, with * at its end or without"
	err := object(at, raw, map[string]field{
		"allow": func(at string, raw json.RawMessage) error { return names(at, raw, &q.allow, isParameter, what) },
		"deny":  func(at string, raw json.RawMessage) error { return names(at, raw, &q.deny, isParameter, what) },
		"sort":  func(at string, raw json.RawMessage) error { return read(at, raw, &q.sort) },
	})
	switch {
	case err != nil:
		return err
	case q.allow != nil && q.deny != nil:
		return fmt.Errorf("%s: want at most one of allow and deny", at)
	case q.empty():
		return fmt.Errorf("%s: it changes nothing: want allow, deny or sort: true", at)
	}
	return nil
}

// finish checks what fields mean together, and makes ready what no request changes.
func (r *rule) finish(at string) error {
	for i := range r.headers {
		r.headers[i] = strings.ToLower(r.headers[i])
	}
	r.tagHeader = strings.ToLower(r.tagHeader)
	steers := r.ttl > 0 || r.device || r.headers != nil || r.cookies != nil || r.tags != nil || r.tagHeader != ""
	parts := len(r.headers) + len(r.cookies)
	if r.device {
		parts++
	}
	tags := len(r.tags)
	if r.tagHeader != "" {
		tags++
	}
	switch {
	case r.force && r.ttl == 0:
		return fmt.Errorf("%s.force: without ttl there is nothing to force", at)
	case r.bypass && (r.ttl > 0 || r.headers != nil || r.cookies != nil || r.tags != nil || r.tagHeader != ""):
		return fmt.Errorf("%s.bypass: what bypasses the cache has no ttl, key, tags and tagHeader", at)
	case !steers && !r.bypass && r.query.empty():
		return fmt.Errorf("%s: it does nothing: want ttl, bypass, query, device, key, tags or tagHeader", at)
	case parts > sdk.MaxCacheParts:
		return fmt.Errorf("%s.key: %d headers, cookies and devices: at most %d", at, parts, sdk.MaxCacheParts)
	case tags > sdk.MaxCacheTags:
		return fmt.Errorf("%s.tags: %d, with that of tagHeader: at most %d", at, tags, sdk.MaxCacheTags)
	}
	r.fromTheRequest = r.headers != nil || r.cookies != nil || r.tagHeader != ""
	if r.fromTheRequest || !steers && !r.bypass {
		return nil
	}
	for _, class := range classes {
		s := r.steering()
		if r.device && !r.bypass {
			s.Key = []string{devicePart + class}
		}
		b, err := s.Append(nil)
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		r.ready = append(r.ready, b)
	}
	return nil
}

// steering is what the rule says of every request.
func (r *rule) steering() sdk.Steering {
	return sdk.Steering{Bypass: r.bypass, TTL: r.ttl, Force: r.force, Tags: slices.Clone(r.tags)}
}

// field reads one field of an object, which stands at a path.
type field func(at string, raw json.RawMessage) error

// object reads an object whose fields are known.
func object(at string, raw json.RawMessage, fields map[string]field) error {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil || values == nil {
		return fmt.Errorf("%s: want a mapping", at)
	}
	var errs []error
	for _, name := range sorted(values) {
		read := fields[name]
		if read == nil {
			errs = append(errs, fmt.Errorf("%s.%.80s: unknown field: want one of %s", at, name, strings.Join(sorted(fields), ", ")))
			continue
		}
		errs = append(errs, read(at+"."+name, values[name]))
	}
	return errors.Join(errs...)
}

func sorted[T any](m map[string]T) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// read reads a value of to's type.
func read[T any](at string, raw json.RawMessage, to *T) error {
	var want string
	switch any(*to).(type) {
	case bool:
		want = "true or false"
	case string:
		want = "text"
	default:
		want = "a list"
	}
	if err := json.Unmarshal(raw, to); err != nil || string(raw) == "null" {
		return fmt.Errorf("%s: want %s", at, want)
	}
	return nil
}

// names reads a list of different texts that fit.
func names(at string, raw json.RawMessage, to *[]string, fits func(string) bool, what string) error {
	var list []json.RawMessage
	if err := read(at, raw, &list); err != nil {
		return err
	}
	if len(list) == 0 || len(list) > maxList {
		return fmt.Errorf("%s: %d elements: want 1 to %d", at, len(list), maxList)
	}
	*to = make([]string, len(list))
	for i, one := range list {
		if err := read(fmt.Sprintf("%s[%d]", at, i), one, &(*to)[i]); err != nil {
			return err
		}
	}
	for i, s := range *to {
		if !fits(s) {
			return fmt.Errorf("%s[%d]: %.80q is not %s", at, i, s, what)
		}
		if slices.Contains((*to)[:i], s) {
			return fmt.Errorf("%s[%d]: %.80q is there twice", at, i, s)
		}
	}
	return nil
}

// duration reads a time of whole seconds, such as 90s or 1h30m.
func duration(at string, raw json.RawMessage, to *time.Duration) error {
	var text string
	if err := read(at, raw, &text); err != nil {
		return fmt.Errorf("%s: want a time such as 60s or 12h", at)
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second || d > maxTTL || d%time.Second != 0 {
		return fmt.Errorf("%s: %.40q is no time from 1s to 8760h in whole seconds", at, text)
	}
	*to = d
	return nil
}

// isToken reports whether s is a token (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= 0x20 || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != "" && len(s) <= 256
}

// isTag reports whether a CachePurge can name s.
func isTag(s string) bool {
	for i := range len(s) {
		if s[i] <= 0x20 || s[i] >= 0x7f || s[i] == ',' {
			return false
		}
	}
	return s != "" && len(s) <= sdk.MaxCacheTag
}
