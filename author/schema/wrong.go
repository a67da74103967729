package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Wrong is a configuration that is wrong in one place.
type Wrong struct {
	// Path is the place, as "keys[0].groups"; "" for the whole. A field that is missing, or
	// that the schema does not know, is a place too.
	Path string
	// Pointer is the place as a JSON pointer, "/keys/0/groups"; of such a field the object
	// that it is missing in, or stands in.
	Pointer string
	// Name is the name of such a field, else "".
	Name string
	// What is wrong there, for people.
	What string
	// Config is the configuration, and Right the same without the fault. Both are JSON.
	Config, Right json.RawMessage
}

// maxWrong bounds the bytes of a configuration: what an annotation may hold.
const maxWrong = 12 << 10

// WrongConfigs returns configurations that are wrong in one place each: for every field of
// the schema, values of another type, outside its list, range, length or pattern; fields
// that it does not know; and what is required and missing. null is left out: to plugins
// it is as good as nothing. A rule that would take a configuration of more than 12 KiB to
// break is left out. The error names a field for which no right value can be told:
// examples help.
func WrongConfigs(schema []byte) ([]Wrong, error) {
	d, err := open(schema)
	if err != nil {
		return nil, err
	}
	w := &wrongs{document: d}
	if err := w.look(d.resolve(d.root), nil, nil); err != nil {
		return nil, err
	}
	return w.all, nil
}

// step leads into a value: a name, or the first element.
type step struct {
	name    string
	element bool
}

func pathOf(steps []step) string {
	var b strings.Builder
	for _, s := range steps {
		switch {
		case s.element:
			b.WriteString("[0]")
		case b.Len() > 0:
			b.WriteString("." + s.name)
		default:
			b.WriteString(s.name)
		}
	}
	return b.String()
}

func pointerOf(steps []step) string {
	var b strings.Builder
	for _, s := range steps {
		if s.element {
			b.WriteString("/0")
		} else {
			b.WriteString("/" + s.name)
		}
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

// wrongs collects them.
type wrongs struct {
	*document
	all []Wrong
}

// look makes those for one place and what is within it.
func (w *wrongs) look(o *object, steps []step, outer []*object) error {
	if o == nil || w.work > maxWork || len(outer) == maxFollow || slices.ContainsFunc(outer, func(one *object) bool { return same(one, o) }) {
		return nil
	}
	if len(w.all) > 20*maxRows {
		return fmt.Errorf("schema: more than %d wrong configurations", 20*maxRows)
	}
	outer = append(slices.Clip(outer), o)
	right, err := w.build(w.resolve(w.root), steps, nil)
	if err != nil {
		return err
	}
	for _, f := range w.faults(o, at(right, steps), len(steps) == 0) {
		if err := w.add(right, steps, f); err != nil {
			return err
		}
	}
	for _, inner := range append([]*object{o}, w.alternatives(o)...) {
		if properties, ok := inner.get("properties").(*object); ok {
			for _, name := range properties.names {
				if err := w.look(w.resolve(properties.get(name)), append(slices.Clip(steps), step{name: name}), outer); err != nil {
					return err
				}
			}
		}
		if err := w.look(w.resolve(inner.get("items")), append(slices.Clip(steps), step{element: true}), outer); err != nil {
			return err
		}
		if err := w.look(w.resolve(inner.get("additionalProperties")), append(slices.Clip(steps), step{name: anyName}), outer); err != nil {
			return err
		}
	}
	return nil
}

// anyName is a field's name in a map.
const anyName = "x-any"

// add makes one of a fault in a place.
func (w *wrongs) add(right value, steps []step, f fault) error {
	one := Wrong{Path: pathOf(steps), Pointer: pointerOf(steps), What: f.what, Name: f.name}
	var wrong value
	if f.name != "" {
		one.Path = pathOf(append(slices.Clip(steps), step{name: f.name}))
		inner := at(right, steps).(*object).clone()
		inner.drop(f.name)
		if f.extra {
			inner.set(f.name, "x")
		}
		wrong = put(right, steps, inner)
	} else {
		wrong = put(right, steps, f.value)
	}
	for _, to := range []struct {
		v    value
		text *json.RawMessage
	}{{wrong, &one.Config}, {right, &one.Right}} {
		s, err := text(to.v)
		if err != nil {
			return err
		}
		*to.text = json.RawMessage(s)
	}
	if len(one.Config) <= maxWrong {
		w.all = append(w.all, one)
	}
	return nil
}

// at returns what lies in a place.
func at(v value, steps []step) value {
	for _, s := range steps {
		switch in := v.(type) {
		case *object:
			v = in.get(s.name)
		case []any:
			if len(in) == 0 {
				return nil
			}
			v = in[0]
		default:
			return nil
		}
	}
	return v
}

// put returns a value with another one in a place of it.
func put(v value, steps []step, with value) value {
	if len(steps) == 0 {
		return with
	}
	switch in := v.(type) {
	case *object:
		in = in.clone()
		in.set(steps[0].name, put(in.get(steps[0].name), steps[1:], with))
		return in
	case []any:
		in = slices.Clone(in)
		if len(in) == 0 {
			in = []any{nil}
		}
		in[0] = put(in[0], steps[1:], with)
		return in
	}
	return with
}

func (o *object) clone() *object {
	c := &object{fields: map[string]value{}}
	for _, name := range o.names {
		c.set(name, o.get(name))
	}
	return c
}

func (o *object) drop(name string) {
	delete(o.fields, name)
	o.names = slices.DeleteFunc(o.names, func(one string) bool { return one == name })
}
