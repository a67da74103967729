package plugin

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestCheckConfig(t *testing.T) {
	const object = `{"type":"object","additionalProperties":false,"required":["a"],"properties":{"a":{"type":"integer","minimum":1},"b":{"enum":["x","y"]},"c":{"type":"string","pattern":"^s+$"}}}`
	tests := map[string]struct{ schema, config, want string }{
		"no schema":                {"", "anything", ""},
		"it fits":                  {object, `{"a":1,"b":"x","c":"ss"}`, ""},
		"missing":                  {object, `{}`, "/: missing property 'a'"},
		"no config":                {object, ``, "missing property 'a'"},
		"an unknown field":         {object, `{"a":1,"z":1}`, "additional properties 'z' not allowed"},
		"a wrong type":             {object, `{"a":"the-secret"}`, "/a: got string, want integer"},
		"out of range":             {object, `{"a":0}`, "/a: breaks the rule minimum"},
		"not in the list":          {object, `{"a":1,"b":"the-secret"}`, "/b: want one of x, y"},
		"a pattern":                {object, `{"a":1,"c":"the-secret"}`, "/c: want what matches ^s+$"},
		"a string":                 {`{"type":"string"}`, `plain text`, ""},
		"a string for an object":   {object, `plain text`, "got string, want object"},
		"a tree":                   {`{"type":"object","properties":{"left":{"$ref":"#"},"right":{"$ref":"#"}}}`, `{"left":{"right":{}}}`, ""},
		"definitions":              {`{"$ref":"#/$defs/n","$defs":{"n":{"type":"number"}}}`, `"x"`, "want number"},
		"no JSON":                  {`{`, `{}`, "no JSON"},
		"no schema at all":         {`[1]`, `{}`, "cannot be used"},
		"another document":         {`{"$ref":"https://example.com/s"}`, `{}`, "within the document"},
		"a file":                   {`{"$ref":"file:///etc/passwd"}`, `{}`, "within the document"},
		"a dynamic reference":      {`{"$dynamicRef":"#a"}`, `{}`, "not supported"},
		"a reference to nothing":   {`{"$ref":"#/$defs/n"}`, `{}`, "within the document"},
		"a circle":                 {`{"$ref":"#"}`, `{}`, "config does not fit"},
		"a meta-schema elsewhere":  {`{"$schema":"https://example.com/s"}`, `{}`, "cannot be used"},
		"a base address elsewhere": {`{"$id":"https://example.com/s","type":"object"}`, `{}`, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := checkConfig([]byte(test.schema), []byte(test.config), false)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v; want %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "the-secret") {
				t.Errorf("%v shows a value", err)
			}
		})
	}
}

// Keys of a config that is from a Secret may be secret themselves.
func TestPrivateKeysAreNotTold(t *testing.T) {
	const schema = `{"type":"object","additionalProperties":false,"properties":{"users":{"type":"object","additionalProperties":{"type":"object","properties":{"age":{"type":"integer"},"tags":{"items":{"type":"string"}}}}}}}`
	for config, want := range map[string]string{
		`{"the-secret":1}`:                    "/: 1 properties that the schema does not know (their names may be secret)",
		`{"users":{"the-secret":1}}`:          "/users/*: got number, want object",
		`{"users":{"the-secret":{"age":""}}}`: "/users/*/age: got string, want integer",
		`{"users":{"123456789":{"age":""}}}`:  "/users/*/age: got string, want integer",
		`{"users":{"x":{"tags":["a",1]}}}`:    "/users/*/tags/1: got number, want string",
	} {
		err := checkConfig([]byte(schema), []byte(config), true)
		if err == nil || !strings.HasSuffix(err.Error(), ": "+want) {
			t.Errorf("%s: got %v; want %s", config, err, want)
		}
	}
}

// A schema of a few hundred bytes can ask for 2^40 checks.
func TestASchemaThatBranchesIsRefused(t *testing.T) {
	defs := map[string]any{"d0": map[string]any{"type": "object"}}
	for i := 1; i <= 40; i++ {
		ref := map[string]any{"$ref": fmt.Sprintf("#/$defs/d%d", i-1)}
		defs[fmt.Sprintf("d%d", i)] = map[string]any{"allOf": []any{ref, ref}}
	}
	text, err := json.Marshal(map[string]any{"$defs": defs, "$ref": "#/$defs/d40"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- checkConfig(text, []byte("{}"), false) }()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "too long") {
			t.Errorf("got %v; want it refused", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it is still at it")
	}
}

// FuzzCheckConfig: any schema and any config end in time, without a panic.
func FuzzCheckConfig(f *testing.F) {
	f.Add(`{"type":"object","properties":{"a":{"$ref":"#"}}}`, `{"a":{"a":1}}`)
	f.Add(`{"allOf":[{"minimum":1},{"pattern":"a*"}],"$defs":{"x":{"not":{}}}}`, `"aa"`)
	f.Add(`{"if":{"const":1},"then":{"$ref":"#/$defs/a"},"$defs":{"a":{"items":{"type":"null"}}}}`, `1`)
	f.Fuzz(func(t *testing.T, schema, config string) {
		began := time.Now()
		_ = checkConfig([]byte(schema), []byte(config), len(config)%2 == 0)
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("took %v", took)
		}
	})
}

func TestCheckSchema(t *testing.T) {
	for text, want := range map[string]string{
		`{"type":"object","properties":{"a":{"type":"string","pattern":"^a"}}}`: "[] <nil>",
		`{"properties":{"a":{"minItems":"x"}}}`:                                 "[properties a minItems] it is no JSON Schema: /properties/a/minItems: got string, want integer",
		`{"properties":{"a":{"pattern":"("}}}`:                                  "[properties a pattern] it is no JSON Schema: /properties/a/pattern: is no regex that is known here",
		`{"properties":{"a":{"$ref":"#/x"}}}`:                                   `[] cannot be used: $ref "#/x"`,
		`{`:                                                                     "[] is no JSON",
	} {
		place, err := CheckSchema([]byte(text))
		if got := fmt.Sprint(place, " ", err); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %s; want %s", text, got, want)
		}
	}
}
