package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	sdk "penstock.dev/penstock/wasm-sdk/go"
)

// Bounds on a configuration.
const (
	maxRules   = 64
	maxMethods = 16
	maxFields  = 32
	maxBody    = 1 << 20
	maxDelay   = 60_000 // milliseconds
)

// config is the plugin's configuration.
type config struct {
	Rules []ruleConfig `json:"rules"`
}

type ruleConfig struct {
	Path    *pathConfig       `json:"path"`
	Methods []string          `json:"methods"`
	Status  *int              `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    *string           `json:"body"`
	JSON    json.RawMessage   `json:"json"`
	DelayMS int               `json:"delayMilliseconds"`
}

type pathConfig struct {
	Exact  *string `json:"exact"`
	Prefix *string `json:"prefix"`
}

// rule is an answer, and the requests that get it.
type rule struct {
	path    string // empty: any
	prefix  bool   // whole segments that a path begins with
	methods []string
	status  int
	headers [][2]string
	body    string
	delay   time.Duration
}

// parse reads the configuration strictly and reports all problems at once.
func parse(text []byte) ([]rule, error) {
	c, err := sdk.ParseConfig(text, config{})
	if err != nil {
		return nil, err
	}
	if len(c.Rules) == 0 || len(c.Rules) > maxRules {
		return nil, fmt.Errorf("config.rules: %d of them; want 1 to %d", len(c.Rules), maxRules)
	}
	var rules []rule
	var errs []error
	for i := range c.Rules {
		r, err := c.Rules[i].make(fmt.Sprintf("config.rules[%d]", i))
		rules, errs = append(rules, r), append(errs, err)
	}
	return rules, errors.Join(errs...)
}

func (c *ruleConfig) make(at string) (r rule, err error) {
	r = rule{status: 200, methods: c.Methods, delay: time.Duration(c.DelayMS) * time.Millisecond}
	var errs []error
	refuse := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s%s: %s", at, field, fmt.Sprintf(format, args...)))
	}
	if p := c.Path; p != nil {
		if (p.Exact == nil) == (p.Prefix == nil) {
			refuse(".path", "want exactly one of exact and prefix")
		} else if r.prefix = p.Prefix != nil; r.prefix {
			if r.path = strings.TrimSuffix(*p.Prefix, "/"); !isPath(*p.Prefix) {
				refuse(".path.prefix", "want a path that starts with /, without a query")
			}
		} else if r.path = *p.Exact; !isPath(r.path) {
			refuse(".path.exact", "want a path that starts with /, without a query")
		}
	}
	if c.Methods != nil && (len(c.Methods) == 0 || len(c.Methods) > maxMethods) {
		refuse(".methods", "%d of them; want 1 to %d", len(c.Methods), maxMethods)
	}
	for i, m := range c.Methods {
		if !token(m) {
			refuse(fmt.Sprintf(".methods[%d]", i), "want a method")
		}
	}
	if c.Status != nil {
		if r.status = *c.Status; r.status < 200 || r.status > 599 {
			refuse(".status", "want 200 to 599")
		}
	}
	if c.DelayMS < 0 || c.DelayMS > maxDelay {
		refuse(".delayMilliseconds", "want 0 to %d", maxDelay)
	}
	r.body, r.headers = c.answer(refuse)
	return r, errors.Join(errs...)
}

// answer makes the body and the fields of one.
func (c *ruleConfig) answer(refuse func(field, format string, args ...any)) (body string, headers [][2]string) {
	kind := ""
	switch {
	case c.Body != nil && c.JSON != nil:
		refuse("", "body and json exclude each other")
	case c.Body != nil:
		body, kind = *c.Body, "text/plain; charset=utf-8"
	case c.JSON != nil:
		body, kind = string(c.JSON), "application/json"
	}
	if len(body) > maxBody {
		refuse(".body", "more than %d bytes", maxBody)
	}
	if len(c.Headers) > maxFields {
		refuse(".headers", "%d of them; want %d at most", len(c.Headers), maxFields)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		lower := strings.ToLower(name)
		switch {
		case !token(name):
			refuse(".headers", "%.80q is no field's name", name)
			continue
		case slices.Contains([]string{"connection", "content-length", "date", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}, lower):
			refuse(".headers."+name, "the proxy says this itself")
		case strings.ContainsAny(c.Headers[name], "\r\n\x00"):
			refuse(".headers."+name, "the value holds a line break or NUL")
		}
		if lower == "content-type" {
			kind = ""
		}
		headers = append(headers, [2]string{lower, c.Headers[name]})
	}
	if kind != "" {
		headers = append(headers, [2]string{"content-type", kind})
	}
	return body, headers
}

func isPath(s string) bool { return strings.HasPrefix(s, "/") && !strings.ContainsAny(s, "?#") }

// token reports whether s is a token (RFC 9110, 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

// find returns the first rule for a request, nil if there is none.
func find(rules []rule, method, path string) *rule {
	path, _, _ = strings.Cut(path, "?")
	for i := range rules {
		r := &rules[i]
		if r.methods != nil && !slices.Contains(r.methods, method) {
			continue
		}
		if r.path == "" && !r.prefix || path == r.path {
			return r
		}
		if rest, ok := strings.CutPrefix(path, r.path); r.prefix && ok && strings.HasPrefix(rest, "/") {
			return r
		}
	}
	return nil
}

// details is what the access log says of an answer.
func (r *rule) details() string { return "mock " + strconv.Itoa(r.status) }
