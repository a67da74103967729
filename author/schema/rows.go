package schema

import (
	"fmt"
	"slices"
	"strings"
)

// Row is a field of a configuration.
type Row struct {
	// Path is where it is: "keys[].groups"; [] stands for each element of a list, * for
	// each name of a map. It is "" for a configuration that is no object.
	Path string `json:"path"`
	// Type is "string", "list of objects" or the like; "" if Allowed says it.
	Type string `json:"type,omitempty"`
	// Allowed are the only values, as JSON, but strings without quotes. Of a list they are
	// those of its elements.
	Allowed []string `json:"allowed,omitempty"`
	// Bounds is what else holds: "1 to 64; each 1 to 256 characters".
	Bounds string `json:"bounds,omitempty"`
	// Default is what holds without it, as JSON, but strings without quotes if they are
	// not empty.
	Default  string `json:"default,omitempty"`
	Required bool   `json:"required,omitempty"`
	// Description is the schema's, in one line.
	Description string `json:"description,omitempty"`
}

// About returns the title and the description of a schema.
func About(schema []byte) (title, description string, err error) {
	d, err := open(schema)
	if err != nil {
		return "", "", err
	}
	root := d.resolve(d.root)
	title, _ = root.get("title").(string)
	return oneLine(title), said(root), nil
}

// Rows returns a row for each field, in the order of the schema, each before those within
// it. A field whose value is a schema that contains itself is not followed twice.
func Rows(schema []byte) ([]Row, error) {
	d, err := open(schema)
	if err != nil {
		return nil, err
	}
	w := walk{document: d}
	root := d.resolve(d.root)
	if !slices.Contains(types(root), "object") {
		w.row("", root, false)
		return w.rows, nil
	}
	w.within("", root, nil)
	if len(w.rows) > maxRows {
		return nil, fmt.Errorf("schema: more than %d fields", maxRows)
	}
	return w.rows, nil
}

// walk goes through a schema.
type walk struct {
	*document
	rows []Row
}

// row adds one, and reports whether there is room for more.
func (w *walk) row(path string, o *object, required bool) bool {
	if len(w.rows) > maxRows {
		return false
	}
	r := Row{Path: path, Required: required, Description: said(o)}
	r.Type, r.Allowed, r.Bounds = w.describe(o)
	if v := o.get("default"); v == "" {
		r.Default = `""`
	} else if v != nil {
		r.Default = plain(v)
	}
	w.rows = append(w.rows, r)
	return true
}

// within adds the fields of what a subschema may be.
func (w *walk) within(path string, o *object, outer []*object) {
	if o == nil || w.work > maxWork || len(outer) == maxFollow || slices.ContainsFunc(outer, func(one *object) bool { return same(one, o) }) {
		return
	}
	outer = append(slices.Clip(outer), o)
	required := names(o.get("required"))
	if properties, ok := o.get("properties").(*object); ok {
		for _, name := range properties.names {
			one := w.resolve(properties.get(name))
			if one == nil {
				continue
			}
			at := name
			if path != "" {
				at = path + "." + name
			}
			if !w.row(at, one, slices.Contains(required, name)) {
				return
			}
			w.within(at, one, outer)
		}
	}
	if items := w.resolve(o.get("items")); items != nil {
		w.within(path+"[]", items, outer)
	}
	if more := w.resolve(o.get("additionalProperties")); more != nil {
		w.within(strings.TrimPrefix(path+".*", "."), more, outer)
	}
	for _, alternative := range w.alternatives(o) {
		w.within(path, alternative, outer)
	}
}

// same says that two subschemas have the same fields: resolve makes anew what has a
// reference.
func same(a, b *object) bool {
	if a == b {
		return true
	}
	p, ok := a.get("properties").(*object)
	q, other := b.get("properties").(*object)
	return ok && other && p == q
}

// alternatives are the subschemas of anyOf and oneOf that have fields or types.
func (d *document) alternatives(o *object) []*object {
	var all []*object
	for _, keyword := range []string{"anyOf", "oneOf"} {
		list, _ := o.get(keyword).([]any)
		for _, one := range list {
			if a := d.resolve(one); a != nil && len(types(a)) > 0 {
				all = append(all, a)
			}
		}
	}
	return all
}

// types are those that a subschema allows: said, or clear from what else it says.
func types(o *object) []string {
	switch t := o.get("type").(type) {
	case string:
		return []string{t}
	case []any:
		return names(t)
	}
	switch {
	case o.get("properties") != nil || o.get("additionalProperties") != nil:
		return []string{"object"}
	case o.get("items") != nil:
		return []string{"array"}
	case o.get("pattern") != nil || o.get("minLength") != nil || o.get("maxLength") != nil:
		return []string{"string"}
	}
	var found []string
	for _, v := range choices(o) {
		if t := typeOf(v); !slices.Contains(found, t) {
			found = append(found, t)
		}
	}
	return found
}

// choices are the only values of a subschema; nil if it has others.
func choices(o *object) []any {
	if v, ok := o.fields["const"]; ok {
		return []any{v}
	}
	list, _ := o.get("enum").([]any)
	return list
}

// said is a subschema's description.
func said(o *object) string {
	s, _ := o.get("description").(string)
	return oneLine(s)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// names are the strings of a list.
func names(v value) []string {
	list, _ := v.([]any)
	var all []string
	for _, one := range list {
		if s, ok := one.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

// plain is a value for people.
func plain(v value) string {
	if s, ok := v.(string); ok {
		return oneLine(s)
	}
	s, err := text(v)
	if err != nil {
		return ""
	}
	return s
}
