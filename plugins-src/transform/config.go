package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
)

// config is the plugin's configuration.
type config struct {
	Request  requestConfig  `json:"request"`
	Response responseConfig `json:"response"`
	// MaxBody is the size in bytes up to which a JSON body is changed; a larger
	// one passes as it is. Default 524288.
	MaxBody int `json:"maxBody"`
}

type requestConfig struct {
	Headers changes     `json:"headers"`
	Query   changes     `json:"query"`
	Path    pathConfig  `json:"path"`
	Body    bodyChanges `json:"body"`
}

type responseConfig struct {
	Headers changes     `json:"headers"`
	Status  int         `json:"status"` // 0: as it is
	Body    bodyChanges `json:"body"`
}

// changes of a list of names and values; made in the order of the fields.
type changes struct {
	Remove []string `json:"remove"`
	Rename pairs    `json:"rename"` // from: to
	Set    pairs    `json:"set"`
	Add    pairs    `json:"add"`
}

func (c *changes) empty() bool { return len(c.Remove)+len(c.Rename)+len(c.Set)+len(c.Add) == 0 }

// pairs is a mapping in the order of its keys, so that the same configuration
// always does the same.
type pairs [][2]string

// UnmarshalJSON implements json.Unmarshaler.
func (p *pairs) UnmarshalJSON(text []byte) error {
	var m map[string]string
	if err := json.Unmarshal(text, &m); err != nil {
		return err
	}
	for _, k := range keys(m) {
		*p = append(*p, [2]string{k, m[k]})
	}
	return nil
}

// pathConfig changes the path, not the query.
type pathConfig struct {
	Set          string `json:"set"`
	ReplaceStart prefix `json:"replacePrefix"`
}

type prefix struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// bodyChanges of a JSON object; a name with dots is a path into it.
type bodyChanges struct {
	Remove []string                   `json:"remove"`
	Rename map[string]string          `json:"rename"`
	Set    map[string]json.RawMessage `json:"set"`
}

func (b *bodyChanges) empty() bool { return len(b.Remove)+len(b.Rename)+len(b.Set) == 0 }

const defaultMaxBody = 512 << 10

// parse reads the configuration strictly and reports all problems at once.
func parse(text []byte) (*config, error) {
	c := &config{MaxBody: defaultMaxBody}
	if len(text) == 0 {
		return nil, errors.New("config: empty: say what to change under request or response")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	errs := []error{
		c.Request.Headers.check("config.request.headers", true),
		c.Request.Query.check("config.request.query", false),
		c.Response.Headers.check("config.response.headers", true),
	}
	if s := c.Response.Status; s != 0 && (s < 200 || s > 599) {
		errs = append(errs, fmt.Errorf("config.response.status: %d is not in 200..599", s))
	}
	p := c.Request.Path
	if p.Set != "" && p.ReplaceStart.From != "" {
		errs = append(errs, errors.New("config.request.path: set and replacePrefix exclude each other"))
	}
	if p.Set != "" && (p.Set[0] != '/' || strings.Contains(p.Set, "?")) {
		errs = append(errs, errors.New("config.request.path.set: want a path that starts with / and has no query"))
	}
	if c.MaxBody < 0 {
		errs = append(errs, errors.New("config.maxBody: must not be negative"))
	}
	return c, errors.Join(errs...)
}

func (c *changes) check(at string, header bool) error {
	var errs []error
	name := func(n string) {
		if n == "" || header && !token(n) {
			errs = append(errs, fmt.Errorf("%s: %q is no name", at, n))
		}
	}
	value := func(n, v string) {
		if header && strings.ContainsAny(v, "\r\n\x00") {
			errs = append(errs, fmt.Errorf("%s.%s: the value holds a line break or NUL", at, n))
		}
	}
	for _, n := range c.Remove {
		name(n)
	}
	for _, p := range c.Rename {
		name(p[0])
		name(p[1])
	}
	for _, list := range []pairs{c.Set, c.Add} {
		for _, p := range list {
			name(p[0])
			value(p[0], p[1])
		}
	}
	return errors.Join(errs...)
}

// token reports whether s is a field name (RFC 9110, 5.6.2).
func token(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// keys returns a map's keys in order.
func keys[V any](m map[string]V) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	sort.Strings(all)
	return all
}
