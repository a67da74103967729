package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	one := func(rule string) string { return `{"rules":[` + rule + `]}` }
	for text, want := range map[string]string{
		one(`{}`): "",
		one(`{"path":{"prefix":"/a"},"methods":["GET"],"status":503,"headers":{"Retry-After":"1"},"json":{"a":[1]},"delayMilliseconds":60000}`): "",
		``:                                    "config.rules: 0 of them; want 1 to 64",
		`{"rules":[]}`:                        "config.rules: 0 of them",
		one(strings.Repeat("{},", 64) + "{}"): "config.rules: 65 of them",
		`{"rules":{}}`:                        "config.rules: an object; want a list",
		one(`{"path":{}}`):                    "config.rules[0].path: want exactly one",
		one(`{"path":{"exact":"/a","prefix":"/"}}`): "config.rules[0].path: want exactly one",
		one(`{},{"path":{"exact":"a"}}`):            "config.rules[1].path.exact: want a path",
		one(`{"path":{"prefix":"/a?b"}}`):           "config.rules[0].path.prefix: want a path",
		one(`{"path":{"regex":"/a"}}`):              "config.rules[0].path.regex: unknown field",
		one(`{"methods":[]}`):                       "config.rules[0].methods: 0 of them",
		one(`{"methods":["GET","G T"]}`):            "config.rules[0].methods[1]: want a method",
		one(`{"status":100}`):                       "config.rules[0].status: want 200 to 599",
		one(`{"status":"200"}`):                     "config.rules[0].status: a text; want a number",
		one(`{"status":600}`):                       "config.rules[0].status: want 200 to 599",
		one(`{"body":"a","json":1}`):                "config.rules[0]: body and json exclude each other",
		one(`{"body":{"a":1}}`):                     "config.rules[0].body: an object; want a text",
		one(`{"delayMilliseconds":60001}`):          "config.rules[0].delayMilliseconds: want 0 to 60000",
		one(`{"delayMilliseconds":-1}`):             "config.rules[0].delayMilliseconds: want 0 to 60000",
		one(`{"headers":{"a b":"1"}}`):              `config.rules[0].headers: "a b" is no field's name`,
		one(`{"headers":{"A":"1\r\nB: 2"}}`):        "config.rules[0].headers.A: the value holds a line break",
		one(`{"headers":{"Content-Length":"7"}}`):   "config.rules[0].headers.Content-Length: the proxy says this itself",
		one(`{"headers":{"A":1}}`):                  "config.rules[0].headers.A: a number; want a text",
	} {
		_, err := parse([]byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v; want %q", text, err, want)
		}
	}
}

func TestAnswers(t *testing.T) {
	rules, err := parse([]byte(`{"rules":[{"json":{"a": 1}},{"body":"a","headers":{"Content-Type":"text/html","B":"2"}},{"body":"a"},{"status":204}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []rule{
		{body: `{"a": 1}`, headers: [][2]string{{"content-type", "application/json"}}},
		{body: "a", headers: [][2]string{{"b", "2"}, {"content-type", "text/html"}}},
		{body: "a", headers: [][2]string{{"content-type", "text/plain; charset=utf-8"}}},
		{},
	} {
		if got := rules[i]; got.body != want.body || !slices.Equal(got.headers, want.headers) {
			t.Errorf("%d: got %q, %q", i, got.body, got.headers)
		}
	}
}

func TestFind(t *testing.T) {
	rules, err := parse([]byte(`{"rules":[
		{"path":{"exact":"/a"},"methods":["GET","HEAD"]},
		{"path":{"prefix":"/b/"}},
		{"path":{"prefix":"/"},"methods":["PURGE"]},
		{"methods":["OPTIONS"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for request, want := range map[string]int{
		"GET /a": 0, "HEAD /a?b=/b": 0, "GET /a/": -1, "POST /a": -1, "get /a": -1, "GET /b": 1, "PUT /b/c": 1, "GET /bc": -1,
		"PURGE /x": 2, "PURGE /": 2, "OPTIONS /x": 3, "OPTIONS *": 3, "GET ": -1, "GET ?": -1,
	} {
		method, path, _ := strings.Cut(request, " ")
		got := -1
		for i := range rules {
			if find(rules, method, path) == &rules[i] {
				got = i
			}
		}
		if got != want {
			t.Errorf("%s: got %d; want %d", request, got, want)
		}
	}
}

func TestWaiting(t *testing.T) {
	var w waiting[int]
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	for i, ms := range []int{30, 10, 20, 10} {
		if !w.add(i, at(ms), nil) {
			t.Fatal("no room")
		}
	}
	w.drop(3)
	w.drop(7)
	var order []int
	for _, one := range w.take(at(20)) {
		order = append(order, one.stream)
	}
	if !slices.Equal(order, []int{1, 2}) || len(w.list) != 1 || len(w.take(at(29))) != 0 || len(w.take(at(30))) != 1 || len(w.list) != 0 {
		t.Errorf("got %v, %v", order, w.list)
	}
	for i := range maxWaiting {
		w.add(i, at(1), nil)
	}
	if w.add(-1, at(1), nil) {
		t.Error("more than maxWaiting")
	}
}
