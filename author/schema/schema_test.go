package schema

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const shop = `{
  "title": "shop", "description": "Sells\n  things.",
  "type": "object", "additionalProperties": false, "required": ["keys"],
  "$defs": {"names": {"type": "array", "minItems": 1, "maxItems": 3, "uniqueItems": true, "items": {"type": "string", "minLength": 1, "maxLength": 8}}},
  "properties": {
    "keys": {"type": "array", "minItems": 1, "description": "who may", "items": {
      "type": "object", "additionalProperties": false, "required": ["key"],
      "properties": {"key": {"type": "string", "minLength": 8, "description": "a | b"}, "groups": {"$ref": "#/$defs/names", "description": "of theirs"}}}},
    "in": {"enum": ["header", "query"], "default": "header"},
    "size": {"type": "integer", "minimum": 1, "maximum": 10, "default": 3},
    "on": {"type": "boolean", "default": false},
    "set": {"type": "object", "additionalProperties": {"type": "string"}, "propertyNames": {"minLength": 1}},
    "methods": {"type": "array", "items": {"enum": ["GET", "PUT"]}, "default": ["GET"]},
    "match": {"oneOf": [{"type": "string"}, {"type": "object", "properties": {"prefix": {"type": "string", "pattern": "^/"}}}]},
    "one": {"type": "object", "minProperties": 1, "maxProperties": 1, "properties": {"a": {"type": "string"}, "b": {"type": "string", "pattern": "^[0-9]+s$", "examples": ["10s"]}}}
  }
}`

func TestRows(t *testing.T) {
	rows, err := Rows([]byte(shop))
	if err != nil {
		t.Fatal(err)
	}
	want := []Row{
		{Path: "keys", Type: "list of objects", Bounds: "1 or more", Required: true, Description: "who may"},
		{Path: "keys[].key", Type: "string", Bounds: "8 or more characters", Required: true, Description: "a | b"},
		{Path: "keys[].groups", Type: "list of strings", Bounds: "1 to 3; each 1 to 8 characters", Description: "of theirs"},
		{Path: "in", Allowed: []string{"header", "query"}, Default: "header"},
		{Path: "size", Type: "integer", Bounds: "1 to 10", Default: "3"},
		{Path: "on", Type: "boolean", Default: "false"},
		{Path: "set", Type: "map of strings"},
		{Path: "methods", Type: "list of values", Allowed: []string{"GET", "PUT"}, Default: `["GET"]`},
		{Path: "match", Type: "string or object"},
		{Path: "match.prefix", Type: "string"},
		{Path: "one", Type: "object", Bounds: "1 of its fields"},
		{Path: "one.a", Type: "string"},
		{Path: "one.b", Type: "string"},
	}
	if d := cmp.Diff(want, rows); d != "" {
		t.Error(d)
	}
	const head = "| key | value | default | meaning |\n| --- | --- | --- | --- |\n" +
		"| `keys` | list of objects, 1 or more | required | who may |\n" +
		"| `keys[].key` | string, 8 or more characters | required | a \\| b |\n" +
		"| `keys[].groups` | list of strings, 1 to 3; each 1 to 8 characters | none | of theirs |\n" +
		"| `in` | `header` or `query` | `header` |  |\n"
	if got := Markdown(rows); !strings.HasPrefix(got, head) || !strings.Contains(got, "| `methods` | list of `GET` or `PUT` | `[\"GET\"]` |  |\n") {
		t.Errorf("got\n%s", got)
	}
	if title, about, err := About([]byte(shop)); title != "shop" || about != "Sells things." || err != nil {
		t.Errorf("got %q, %q, %v", title, about, err)
	}
}

func TestRowsOfOthers(t *testing.T) {
	tests := map[string]struct{ schema, want string }{
		"a text":                       {`{"type": "string", "description": "all of it"}`, "| the whole | string | none | all of it |\n"},
		"nothing":                      {`{}`, "| the whole | any | none |  |\n"},
		"no fields":                    {`{"type": "object"}`, ""},
		"a tree":                       {`{"type": "object", "properties": {"left": {"$ref": "#"}}}`, "| `left` | object | none |  |\n"},
		"a reference to nothing":       {`{"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}`, "| `a` | any | none |  |\n"},
		"another document":             {`{"type": "object", "properties": {"a": {"$ref": "https://example.com"}}}`, "| `a` | any | none |  |\n"},
		"a circle":                     {`{"$ref": "#"}`, "| the whole | any | none |  |\n"},
		"a map of objects":             {`{"type": "object", "additionalProperties": {"type": "object", "properties": {"age": {"type": "integer", "maximum": 7}}}}`, "| `*.age` | integer, up to 7 | none |  |\n"},
		"what adds up":                 {`{"type": "object", "allOf": [{"properties": {"a": {"type": "boolean"}}, "required": ["a"]}], "properties": {"b": {"const": 1}}}`, "| `a` | boolean | required |  |\n| `b` | `1` | none |  |\n"},
		"two types":                    {`{"type": "object", "properties": {"a": {"type": ["string", "integer"], "default": ""}}}`, "| `a` | string or integer | `\"\"` |  |\n"},
		"lists of lists":               {`{"type": "object", "properties": {"a": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}}}`, "| `a` | list of lists of numbers | none |  |\n"},
		"a text that breaks the table": {`{"type": "object", "properties": {"a|b": {"const": "x|` + "`" + `", "description": "1|2\n3"}}}`, "| `a\\|b` | `` x\\|` `` | none | 1\\|2 3 |\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			rows, err := Rows([]byte(test.schema))
			if err != nil {
				t.Fatal(err)
			}
			if _, got, _ := strings.Cut(Markdown(rows), "| --- | --- | --- | --- |\n"); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestSchemasThatAreNone(t *testing.T) {
	many := &strings.Builder{}
	for i := range maxRows + 1 {
		fmt.Fprintf(many, `"a%d": {},`, i)
	}
	for name, test := range map[string][2]string{
		"no JSON":         {`{`, "no JSON"},
		"two values":      {`{} {}`, "no JSON: more follows the value"},
		"no object":       {`[1]`, "want an object"},
		"too deep":        {strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), "nests deeper"},
		"too large":       {`"` + strings.Repeat("a", maxBytes) + `"`, "more than 256 KiB"},
		"too many fields": {`{"properties": {` + many.String() + `"b": {}}}`, "more than 500 fields"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Rows([]byte(test[0])); err == nil || !strings.Contains(err.Error(), test[1]) {
				t.Errorf("got %v; want %q", err, test[1])
			}
			if _, err := WrongConfigs([]byte(test[0])); name != "too many fields" && (err == nil || !strings.Contains(err.Error(), test[1])) {
				t.Errorf("got %v; want %q", err, test[1])
			}
		})
	}
}

func TestWrongConfigs(t *testing.T) {
	all, err := WrongConfigs([]byte(shop))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range all {
		got = append(got, w.Path+" "+w.Pointer+" "+w.What+" "+string(w.Config))
	}
	for _, want := range []string{
		` / of the type array []`,
		`noSuchField / unknown field {"keys":[{"key":"aaaaaaaa"}],"noSuchField":"x"}`,
		`keys / missing {}`,
		`keys /keys of the type integer {"keys":7}`,
		`keys /keys too few {"keys":[]}`,
		`keys[0] /keys/0 of the type string {"keys":["text"]}`,
		`keys[0].key /keys/0 missing {"keys":[{}]}`,
		`keys[0].key /keys/0/key too short {"keys":[{"key":"aaaaaaa"}]}`,
		`keys[0].groups /keys/0/groups too many {"keys":[{"groups":["a","a1","a2","a3"],"key":"aaaaaaaa"}]}`,
		`keys[0].groups /keys/0/groups one of them twice {"keys":[{"groups":["a","a"],"key":"aaaaaaaa"}]}`,
		`keys[0].groups[0] /keys/0/groups/0 too long {"keys":[{"groups":["aaaaaaaaa"],"key":"aaaaaaaa"}]}`,
		`in /in none of the values {"in":"no-such-value","keys":[{"key":"aaaaaaaa"}]}`,
		`size /size too small {"size":0,"keys":[{"key":"aaaaaaaa"}]}`,
		`size /size too large {"size":11,"keys":[{"key":"aaaaaaaa"}]}`,
		`size /size of the type number {"size":1.5,"keys":[{"key":"aaaaaaaa"}]}`,
		`set.x-any /set/x-any of the type integer {"set":{"x-any":7},"keys":[{"key":"aaaaaaaa"}]}`,
		`match /match of the type integer {"match":7,"keys":[{"key":"aaaaaaaa"}]}`,
		`match.prefix /match/prefix not of the pattern {"match":{"prefix":"a b"},"keys":[{"key":"aaaaaaaa"}]}`,
		`one /one too few fields {"one":{},"keys":[{"key":"aaaaaaaa"}]}`,
		`one.b /one/b not of the pattern {"one":{"b":"a b"},"keys":[{"key":"aaaaaaaa"}]}`,
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not among them", want)
		}
	}
	if t.Failed() {
		t.Log(strings.Join(got, "\n"))
	}
}

// TestBundled: the schemas of the bundled plugins are understood.
func TestBundled(t *testing.T) {
	files, err := filepath.Glob("../../plugins-src/*/schema.json")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d schemas, %v", len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := Rows(b)
		if err != nil || len(rows) == 0 {
			t.Errorf("%s: %d rows, %v", f, len(rows), err)
		}
		all, err := WrongConfigs(b)
		if err != nil || len(all) < 2*len(rows) {
			t.Errorf("%s: %d wrong configurations of %d rows, %v", f, len(all), len(rows), err)
		}
		for _, w := range all {
			if !json.Valid(w.Config) || !json.Valid(w.Right) || string(w.Config) == string(w.Right) {
				t.Errorf("%s: %s: got %s, and right %s", f, w.Path, w.Config, w.Right)
			}
		}
	}
}

// TestASchemaThatBranches: one of a few hundred bytes can have 16^16 paths.
func TestASchemaThatBranches(t *testing.T) {
	all := strings.TrimSuffix(strings.Repeat(`{"$ref":"#"},`, 16), ",")
	for _, keyword := range []string{"allOf", "anyOf", "oneOf"} {
		s := []byte(`{"type":"object","properties":{"a":{"$ref":"#/$defs/a"}},"$defs":{"a":{"type":"object","` + keyword + `":[` + strings.ReplaceAll(all, "#", "#/$defs/a") + `]}},"` + keyword + `":[` + all + `]}`)
		began := time.Now()
		_, _ = Rows(s)
		_, _ = WrongConfigs(s)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: took %v", keyword, took)
		}
	}
}

// FuzzSchema: whatever an image has for a schema, reading it ends.
func FuzzSchema(f *testing.F) {
	f.Add(shop)
	f.Add(`{"type":"object","properties":{"a":{"$ref":"#"}},"anyOf":[{"required":["a"]}]}`)
	f.Add(`{"allOf":[{"$ref":"#"},{"$ref":"#"}],"items":{"$ref":"#"},"examples":[[]]}`)
	f.Fuzz(func(t *testing.T, s string) {
		began := time.Now()
		if rows, err := Rows([]byte(s)); err == nil {
			_ = Markdown(rows)
		}
		if all, err := WrongConfigs([]byte(s)); err == nil {
			for _, w := range all {
				if !json.Valid(w.Config) {
					t.Errorf("%s is no JSON", w.Config)
				}
			}
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("took %v", took)
		}
	})
}
