package schema

import (
	"encoding/json"
	"slices"
	"strings"
)

// describe says what a subschema allows, for people.
func (d *document) describe(o *object) (kind string, allowed []string, bounds string) {
	return d.describeWithin(o, 0)
}

func (d *document) describeWithin(o *object, depth int) (kind string, allowed []string, bounds string) {
	if depth == maxFollow {
		return "any", nil, ""
	}
	if values := choices(o); len(values) > 0 {
		for _, v := range values {
			allowed = append(allowed, plain(v))
		}
		return "", allowed, ""
	}
	all := types(o)
	if len(all) == 0 {
		var kinds []string
		for _, a := range d.alternatives(o) {
			one, values, _ := d.describeWithin(a, depth+1)
			if one == "" {
				one = strings.Join(values, " or ")
			}
			if !slices.Contains(kinds, one) {
				kinds = append(kinds, one)
			}
		}
		if len(kinds) == 0 {
			return "any", nil, ""
		}
		return strings.Join(kinds, " or "), nil, ""
	}
	if len(all) == 1 && all[0] == "array" {
		return d.list(o, depth)
	}
	if more := d.resolve(o.get("additionalProperties")); len(all) == 1 && all[0] == "object" && more != nil && o.get("properties") == nil {
		one, values, each := d.describeWithin(more, depth+1)
		return "map of " + many(one), values, both(number(o, "minProperties", "maxProperties"), each)
	}
	var said []string
	for _, t := range all {
		switch t {
		case "string":
			if length := number(o, "minLength", "maxLength"); length != "" {
				said = append(said, length+" characters")
			}
		case "integer", "number":
			if r := number(o, "minimum", "maximum"); r != "" {
				said = append(said, r)
			}
		case "object":
			if n := number(o, "minProperties", "maxProperties"); n != "" {
				said = append(said, n+" of its fields")
			}
		}
	}
	return strings.Join(all, " or "), nil, strings.Join(said, "; ")
}

// list describes an array.
func (d *document) list(o *object, depth int) (kind string, allowed []string, bounds string) {
	count := number(o, "minItems", "maxItems")
	items := d.resolve(o.get("items"))
	if items == nil {
		return "list", nil, count
	}
	one, values, each := d.describeWithin(items, depth+1)
	return "list of " + many(one), values, both(count, each)
}

// both joins what holds for a list with what holds for each element.
func both(all, each string) string {
	if each == "" {
		return all
	}
	if all == "" {
		return "each " + each
	}
	return all + "; each " + each
}

// number is the range that two keywords say, "" for none.
func number(o *object, low, high string) string {
	least, hasLeast := o.get(low).(json.Number)
	most, hasMost := o.get(high).(json.Number)
	if hasLeast && least == "0" && low != "minimum" { // which goes without saying
		hasLeast = false
	}
	switch {
	case hasLeast && hasMost && least == most:
		return least.String()
	case hasLeast && hasMost:
		return least.String() + " to " + most.String()
	case hasLeast:
		return least.String() + " or more"
	case hasMost:
		return "up to " + most.String()
	}
	return ""
}

// many is the plural of a type's name.
func many(kind string) string {
	first, rest, _ := strings.Cut(kind, " ")
	switch first {
	case "any":
		return "anything"
	case "": // its values are listed
		return "values"
	}
	if rest != "" {
		rest = " " + rest
		if strings.HasPrefix(rest, " or ") {
			return first + "s or " + many(rest[4:])
		}
	}
	return first + "s" + rest
}

// Markdown is a table of rows, in Markdown; it ends with a line feed.
func Markdown(rows []Row) string {
	var b strings.Builder
	b.WriteString("| key | value | default | meaning |\n| --- | --- | --- | --- |\n")
	for _, r := range rows {
		what := cell(r.Type)
		if len(r.Allowed) > 0 { // the type is "", or "list of values" or the like
			what = strings.TrimSuffix(what, "values") + either(r.Allowed)
		}
		if r.Bounds != "" {
			what += ", " + r.Bounds
		}
		held := "none"
		switch {
		case r.Required:
			held = "required"
		case r.Default != "":
			held = code(r.Default)
		}
		path := code(r.Path)
		if r.Path == "" {
			path = "the whole"
		}
		b.WriteString("| " + path + " | " + what + " | " + held + " | " + cell(r.Description) + " |\n")
	}
	return b.String()
}

// either is a list of values with "or" before the last one.
func either(values []string) string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = code(v)
	}
	if n := len(all) - 1; n > 0 {
		return strings.Join(all[:n], ", ") + " or " + all[n]
	}
	return all[0]
}

// code is a text as code in a cell. One with a backtick stands between two of them.
func code(s string) string {
	s = strings.ReplaceAll(s, "|", `\|`)
	if strings.Contains(s, "`") {
		return "`` " + s + " ``"
	}
	if s == "" {
		return `""`
	}
	return "`" + s + "`"
}

// cell is text in a cell.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
