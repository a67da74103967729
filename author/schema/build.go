package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// build makes a right value of a subschema that has what the steps lead to, and else as
// little as possible. path is where it is, for errors.
func (d *document) build(o *object, steps, path []step) (value, error) {
	if o == nil {
		return "x", nil
	}
	if len(path) > maxFollow || d.work > maxWork {
		return nil, fmt.Errorf("schema: %s: it nests without end", pathOf(path))
	}
	if v, ok := shown(o); ok && len(steps) == 0 {
		return v, nil
	}
	if a := d.alternative(o, steps); a != nil {
		return d.build(a, steps, path)
	}
	kinds := types(o)
	if len(kinds) == 0 {
		return "x", nil
	}
	kind := kinds[0]
	if len(steps) > 0 { // the one that they lead into
		kind = "object"
		if steps[0].element {
			kind = "array"
		}
	}
	switch kind {
	case "object":
		return d.object(o, steps, path)
	case "array":
		least, _ := whole(o, "minItems")
		if len(steps) > 0 {
			steps = steps[1:]
			least = max(least, 1)
		}
		items := d.resolve(o.get("items"))
		if items == nil {
			return slices.Repeat([]any{"x"}, least), nil
		}
		return d.elements(items, least, steps, path)
	case "boolean":
		return true, nil
	case "integer", "number":
		return numeral(o), nil
	case "null":
		return nil, nil //nolint:nilnil // which is the value
	}
	return words(o, path)
}

// shown is a value that a subschema shows.
func shown(o *object) (value, bool) {
	if list, ok := o.get("examples").([]any); ok && len(list) > 0 {
		return list[0], true
	}
	if v, ok := o.fields["default"]; ok {
		return v, true
	}
	if values := choices(o); len(values) > 0 {
		return values[0], true
	}
	return nil, false
}

// alternative is the one of anyOf or oneOf that the steps lead into, else the first one.
func (d *document) alternative(o *object, steps []step) *object {
	if len(types(o)) > 0 {
		return nil
	}
	all := d.alternatives(o)
	for _, a := range all {
		if len(steps) > 0 && d.leads(a, steps[0]) {
			return a
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

func (d *document) leads(o *object, s step) bool {
	if s.element {
		return o.get("items") != nil
	}
	properties, _ := o.get("properties").(*object)
	return properties.get(s.name) != nil || s.name == anyName && d.resolve(o.get("additionalProperties")) != nil
}

// object makes one.
func (d *document) object(o *object, steps, path []step) (value, error) {
	made := &object{fields: map[string]value{}}
	properties, _ := o.get("properties").(*object)
	add := func(name string, steps []step) error {
		inner := d.resolve(properties.get(name))
		if inner == nil {
			inner = d.resolve(o.get("additionalProperties"))
		}
		v, err := d.build(inner, steps, append(slices.Clip(path), step{name: name}))
		if err == nil {
			made.set(name, v)
		}
		return err
	}
	first := ""
	if len(steps) > 0 {
		first = steps[0].name
		if err := add(first, steps[1:]); err != nil {
			return nil, err
		}
	}
	most, bounded := whole(o, "maxProperties")
	room := func(name string) bool {
		_, there := made.fields[name]
		return !there && (!bounded || len(made.names) < most)
	}
	if v, ok := shown(o); ok {
		if example, ok := v.(*object); ok {
			for _, name := range example.names {
				if room(name) {
					made.set(name, example.get(name))
				}
			}
		}
	}
	dependent, _ := o.get("dependentRequired").(*object)
	for _, name := range slices.Concat(names(o.get("required")), d.oneRequired(o, first), names(dependent.get(first))) {
		if room(name) {
			if err := add(name, nil); err != nil {
				return nil, err
			}
		}
	}
	least, _ := whole(o, "minProperties")
	filler := []string{anyName}
	if properties != nil {
		filler = properties.names
	}
	for _, name := range filler {
		if len(made.names) < least && room(name) {
			if err := add(name, nil); err != nil {
				return nil, err
			}
		}
	}
	return made, nil
}

// oneRequired are the fields that the first alternative of an object requires, of several
// that differ in nothing else; or the one that requires a field.
func (d *document) oneRequired(o *object, field string) []string {
	var chosen []string
	for _, keyword := range []string{"anyOf", "oneOf"} {
		list, _ := o.get(keyword).([]any)
		for _, one := range list {
			a := d.resolve(one)
			required := names(a.get("required"))
			if a == nil || len(types(a)) > 0 || len(required) == 0 {
				continue
			}
			if slices.Contains(required, field) {
				return required
			}
			if chosen == nil {
				chosen = required
			}
		}
	}
	return chosen
}

// elements makes a list's, each another one.
func (d *document) elements(items *object, n int, steps, path []step) ([]any, error) {
	path = append(slices.Clip(path), step{element: true})
	all := make([]any, 0, n)
	for i := range n {
		if i > 0 {
			steps = nil
		}
		v, err := d.build(items, steps, path)
		if err != nil {
			return nil, err
		}
		examples, _ := items.get("examples").([]any)
		if values := choices(items); len(values) > i {
			v = values[i]
		} else if i > 0 && len(examples) > i {
			v = examples[i]
		} else if s, ok := v.(string); ok && i > 0 {
			v = s + strconv.Itoa(i)
		} else if n, ok := v.(json.Number); ok && i > 0 {
			if number, err := n.Int64(); err == nil {
				v = json.Number(strconv.FormatInt(number+int64(i), 10))
			}
		}
		all = append(all, v)
	}
	return all, nil
}

// numeral makes a number.
func numeral(o *object) value {
	if least, ok := o.get("minimum").(json.Number); ok {
		return least
	}
	if most, ok := o.get("maximum").(json.Number); ok {
		return most
	}
	return json.Number("1")
}

// words makes a text.
func words(o *object, path []step) (value, error) {
	least, _ := whole(o, "minLength")
	pattern, err := compiled(o)
	if err != nil {
		return nil, fmt.Errorf("schema: %s: %w", pathOf(path), err)
	}
	for _, s := range []string{"a", "/a", "A", "1s", "1", "https://www.example", "x-a"} {
		for len(s) < least {
			s += "a"
		}
		if pattern == nil || pattern.MatchString(s) {
			return s, nil
		}
	}
	return nil, fmt.Errorf("schema: %s: it has a pattern %.80q and no examples", pathOf(path), strings.TrimSpace(pattern.String()))
}
