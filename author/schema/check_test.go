package schema

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// nearest is the name that differs in its last letter only.
func nearest(name string, names []string) string {
	for _, n := range names {
		if strings.TrimSuffix(n, "s") == name {
			return n
		}
	}
	return ""
}

func TestCheck(t *testing.T) {
	for text, want := range map[string]string{
		"{\n \"type\": \"object\",\n}": "3: no JSON: invalid character '}'",
		"{\"type\": \"object\"":        "1: no JSON: unexpected end",
		"[]":                           "1: want an object",
		"{\n\"properties\": {\n\"a\": {\n\"minItem\": 1}}}":                                               "4: /properties/a/minItem: no keyword of JSON Schema 2020-12: did you mean minItems?",
		"{\"oneOf\": [{},\n{\"x-mine\": 1, \"mine\": 1}]}":                                                "2: /oneOf/1/mine: no keyword of JSON Schema 2020-12",
		"{\"$defs\": {\"a/b\": {\"not\": {\"items\": {\n\"nul\": 1}}}}}":                                  "2: /$defs/a~1b/not/items/nul: no keyword",
		"{\"a\": 1,\n\"b\": 1}":                                                                           "1: /a: no keyword of JSON Schema 2020-12\n2: /b: no keyword",
		`{"properties": {"mine": {"enum": [{"mine": 1}], "default": {"mine": 1}, "const": {"mine": 1}}}}`: "",
	} {
		err := Check([]byte(text), nearest)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s: got %q; want %q", text, got, want)
		}
	}
}

func TestLine(t *testing.T) {
	text := []byte("{\"a\": [1,\n {\"b/c\":\n\n2},\n3],\n\"d\": 1}")
	for place, want := range map[string]int{"a": 1, "a 1": 2, "a 1 b/c": 2, "a 2": 5, "d": 6, "e": 1, "": 1} {
		if got := Line(text, strings.Fields(place)); got != want {
			t.Errorf("%s: got line %d; want %d", place, got, want)
		}
	}
}

// TestTheSchemasThatThereAre: those of the bundled plugins and of new ones have no fault.
func TestTheSchemasThatThereAre(t *testing.T) {
	files, err := filepath.Glob("../../plugins-src/*/schema.json")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range slices.Concat(files, []string{"../scaffold/templates/schema.json.tmpl"}) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(text, nearest); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// FuzzCheck: any text is judged in a bounded time, and every fault has a line of it.
func FuzzCheck(f *testing.F) {
	f.Add([]byte(`{"properties": {"a": {"minItem": 1, "items": [{"x": []}]}}, "$defs": {"~/": {}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		lines := strings.Count(string(text), "\n") + 1
		for place, at := range places(text) {
			if line := lineAt(text, at); line < 1 || line > lines {
				t.Errorf("%s: line %d of %d", place, line, lines)
			}
		}
		_ = Check(text, nearest)
	})
}
