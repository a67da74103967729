package cases

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// unknownForm is how the library says that a struct has no such field.
var unknownForm = regexp.MustCompile(`^line (\d+): field (.*) not found in type (\S+)$`)

// explained is the library's error in words of a file of cases: the fields that there are in
// place of names of Go, and the case that it is about.
func explained(text []byte, err error) string {
	types, ok := err.(*yaml.TypeError) //nolint:errorlint // as the decoder returns it
	if !ok {
		return strings.TrimPrefix(err.Error(), "yaml: ")
	}
	var all []string
	for _, one := range types.Errors {
		m := unknownForm.FindStringSubmatch(one)
		if m == nil || fieldsOf()[m[3]] == nil {
			all = append(all, one)
			continue
		}
		where := ""
		if name := caseAt(text, m[1]); name != "" {
			where = fmt.Sprintf("case %q: ", name)
		}
		all = append(all, fmt.Sprintf("line %s: %sunknown field %q (one of %s)", m[1], where, m[2], strings.Join(fieldsOf()[m[3]], ", ")))
	}
	return strings.Join(all, "; ")
}

// fieldsOf are the fields of each type of a file of cases, by its name in Go.
var fieldsOf = sync.OnceValue(func() map[string][]string {
	all := map[string][]string{}
	var add func(t reflect.Type)
	add = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			add(t.Elem())
			return
		case reflect.Struct:
		default:
			return
		}
		if all[t.String()] != nil {
			return
		}
		all[t.String()] = []string{}
		all[t.String()] = names(t, add)
	}
	add(reflect.TypeFor[File]())
	return all
})

// names are the fields of a struct in YAML; add is called for the type of each.
func names(t reflect.Type, add func(reflect.Type)) (all []string) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case options == "inline":
			all = append(all, names(f.Type, add)...)
		case name != "" && name != "-":
			all = append(all, name)
			add(f.Type)
		}
	}
	return all
}

// caseAt returns the name of the case that a line belongs to; empty: of none, or it has none.
func caseAt(text []byte, line string) (name string) {
	var file struct {
		Cases []yaml.Node `yaml:"cases"`
	}
	var at int
	if _, err := fmt.Sscan(line, &at); err != nil || yaml.Unmarshal(text, &file) != nil {
		return ""
	}
	for _, one := range file.Cases {
		if one.Line > at {
			break
		}
		var c struct {
			Name string `yaml:"name"`
		}
		_ = one.Decode(&c)
		name = c.Name
	}
	return name
}
