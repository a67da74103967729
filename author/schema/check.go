package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// kind is what a keyword's value is.
type kind uint8

const (
	isValue kind = iota
	isSchema
	isSchemas     // a list of them
	isNamedSchema // an object whose fields are schemas
)

// keywords are those of JSON Schema 2020-12, with the ones of before that mean the same.
var keywords = func() map[string]kind {
	all := map[string]kind{}
	for of, names := range map[kind]string{
		isValue: `$schema $id $ref $anchor $comment $vocabulary $dynamicRef $dynamicAnchor title description default deprecated readOnly writeOnly examples
			type enum const multipleOf maximum exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern format contentEncoding contentMediaType
			maxItems minItems uniqueItems maxContains minContains maxProperties minProperties required dependentRequired`,
		isSchema:      "additionalProperties unevaluatedProperties propertyNames items unevaluatedItems contains contentSchema not if then else",
		isSchemas:     "allOf anyOf oneOf prefixItems",
		isNamedSchema: "properties patternProperties dependentSchemas $defs definitions",
	} {
		for name := range strings.FieldsSeq(names) {
			all[name] = of
		}
	}
	return all
}()

// Check says what is wrong with the text of an author's schema, each fault with its line:
// what is no JSON, and keywords that are none, which would be taken for annotations and
// change nothing. Those that begin with x- are the author's own. near returns names like
// another, for a person.
func Check(text []byte, near func(name string, names []string) string) error {
	var syntax *json.SyntaxError
	var any any
	if err := json.Unmarshal(text, &any); errors.As(err, &syntax) {
		return fmt.Errorf("%d: no JSON: %w", lineAt(text, int(syntax.Offset)), syntax)
	}
	d, err := open(text)
	if err != nil {
		return fmt.Errorf("1: %s", strings.TrimPrefix(err.Error(), "schema: "))
	}
	c := checker{text: text, near: near, places: places(text)}
	c.schema(d.root, "")
	return errors.Join(c.faults...)
}

// Line returns the line in which a place of a schema, a path of names and indices, begins;
// 1 if it is not there.
func Line(text []byte, place []string) int {
	at := ""
	for _, token := range place {
		at += "/" + escaped(token)
	}
	return lineAt(text, places(text)[at])
}

func lineAt(text []byte, offset int) int {
	return bytes.Count(text[:min(offset, len(text))], []byte("\n")) + 1
}

func escaped(token string) string {
	return strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1")
}

type checker struct {
	text   []byte
	near   func(string, []string) string
	places map[string]int
	faults []error
}

// maxFaults bounds what is told of one schema.
const maxFaults = 10

// schema checks the subschema at a place.
func (c *checker) schema(v value, at string) {
	o, ok := v.(*object)
	if !ok {
		return
	}
	for _, name := range o.names {
		below := at + "/" + escaped(name)
		of, known := keywords[name]
		switch {
		case !known:
			c.unknown(name, below)
		case of == isSchema:
			c.schema(o.fields[name], below)
		case of == isSchemas:
			list, _ := o.fields[name].([]any)
			for i, one := range list {
				c.schema(one, below+"/"+strconv.Itoa(i))
			}
		case of == isNamedSchema:
			if named, ok := o.fields[name].(*object); ok {
				for _, field := range named.names {
					c.schema(named.fields[field], below+"/"+escaped(field))
				}
			}
		}
	}
}

func (c *checker) unknown(name, at string) {
	if strings.HasPrefix(name, "x-") || len(c.faults) == maxFaults {
		return
	}
	say := ""
	if found := c.near(name, slices.Sorted(maps.Keys(keywords))); found != "" {
		say = ": did you mean " + found + "?"
	}
	c.faults = append(c.faults, fmt.Errorf("%d: %.200s: no keyword of JSON Schema 2020-12%s", lineAt(c.text, c.places[at]), at, say))
}

// places are where the values of a JSON text begin, by their JSON Pointers: of fields, the
// end of their name.
func places(text []byte) map[string]int {
	all := map[string]int{}
	d := json.NewDecoder(bytes.NewReader(text))
	var read func(at string, depth int) bool
	read = func(at string, depth int) bool {
		token, err := d.Token()
		delim, ok := token.(json.Delim)
		if err != nil || !ok {
			return err == nil
		}
		for i := 0; d.More(); i++ {
			below := at + "/" + strconv.Itoa(i)
			if delim == '{' {
				name, err := d.Token()
				if err != nil {
					return false
				}
				below = at + "/" + escaped(fmt.Sprint(name))
				all[below] = int(d.InputOffset())
			} else {
				all[below] = begins(text, int(d.InputOffset()))
			}
			if depth == maxDepth || !read(below, depth+1) {
				return false
			}
		}
		_, err = d.Token()
		return err == nil
	}
	read("", 0)
	return all
}

// begins returns where the next value begins after an offset.
func begins(text []byte, offset int) int {
	for offset < len(text) && bytes.IndexByte([]byte(" \t\r\n,"), text[offset]) >= 0 {
		offset++
	}
	return offset
}
