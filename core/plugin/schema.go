package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Bounds on the JSON Schema of an image.
const (
	maxSchemaBytes = 256 << 10
	// maxSchemaWork bounds what one value may cost: how many subschemas are
	// looked at when every reference is followed through maxSchemaDepth levels.
	maxSchemaWork   = 10_000_000
	maxSchemaDepth  = 17 // an annotation nests at most 16 deep
	maxSchemaPlaces = 1_000_000
	maxFindings     = 3 // that are told
)

// checkConfig checks a filter's config against the JSON Schema (2020-12) that
// its image carries; none: everything goes. Errors name places of the config,
// never its values; if it is private, only keys that the schema names too.
func checkConfig(schema, text []byte, private bool) error {
	if len(schema) == 0 {
		return nil
	}
	compiled, document, err := compileSchema(schema)
	if err != nil {
		return fmt.Errorf("the image's JSON Schema %w", err)
	}
	err = compiled.Validate(valueOf(text))
	var invalid *jsonschema.ValidationError
	if errors.As(err, &invalid) {
		return fmt.Errorf("config does not fit the image's JSON Schema: %s", strings.Join(findings(invalid, keysOf(document, private)), "; "))
	}
	return err
}

// compileSchema reads the JSON Schema of an image. Errors say what it is or has: "is no
// JSON".
func compileSchema(schema []byte) (compiled *jsonschema.Schema, document any, err error) {
	if len(schema) > maxSchemaBytes {
		return nil, nil, fmt.Errorf("has more than %d KiB", maxSchemaBytes>>10)
	}
	if document, err = jsonschema.UnmarshalJSON(bytes.NewReader(schema)); err != nil {
		return nil, nil, errors.New("is no JSON")
	}
	if err := checkSchema(document); err != nil {
		return nil, nil, fmt.Errorf("cannot be used: %w", err)
	}
	const name = "penstock:schema"
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource(name, document); err != nil {
		return nil, nil, errors.New("cannot be used")
	}
	if compiled, err = c.Compile(name); err != nil {
		return nil, nil, &badSchema{err}
	}
	return compiled, document, nil
}

// badSchema is what the library says of a schema.
type badSchema struct{ error }

// Error implements error.
func (b *badSchema) Error() string {
	return fmt.Sprintf("cannot be used: %.300s", oneLine(b.error.Error()))
}

// CheckSchema reports whether an author's JSON Schema can be used for configurations. place
// is where in the schema the fault is, if that is known.
func CheckSchema(schema []byte) (place []string, err error) {
	_, _, err = compileSchema(schema)
	var bad *badSchema
	if !errors.As(err, &bad) {
		return nil, err
	}
	var invalid *jsonschema.SchemaValidationError
	var cause *jsonschema.ValidationError
	if errors.As(bad.error, &invalid) && errors.As(invalid.Err, &cause) {
		what := findings(cause, nil)
		for len(cause.Causes) > 0 {
			cause = cause.Causes[0]
		}
		return cause.InstanceLocation, fmt.Errorf("it is no JSON Schema: %s", strings.Join(what, "; "))
	}
	return nil, err
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// valueOf reads a config: JSON, else the text itself; nothing is an empty object.
func valueOf(text []byte) any {
	if len(text) == 0 {
		return map[string]any{}
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return string(text)
	}
	return v
}

// noLoader refuses references to other documents.
type noLoader struct{}

// Load implements jsonschema.URLLoader.
func (noLoader) Load(string) (any, error) {
	return nil, errors.New("references to other documents are not followed")
}

// keys are what may be told of a config's keys: nil: all, else those in it.
type keys map[string]bool

// keysOf returns the keys that a schema names; nil if the config is not private.
func keysOf(schema any, private bool) keys {
	if !private {
		return nil
	}
	known := keys{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, child := range v {
				known[k] = true
				walk(child)
			}
		case []any:
			for _, child := range v {
				walk(child)
			}
		}
	}
	walk(schema)
	return known
}

// place returns where a value is. The index of a list is a number below its bound.
func (k keys) place(path []string) string {
	shown := slices.Clone(path)
	for i, token := range shown {
		if n, err := strconv.Atoi(token); k != nil && !k[token] && (err != nil || n < 0 || n >= maxIndex) {
			shown[i] = "*"
		}
	}
	return "/" + strings.Join(shown, "/")
}

// maxIndex bounds the numbers that are taken for the index of a list.
const maxIndex = 10_000

// findings are the innermost causes, each with its place. The library's text is
// used only where it does not show the value.
func findings(e *jsonschema.ValidationError, known keys) []string {
	var all []string
	printer := message.NewPrinter(language.English)
	var walk func(e *jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		for _, c := range e.Causes {
			walk(c)
		}
		if len(e.Causes) > 0 {
			return
		}
		what := ""
		switch k := e.ErrorKind.(type) {
		case *kind.Pattern: // the library shows the value too
			what = "want what matches " + k.Want
		case *kind.AdditionalProperties:
			if what = k.LocalizedString(printer); known != nil {
				what = fmt.Sprintf("%d properties that the schema does not know (their names may be secret)", len(k.Properties))
			}
		case *kind.Type, *kind.Required, *kind.FalseSchema, *kind.MinItems, *kind.MaxItems, *kind.MinProperties, *kind.MaxProperties, *kind.RefCycle:
			what = k.LocalizedString(printer)
		case *kind.Enum:
			var all []string
			for _, one := range k.Want {
				all = append(all, fmt.Sprint(one))
			}
			what = "want one of " + strings.Join(all, ", ")
		case *kind.Format:
			what = fmt.Sprintf("is no %s that is known here", k.Want)
		default:
			what = "breaks the rule " + strings.Join(k.KeywordPath(), "/")
		}
		all = append(all, fmt.Sprintf("%s: %.200s", known.place(e.InstanceLocation), oneLine(what)))
	}
	walk(e)
	slices.Sort(all)
	all = slices.Compact(all)
	if n := len(all); n > maxFindings {
		all = append(all[:maxFindings], fmt.Sprintf("and %d more", n-maxFindings))
	}
	return all
}

// checkSchema refuses a schema that could take long: a library cannot be
// stopped in the middle.
func checkSchema(document any) error {
	w := work{root: document, known: map[workKey]int{}}
	n, err := w.of(document, "", maxSchemaDepth)
	if err == nil && n > maxSchemaWork {
		err = errors.New("its references branch so often that a check could take too long")
	}
	return err
}

// work adds up what a schema may cost.
type work struct {
	root  any
	known map[workKey]int
}

type workKey struct {
	at    string
	depth int
}

// of returns the cost of the value v at a place of the document, with depth
// references left to follow; at most maxSchemaWork+1.
func (w *work) of(v any, at string, depth int) (int, error) {
	key := workKey{at, depth}
	if n, ok := w.known[key]; ok {
		return n, nil
	}
	w.known[key] = 1 // a place within itself: the library finds that
	if len(w.known) > maxSchemaPlaces {
		return 0, errors.New("it is too large")
	}
	sum := 1
	add := func(v any, at string, depth int) error {
		n, err := w.of(v, at, depth)
		sum = min(sum+n, maxSchemaWork+1)
		return err
	}
	switch v := v.(type) {
	case map[string]any:
		for k, child := range v {
			switch k {
			case "$dynamicRef", "$recursiveRef":
				return 0, fmt.Errorf("%s is not supported", k)
			case "$ref":
				to, ok := child.(string)
				if !ok {
					break
				}
				target, err := pointed(w.root, to)
				if err != nil {
					return 0, err
				}
				if depth > 0 {
					if err := add(target, to[1:], depth-1); err != nil {
						return 0, err
					}
				}
				continue
			}
			if err := add(child, at+"/"+escape(k), depth); err != nil {
				return 0, err
			}
		}
	case []any:
		for i, child := range v {
			if err := add(child, fmt.Sprintf("%s/%d", at, i), depth); err != nil {
				return 0, err
			}
		}
	}
	w.known[key] = sum
	return sum, nil
}

func escape(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1")
}

// pointed resolves a reference within the document: "#" or "#/a/JSON pointer".
func pointed(v any, ref string) (any, error) {
	fail := fmt.Errorf("$ref %.80q: want \"#\" or \"#/...\" within the document", ref)
	rest, ok := strings.CutPrefix(ref, "#")
	if !ok || rest != "" && rest[0] != '/' || strings.Contains(rest, "%") {
		return nil, fail
	}
	if rest == "" {
		return v, nil
	}
	for _, token := range strings.Split(rest[1:], "/") {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		switch at := v.(type) {
		case map[string]any:
			if v, ok = at[token]; !ok {
				return nil, fail
			}
		case []any:
			i := json.Number(token)
			n, err := i.Int64()
			if err != nil || n < 0 || n >= int64(len(at)) {
				return nil, fail
			}
			v = at[n]
		default:
			return nil, fail
		}
	}
	return v, nil
}
