package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"

	sdk "penstock.dev/penstock/wasm-sdk/go"
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
	Status  *int        `json:"status"` // nil: as it is
	Body    bodyChanges `json:"body"`
}

// changes of a list of names and values; made in the order of the fields.
type changes struct {
	Remove  []string          `json:"remove"`
	Renames map[string]string `json:"rename"` // from: to
	Sets    map[string]string `json:"set"`
	Adds    map[string]string `json:"add"`
	// The same, by check.
	rename, set, add pairs
}

func (c *changes) empty() bool { return len(c.Remove)+len(c.rename)+len(c.set)+len(c.add) == 0 }

// pairs is a mapping in the order of its keys, so that the same configuration
// always does the same.
type pairs [][2]string

func inOrder(m map[string]string) (p pairs) {
	for _, k := range keys(m) {
		p = append(p, [2]string{k, m[k]})
	}
	return p
}

// pathConfig changes the path, not the query.
type pathConfig struct {
	Set          *string `json:"set"`
	ReplaceStart *prefix `json:"replacePrefix"`
}

type prefix struct {
	From string  `json:"from"`
	To   *string `json:"to"`
}

// bodyChanges of a JSON object; a name with dots is a path into it.
type bodyChanges struct {
	Remove []string                   `json:"remove"`
	Rename map[string]string          `json:"rename"`
	Set    map[string]json.RawMessage `json:"set"`
}

func (b *bodyChanges) empty() bool { return len(b.Remove)+len(b.Rename)+len(b.Set) == 0 }

const (
	defaultMaxBody = 512 << 10
	mostMaxBody    = 64 << 20 // what an entry may hold back
)

// parse reads the configuration strictly and reports all problems at once.
func parse(text []byte) (*config, error) {
	if len(text) == 0 {
		return nil, errors.New("config: empty: say what to change under request or response")
	}
	made, err := sdk.ParseConfig(text, config{MaxBody: defaultMaxBody})
	if err != nil {
		return nil, err
	}
	c := &made
	errs := []error{
		c.Request.Headers.check("config.request.headers", true),
		c.Request.Query.check("config.request.query", false),
		c.Request.Path.check("config.request.path"),
		c.Request.Body.check("config.request.body"),
		c.Response.Headers.check("config.response.headers", true),
		c.Response.Body.check("config.response.body"),
	}
	if s := c.Response.Status; s != nil && (*s < 200 || *s > 599) {
		errs = append(errs, fmt.Errorf("config.response.status: %d is not in 200..599", *s))
	}
	if c.MaxBody < 0 || c.MaxBody > mostMaxBody {
		errs = append(errs, fmt.Errorf("config.maxBody: %d is not in 0..%d", c.MaxBody, mostMaxBody))
	}
	return c, errors.Join(errs...)
}

func (p *pathConfig) check(at string) error {
	if p.Set != nil && p.ReplaceStart != nil {
		return fmt.Errorf("%s: set and replacePrefix exclude each other", at)
	}
	if p.Set != nil && (!strings.HasPrefix(*p.Set, "/") || strings.Contains(*p.Set, "?")) {
		return fmt.Errorf("%s.set: want a path that starts with / and has no query", at)
	}
	if p.ReplaceStart == nil {
		return nil
	}
	if p.ReplaceStart.From == "" {
		return fmt.Errorf("%s.replacePrefix.from: missing", at)
	}
	if p.ReplaceStart.To == nil {
		return fmt.Errorf("%s.replacePrefix.to: missing; \"\" removes the prefix", at)
	}
	return nil
}

func (b *bodyChanges) check(at string) error {
	var errs []error
	for i, path := range b.Remove {
		if path == "" {
			errs = append(errs, fmt.Errorf("%s.remove[%d]: must not be empty", at, i))
		}
	}
	for _, from := range keys(b.Rename) {
		if from == "" || b.Rename[from] == "" {
			errs = append(errs, fmt.Errorf("%s.rename.%s: must not be empty", at, from))
		}
	}
	for _, path := range keys(b.Set) {
		if path == "" {
			errs = append(errs, fmt.Errorf("%s.set: a name must not be empty", at))
		}
	}
	return errors.Join(errs...)
}

func (c *changes) check(at string, header bool) error {
	c.rename, c.set, c.add = inOrder(c.Renames), inOrder(c.Sets), inOrder(c.Adds)
	var errs []error
	name := func(n, at string) {
		if n == "" || header && !token(n) {
			errs = append(errs, fmt.Errorf("%s: %.80q is no name", at, n))
		}
	}
	for i, n := range c.Remove {
		name(n, fmt.Sprintf("%s.remove[%d]", at, i))
	}
	for _, p := range c.rename {
		name(p[0], at+".rename")
		name(p[1], at+".rename."+p[0])
	}
	for kind, list := range map[string]pairs{"set": c.set, "add": c.add} {
		for _, p := range list {
			name(p[0], at+"."+kind)
			if header && strings.ContainsAny(p[1], "\r\n\x00") {
				errs = append(errs, fmt.Errorf("%s.%s.%s: the value holds a line break or NUL", at, kind, p[0]))
			}
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
