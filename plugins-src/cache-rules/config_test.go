package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	one := func(rule string) string { return `{"rules":[` + rule + `]}` }
	tests := map[string]struct{ text, want string }{
		"a whole configuration":     {one(`{"path":{"prefix":"/a"},"methods":["GET"],"ttl":"1h30m","force":true,"query":{"allow":["q"],"sort":true},"device":true,"key":{"headers":["X-A"],"cookies":["c"]},"tags":["t"],"tagHeader":"X-Shop-Id"}`), ""},
		"a bypass":                  {one(`{"path":{"exact":"/a"},"bypass":true}`), ""},
		"a bypass for devices":      {one(`{"bypass":true,"device":true,"query":{"sort":true}}`), ""},
		"nothing":                   {``, "config: want a mapping"},
		"a list":                    {`[]`, "config: want a mapping"},
		"null":                      {`null`, "config: want a mapping"},
		"two documents":             {one(`{"bypass":true}`) + `{}`, "config: want a mapping"},
		"no rules":                  {`{}`, "config.rules: 0 rules"},
		"an empty list of rules":    {`{"rules":[]}`, "config.rules: 0 rules"},
		"rules that are no list":    {`{"rules":{}}`, "config.rules: want a list"},
		"too many rules":            {one(strings.Repeat(`{"bypass":true},`, 64) + `{"bypass":true}`), "config.rules: 65 rules"},
		"an unknown field":          {`{"rules":[{"bypass":true}],"rule":1}`, "config.rule: unknown field: want one of rules"},
		"an unknown field within":   {one(`{"bypass":true},{"tll":"1s"}`), "config.rules[1].tll: unknown field: want one of bypass, device"},
		"an unknown field of path":  {one(`{"path":{"regex":"a"},"ttl":"1s"}`), "config.rules[0].path.regex: unknown field: want one of exact, prefix"},
		"an unknown field of query": {one(`{"query":{"alow":["a"]}}`), "config.rules[0].query.alow: unknown field"},
		"an unknown field of key":   {one(`{"key":{"header":["a"]}}`), "config.rules[0].key.header: unknown field"},
		"a rule that is no mapping": {one(`"a"`), "config.rules[0]: want a mapping"},
		"a rule that does nothing":  {one(`{"path":{"exact":"/a"}}`), "config.rules[0]: it does nothing"},
		"a false bypass":            {one(`{"bypass":false}`), "config.rules[0]: it does nothing"},
		"both paths":                {one(`{"path":{"exact":"/a","prefix":"/b"},"bypass":true}`), "config.rules[0].path: want exactly one"},
		"neither path":              {one(`{"path":{},"bypass":true}`), "config.rules[0].path: want exactly one"},
		"an empty key":              {one(`{"key":{},"device":true}`), "config.rules[0].key: it is empty"},
		"a path with a query":       {one(`{"path":{"exact":"/a?b"},"bypass":true}`), "config.rules[0].path.exact: \"/a?b\""},
		"a path without a slash":    {one(`{"path":{"prefix":"a"},"bypass":true}`), "config.rules[0].path"},
		"a path with dots":          {one(`{"path":{"prefix":"/a/../b"},"bypass":true}`), "config.rules[0].path"},
		"a path not as matched":     {one(`{"path":{"prefix":"/%61"},"bypass":true}`), "config.rules[0].path"},
		"a path in lower case hex":  {one(`{"path":{"prefix":"/%c3%a4"},"bypass":true}`), "config.rules[0].path"},
		"a path as it is matched":   {one(`{"path":{"prefix":"/%C3%A4/"},"bypass":true}`), ""},
		"a bad time":                {one(`{"ttl":"soon"}`), `config.rules[0].ttl: "soon" is no time`},
		"a time that is a number":   {one(`{"ttl":60}`), "config.rules[0].ttl: want a time"},
		"too short a time":          {one(`{"ttl":"500ms"}`), "config.rules[0].ttl"},
		"too long a time":           {one(`{"ttl":"8761h"}`), "config.rules[0].ttl"},
		"a part of a second":        {one(`{"ttl":"1500ms"}`), "config.rules[0].ttl"},
		"force without a time":      {one(`{"force":true,"device":true}`), "config.rules[0].force"},
		"bypass with a time":        {one(`{"bypass":true,"ttl":"1s"}`), "config.rules[0].bypass"},
		"bypass with tags":          {one(`{"bypass":true,"tags":["a"]}`), "config.rules[0].bypass"},
		"a switch that is text":     {one(`{"device":"yes"}`), "config.rules[0].device: want true or false"},
		"a switch that is null":     {one(`{"device":null}`), "config.rules[0].device: want true or false"},
		"allow and deny":            {one(`{"query":{"allow":["a"],"deny":["b"]}}`), "config.rules[0].query: want at most one"},
		"a query without effect":    {one(`{"query":{"sort":false}}`), "config.rules[0].query: it changes nothing"},
		"a star within a name":      {one(`{"query":{"deny":["u*m"]}}`), "config.rules[0].query.deny[0]"},
		"an empty list":             {one(`{"query":{"allow":[]}}`), "config.rules[0].query.allow: 0 elements"},
		"a name twice":              {one(`{"key":{"cookies":["a","a"]}}`), `config.rules[0].key.cookies[1]: "a" is there twice`},
		"a header that is none":     {one(`{"key":{"headers":["a b"]}}`), "config.rules[0].key.headers[0]"},
		"a method that is none":     {one(`{"methods":["GET "],"bypass":true}`), "config.rules[0].methods[0]"},
		"a tag that ends a line":    {one(`{"tags":["a\nb"]}`), "config.rules[0].tags[0]"},
		"a tag of two words":        {one(`{"tags":["a b"]}`), "config.rules[0].tags[0]"},
		"two tags in one":           {one(`{"tags":["a","b,c"]}`), "config.rules[0].tags[1]"},
		"a tag of other letters":    {one(`{"tags":["ä"]}`), "config.rules[0].tags[0]"},
		"an empty tag":              {one(`{"tags":[""]}`), "config.rules[0].tags[0]"},
		"a tag header that is none": {one(`{"tagHeader":"a:b"}`), "config.rules[0].tagHeader"},
		"too many parts":            {one(`{"device":true,"key":{"headers":` + list(8, "h") + `,"cookies":` + list(8, "c") + `}}`), "config.rules[0].key: 17"},
		"as many parts as may be":   {one(`{"device":true,"key":{"headers":` + list(8, "h") + `,"cookies":` + list(7, "c") + `}}`), ""},
		"too many tags":             {one(`{"tags":` + list(32, "t") + `,"tagHeader":"X-A"}`), "config.rules[0].tags: 33"},
		"two mistakes":              {one(`{"ttl":"x"},{"device":1}`), "config.rules[1].device"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parse([]byte(test.text))
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v; want %q", err, test.want)
			}
		})
	}
	r, err := parse([]byte(tests["a whole configuration"].text))
	if err != nil {
		t.Fatal(err)
	}
	got := r.list[0]
	if got.path != "/a" || !got.prefix || got.ttl != 90*time.Minute || !got.force || got.headers[0] != "x-a" || got.tagHeader != "x-shop-id" || !r.paths || !r.methods || !r.devices {
		t.Errorf("got %+v of %+v", got, r)
	}
}

func list(n int, prefix string) string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("%q", fmt.Sprintf("%s%d", prefix, i)))
	}
	return "[" + strings.Join(names, ",") + "]"
}

// TestSchemaNamesEveryField: what the schema lets pass is what the plugin reads.
func TestSchemaNamesEveryField(t *testing.T) {
	text, err := os.ReadFile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			Rules struct {
				Items struct {
					Properties map[string]struct{ Properties map[string]any }
				}
			}
		}
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	fields := schema.Properties.Rules.Items.Properties
	_, err = parse([]byte(`{"rules":[{"x":1}]}`))
	want := "config.rules[0].x: unknown field: want one of " + strings.Join(sorted(fields), ", ")
	if err == nil || err.Error() != want {
		t.Errorf("got %v; want %s", err, want)
	}
	for name, within := range map[string]string{"path": "exact, prefix", "query": "allow, deny, sort", "key": "cookies, headers"} {
		if got := strings.Join(sorted(fields[name].Properties), ", "); got != within {
			t.Errorf("%s: got %s; want %s", name, got, within)
		}
	}
}
