package schema

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// fault is something that is wrong in a place: a value, or the field name of an object,
// which is missing, or there in extra.
type fault struct {
	what  string
	value value
	name  string
	extra bool
}

// faults are those that a subschema does not allow where right is allowed.
func (w *wrongs) faults(o *object, right value, whole bool) []fault {
	all := w.types(o, whole)
	add := func(what string, v value) { all = append(all, fault{what: what, value: v}) }
	if values := choices(o); len(values) > 0 {
		switch values[0].(type) {
		case string:
			add("none of the values", "no-such-value")
			add("nothing", "")
		case json.Number:
			add("none of the values", json.Number("7"))
		}
		return all
	}
	switch right := right.(type) {
	case string:
		all = append(all, textFaults(o, right)...)
	case json.Number:
		all = append(all, numberFaults(o)...)
	case []any:
		all = append(all, w.listFaults(o, right)...)
	case *object:
		all = append(all, w.objectFaults(o, right)...)
	}
	return all
}

// types are values of two other types, which is enough to see that the type is looked at.
// The whole is a list at most: a text is handed on as it is.
func (w *wrongs) types(o *object, whole bool) []fault {
	allowed := types(o)
	for _, a := range w.alternatives(o) {
		allowed = append(allowed, types(a)...)
	}
	if len(allowed) == 0 {
		return nil
	}
	var all []fault
	for _, v := range []value{"text", json.Number("7"), true, []any{}, &object{fields: map[string]value{}}} {
		t := typeOf(v)
		if slices.Contains(allowed, t) || t == "integer" && slices.Contains(allowed, "number") || whole && t != "array" {
			continue
		}
		if all = append(all, fault{what: "of the type " + t, value: v}); len(all) == 2 {
			break
		}
	}
	if slices.Contains(allowed, "integer") && !slices.Contains(allowed, "number") {
		all = append(all, fault{what: "of the type number", value: json.Number("1.5")})
	}
	return all
}

// typeOf is the type of a value.
func typeOf(v value) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case json.Number:
		if _, err := v.Int64(); err == nil {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

func textFaults(o *object, right string) []fault {
	var all []fault
	least, _ := whole(o, "minLength")
	most, bounded := whole(o, "maxLength")
	if least > 0 {
		all = append(all, fault{what: "too short", value: right[:0] + strings.Repeat("a", least-1)})
	}
	if bounded && most < maxWrong {
		all = append(all, fault{what: "too long", value: right + strings.Repeat("a", max(most+1-len([]rune(right)), 0))})
	}
	if pattern, err := compiled(o); err == nil && pattern != nil {
		for _, s := range []string{"a b", "?", "\u00e9", "-", "A", "1"} {
			if n := len([]rune(s)); !pattern.MatchString(s) && n >= least && (!bounded || n <= most) {
				all = append(all, fault{what: "not of the pattern", value: s})
				break
			}
		}
	}
	return all
}

func numberFaults(o *object) []fault {
	var all []fault
	for _, b := range []struct {
		keyword, what string
		beyond        int64
	}{
		{"minimum", "too small", -1},
		{"maximum", "too large", 1},
		{"exclusiveMinimum", "too small", 0},
		{"exclusiveMaximum", "too large", 0},
	} {
		if n, ok := o.get(b.keyword).(json.Number); ok {
			if i, err := n.Int64(); err == nil {
				all = append(all, fault{what: b.what, value: json.Number(strconv.FormatInt(i+b.beyond, 10))})
			}
		}
	}
	return all
}

func (w *wrongs) listFaults(o *object, right []any) []fault {
	var all []fault
	if least, _ := whole(o, "minItems"); least > 0 {
		all = append(all, fault{what: "too few", value: append([]any{}, right[:min(least-1, len(right))]...)})
	}
	items := w.resolve(o.get("items"))
	if most, ok := whole(o, "maxItems"); ok && most < maxWrong/3 && items != nil {
		if many, err := w.elements(items, most+1, nil, nil); err == nil {
			all = append(all, fault{what: "too many", value: many})
		}
	}
	if unique, _ := o.get("uniqueItems").(bool); unique && len(right) > 0 {
		all = append(all, fault{what: "one of them twice", value: []any{right[0], right[0]}})
	}
	return all
}

func (w *wrongs) objectFaults(o *object, right *object) []fault {
	var all []fault
	if closed, ok := o.get("additionalProperties").(bool); ok && !closed {
		all = append(all, fault{what: "unknown field", name: "noSuchField", extra: true})
	}
	for _, name := range names(o.get("required")) {
		all = append(all, fault{what: "missing", name: name})
	}
	if least, _ := whole(o, "minProperties"); least > 0 && len(names(o.get("required"))) == 0 {
		all = append(all, fault{what: "too few fields", value: &object{fields: map[string]value{}}})
	}
	if rule := w.resolve(o.get("propertyNames")); rule != nil {
		pattern, err := compiled(rule)
		least, _ := whole(rule, "minLength")
		for _, name := range []string{"", "a b"} {
			if err == nil && (pattern != nil && !pattern.MatchString(name) || len(name) < least) {
				bad := right.clone()
				if len(bad.names) == 0 {
					continue
				}
				bad.set(name, bad.get(bad.names[0]))
				all = append(all, fault{what: fmt.Sprintf("a field that may not be called %q", name), value: bad})
			}
		}
	}
	return all
}

// whole is a keyword's number; ok is false if there is none.
func whole(o *object, keyword string) (n int, ok bool) {
	number, ok := o.get(keyword).(json.Number)
	if !ok {
		return 0, false
	}
	i, err := strconv.Atoi(number.String())
	return i, err == nil && i >= 0
}

// compiled is a subschema's pattern, nil if it has none.
func compiled(o *object) (*regexp.Regexp, error) {
	s, ok := o.get("pattern").(string)
	if !ok {
		return nil, nil //nolint:nilnil // as said
	}
	return regexp.Compile(s)
}
