package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"strings"
)

// changePath returns path with its query, changed.
func changePath(c *requestConfig, path string) string {
	p, query, hasQuery := strings.Cut(path, "?")
	switch {
	case c.Path.Set != nil:
		p = *c.Path.Set
	case c.Path.ReplaceStart != nil:
		p = replaceStart(p, c.Path.ReplaceStart.From, *c.Path.ReplaceStart.To)
	}
	query = changeQuery(&c.Query, query)
	if query != "" || hasQuery && len(c.Query.Remove) == 0 {
		return p + "?" + query
	}
	return p
}

// replaceStart replaces a prefix of whole segments: /v1 is none of /v11.
func replaceStart(path, from, to string) string {
	from, to = strings.TrimSuffix(from, "/"), strings.TrimSuffix(to, "/")
	rest, ok := strings.CutPrefix(path, from)
	if !ok || rest != "" && rest[0] != '/' {
		return path
	}
	if path = to + rest; !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return path
}

// changeQuery keeps the order and the encoding of what it does not change.
func changeQuery(c *changes, query string) string {
	var pairs []string
	if query != "" {
		pairs = strings.Split(query, "&")
	}
	name := func(pair string) string {
		n, _, _ := strings.Cut(pair, "=")
		if decoded, err := url.QueryUnescape(n); err == nil {
			return decoded
		}
		return n
	}
	drop := func(n string) {
		kept := pairs[:0]
		for _, p := range pairs {
			if name(p) != n {
				kept = append(kept, p)
			}
		}
		pairs = kept
	}
	for _, n := range c.Remove {
		drop(n)
	}
	for _, r := range c.rename {
		for i, p := range pairs {
			if name(p) == r[0] {
				_, value, _ := strings.Cut(p, "=")
				pairs[i] = url.QueryEscape(r[1]) + "=" + value
			}
		}
	}
	for _, s := range c.set {
		drop(s[0])
		pairs = append(pairs, url.QueryEscape(s[0])+"="+url.QueryEscape(s[1]))
	}
	for _, a := range c.add {
		pairs = append(pairs, url.QueryEscape(a[0])+"="+url.QueryEscape(a[1]))
	}
	return strings.Join(pairs, "&")
}

var errNoObject = errors.New("the body is no JSON object")

// changeBody applies c to a JSON object. Numbers keep their digits.
func changeBody(c *bodyChanges, body []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil || object == nil {
		return nil, errNoObject
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errNoObject
	}
	for _, path := range c.Remove {
		take(object, path)
	}
	for _, from := range keys(c.Rename) {
		if v, ok := take(object, from); ok {
			put(object, c.Rename[from], v)
		}
	}
	for _, path := range keys(c.Set) {
		put(object, path, c.Set[path])
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(object); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// take removes and returns what path leads to.
func take(object map[string]any, path string) (any, bool) {
	for {
		name, rest, deeper := strings.Cut(path, ".")
		v, ok := object[name]
		if !ok {
			return nil, false
		}
		if !deeper {
			delete(object, name)
			return v, true
		}
		if object, ok = v.(map[string]any); !ok {
			return nil, false
		}
		path = rest
	}
}

// put sets what path leads to; objects on the way are made.
func put(object map[string]any, path string, v any) {
	for {
		name, rest, deeper := strings.Cut(path, ".")
		if !deeper {
			object[name] = v
			return
		}
		next, ok := object[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			object[name] = next
		}
		object, path = next, rest
	}
}

// isJSON reports whether a content type is JSON (RFC 8259; RFC 6839, 3.1).
func isJSON(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.ToLower(strings.TrimSpace(t))
	return t == "application/json" || strings.HasPrefix(t, "application/") && strings.HasSuffix(t, "+json")
}
