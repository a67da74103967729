package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds on a schema.
const (
	maxBytes  = 256 << 10
	maxDepth  = 64  // of the document
	maxFollow = 16  // of references within each other; a configuration nests no deeper
	maxRows   = 500 // fields
	// maxWork bounds what following references may cost, which can branch: what is beyond
	// leads to nothing.
	maxWork = 100_000
)

// value is one of JSON: nil, bool, json.Number, string, []any, or *object.
type value = any

// object is one of JSON, with its fields in the order of the text.
type object struct {
	names  []string
	fields map[string]value
}

// get returns a field, nil if it is not there.
func (o *object) get(name string) value {
	if o == nil {
		return nil
	}
	return o.fields[name]
}

// set adds a field, or replaces it.
func (o *object) set(name string, v value) {
	if _, ok := o.fields[name]; !ok {
		o.names = append(o.names, name)
	}
	o.fields[name] = v
}

// MarshalJSON implements json.Marshaler: the fields keep their order.
func (o *object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range o.names {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := text(name)
		if err != nil {
			return nil, err
		}
		one, err := text(o.fields[name])
		if err != nil {
			return nil, err
		}
		b.WriteString(key + ":" + one)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// text is a value as JSON.
func text(v value) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// parse reads a JSON text that is one value.
func parse(b []byte) (value, error) {
	if len(b) > maxBytes {
		return nil, fmt.Errorf("schema: more than %d KiB", maxBytes>>10)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := read(d, 0)
	if err == nil {
		if _, end := d.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("more follows the value")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("schema: no JSON: %w", err)
	}
	return v, nil
}

func read(d *json.Decoder, depth int) (value, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if depth == maxDepth {
		return nil, fmt.Errorf("it nests deeper than %d", maxDepth)
	}
	list := []any{}
	o := &object{fields: map[string]value{}}
	for d.More() {
		if delim == '{' {
			if token, err = d.Token(); err != nil {
				return nil, err
			}
		}
		v, err := read(d, depth+1)
		if err != nil {
			return nil, err
		}
		if name, isName := token.(string); delim == '{' && isName {
			o.set(name, v)
		} else {
			list = append(list, v)
		}
	}
	if _, err := d.Token(); err != nil { // the end
		return nil, err
	}
	if delim == '{' {
		return o, nil
	}
	return list, nil
}

// document is a schema with what references in it lead to.
type document struct {
	root value
	work int // that was spent on following them
}

// open reads a schema.
func open(b []byte) (*document, error) {
	v, err := parse(b)
	if err != nil {
		return nil, err
	}
	if _, ok := v.(*object); !ok {
		return nil, errors.New("schema: want an object")
	}
	return &document{root: v}, nil
}

// resolve follows references from a subschema; nil if it is none, or they lead nowhere.
// What stands beside a reference, such as a description, is kept, as are the parts of allOf.
func (d *document) resolve(v value) *object { return d.follow(v, 0) }

func (d *document) follow(v value, depth int) *object {
	o, _ := v.(*object)
	if d.work++; o == nil || depth == maxFollow || d.work > maxWork {
		return o
	}
	to, isReference := o.get("$ref").(string)
	all, _ := o.get("allOf").([]any)
	if !isReference && len(all) == 0 {
		return o
	}
	joined := &object{fields: map[string]value{}}
	join := func(from *object) {
		if from == nil {
			return
		}
		for _, name := range from.names {
			if name != "$ref" && name != "allOf" && d.work <= maxWork {
				joined.set(name, d.merged(joined.get(name), from.get(name)))
			}
		}
	}
	if isReference {
		join(d.follow(d.pointed(to), depth+1))
	}
	if len(all) <= maxFollow {
		for _, one := range all {
			join(d.follow(one, depth+1))
		}
	}
	join(o)
	return joined
}

// merged is a keyword that is said twice: properties and required add up, of others the
// nearer one counts.
func (d *document) merged(before, after value) value {
	switch a := after.(type) {
	case []any:
		if b, ok := before.([]any); ok {
			d.work += len(a) + len(b)
			return append(append([]any{}, b...), a...)
		}
	case *object:
		if b, ok := before.(*object); ok {
			d.work += len(a.names) + len(b.names)
			both := &object{fields: map[string]value{}}
			for _, from := range []*object{b, a} {
				for _, name := range from.names {
					both.set(name, from.get(name))
				}
			}
			return both
		}
	}
	return after
}

// pointed returns what a reference within the document leads to, nil if nothing.
func (d *document) pointed(to string) value {
	if to == "#" {
		return d.root
	}
	rest, ok := strings.CutPrefix(to, "#/")
	if !ok {
		return nil
	}
	at := d.root
	for _, token := range strings.Split(rest, "/") {
		o, _ := at.(*object)
		at = o.get(strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~"))
	}
	return at
}
