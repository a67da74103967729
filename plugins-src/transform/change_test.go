package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParseRefuses(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"an empty text":            {``, "empty"},
		"an unknown field":         {`{"reqest":{}}`, "unknown field"},
		"a bad header name":        {`{"request":{"headers":{"set":{"a b":"1"}}}}`, `config.request.headers.set: "a b" is no name`},
		"a line break":             {`{"response":{"headers":{"add":{"a":"1\r\nb: 2"}}}}`, "line break"},
		"a bad status":             {`{"response":{"status":99}}`, "config.response.status"},
		"two changes of path":      {`{"request":{"path":{"set":"/a","replacePrefix":{"from":"/b","to":"/"}}}}`, "exclude each other"},
		"a path with a query":      {`{"request":{"path":{"set":"/a?b"}}}`, "config.request.path.set"},
		"a negative body limit":    {`{"maxBody":-1}`, "config.maxBody"},
		"a status that is text":    {`{"response":{"status":"200"}}`, "config.response.status: a text; want a number"},
		"a prefix from nothing":    {`{"request":{"path":{"replacePrefix":{"to":"/"}}}}`, "config.request.path.replacePrefix.from: missing"},
		"a prefix to nowhere":      {`{"request":{"path":{"replacePrefix":{"from":"/a"}}}}`, "config.request.path.replacePrefix.to: missing"},
		"a field without a name":   {`{"response":{"body":{"remove":[""]}}}`, "config.response.body.remove[0]"},
		"a value that is a number": {`{"request":{"query":{"set":{"a":1}}}}`, "config.request.query.set.a: a number; want a text"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := parse([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v; want %q", err, test.want)
			}
		})
	}
}

func TestChangePath(t *testing.T) {
	tests := map[string]struct{ config, path, want string }{
		"nothing to do":             {`{}`, "/a?b=1", "/a?b=1"},
		"set keeps the query":       {`{"path":{"set":"/x"}}`, "/a?b=1", "/x?b=1"},
		"a prefix":                  {`{"path":{"replacePrefix":{"from":"/v1","to":"/api"}}}`, "/v1/a", "/api/a"},
		"a prefix to nothing":       {`{"path":{"replacePrefix":{"from":"/v1","to":""}}}`, "/v1", "/"},
		"half a segment":            {`{"path":{"replacePrefix":{"from":"/v1","to":"/api"}}}`, "/v11/a", "/v11/a"},
		"a slash at the end":        {`{"path":{"replacePrefix":{"from":"/v1/","to":"/api/"}}}`, "/v1/a", "/api/a"},
		"the root as a prefix":      {`{"path":{"replacePrefix":{"from":"/","to":"/api"}}}`, "/a", "/api/a"},
		"another prefix":            {`{"path":{"replacePrefix":{"from":"/v1","to":"/api"}}}`, "/v2/a", "/v2/a"},
		"set replaces all":          {`{"query":{"set":{"a":"x y"}}}`, "/p?a=1&b=2&a=3", "/p?b=2&a=x+y"},
		"add keeps":                 {`{"query":{"add":{"a":"2"}}}`, "/p?a=1", "/p?a=1&a=2"},
		"remove the last one":       {`{"query":{"remove":["a"]}}`, "/p?a=1", "/p"},
		"rename keeps the encoding": {`{"query":{"rename":{"a b":"c"}}}`, "/p?a+b=%2F", "/p?c=%2F"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := parse([]byte(`{"request":` + test.config + `}`))
			if err != nil {
				t.Fatal(err)
			}
			if got := changePath(&c.Request, test.path); got != test.want {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}

func TestChangeBody(t *testing.T) {
	tests := map[string]struct{ config, body, want string }{
		"remove, rename, set":  {`{"remove":["a.b"],"rename":{"c":"d.e"},"set":{"f":[1]}}`, `{"a":{"b":1,"x":2},"c":"v"}`, `{"a":{"x":2},"d":{"e":"v"},"f":[1]}`},
		"numbers keep digits":  {`{"set":{"a":1}}`, `{"n":12345678901234567890.10}`, `{"a":1,"n":12345678901234567890.10}`},
		"html is not escaped":  {`{"set":{"a":1}}`, `{"h":"<&>"}`, `{"a":1,"h":"<&>"}`},
		"a path through value": {`{"remove":["a.b"],"set":{"a.c":2}}`, `{"a":1}`, `{"a":{"c":2}}`},
		"an array":             {`{"set":{"a":1}}`, `[1]`, ""},
		"two values":           {`{"set":{"a":1}}`, `{}{}`, ""},
		"null":                 {`{"set":{"a":1}}`, `null`, ""},
		"no JSON":              {`{"set":{"a":1}}`, `{`, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var c bodyChanges
			if err := json.Unmarshal([]byte(test.config), &c); err != nil {
				t.Fatal(err)
			}
			got, err := changeBody(&c, []byte(test.body))
			if string(got) != test.want || (err == nil) != (test.want != "") {
				t.Errorf("got %s, %v; want %s", got, err, test.want)
			}
		})
	}
}

func FuzzChangeBody(f *testing.F) {
	f.Add([]byte(`{"a":{"b":1},"c":2}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c := bodyChanges{Remove: []string{"a.b"}, Rename: map[string]string{"c": "a.d"}, Set: map[string]json.RawMessage{"x.y": []byte("1")}}
		out, err := changeBody(&c, body)
		if err != nil {
			return
		}
		again, err := changeBody(&c, out)
		if err != nil || !json.Valid(again) {
			t.Fatalf("%q -> %q -> %q, %v", body, out, again, err)
		}
	})
}
