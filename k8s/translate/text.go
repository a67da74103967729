package translate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"penstock.dev/penstock/core/config"
)

// WriteStatus writes statuses for people, as YAML: a document of one mapping, by
// "Kind/namespace/name".
func WriteStatus(w io.Writer, status Statuses) error {
	var b strings.Builder
	all := maps.Collect(status.All())
	for _, o := range slices.SortedFunc(maps.Keys(all), func(a, b config.Object) int { return strings.Compare(a.String(), b.String()) }) {
		text, err := json.Marshal(all[o])
		if err != nil {
			return fmt.Errorf("status of %s: %w", o, err)
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			return fmt.Errorf("status of %s: %w", o, err)
		}
		fmt.Fprintf(&b, "%s:", o)
		block(&b, clean(v), 1)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// clean leaves out what says nothing: times that are filled in later, generations of
// files, empty values.
func clean(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, x := range v {
			if x = clean(x); x == nil || x == "" || key == "observedGeneration" && x == 0.0 {
				delete(v, key)
				continue
			}
			v[key] = x
		}
	case []any:
		for i := range v {
			v[i] = clean(v[i])
		}
	}
	return v
}

// block writes a value after a key or a dash.
func block(b *strings.Builder, v any, depth int) {
	indent := strings.Repeat("  ", depth)
	switch v := v.(type) {
	case map[string]any:
		if flat(v) {
			break
		}
		b.WriteString("\n")
		for _, key := range keys(v) {
			b.WriteString(indent + key + ":")
			block(b, v[key], depth+1)
		}
		return
	case []any:
		if len(v) == 0 {
			break
		}
		b.WriteString("\n")
		for _, x := range v {
			var item strings.Builder
			block(&item, x, depth+1)
			b.WriteString(indent + "- " + strings.TrimSpace(item.String()) + "\n")
		}
		return
	}
	b.WriteString(" " + flow(v) + "\n")
}

// keys are those of a mapping in the order in which people read them.
func keys(m map[string]any) []string {
	first := []string{"name", "parentRef", "ancestorRef", "type", "status", "reason", "message"}
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		rank := func(k string) int {
			if i := slices.Index(first, k); i >= 0 {
				return i
			}
			return len(first)
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b))
	})
}

// flat reports whether a mapping has scalars alone.
func flat(m map[string]any) bool {
	for _, v := range m {
		switch v.(type) {
		case map[string]any, []any:
			return false
		}
	}
	return true
}

var plainWord = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9./-]*$`)

// flow writes a value in one line.
func flow(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var all []string
		for _, key := range keys(v) {
			all = append(all, key+": "+flow(v[key]))
		}
		return "{" + strings.Join(all, ", ") + "}"
	case string:
		if plainWord.MatchString(v) && !slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, strings.ToLower(v)) {
			return v
		}
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // it was JSON
	return strings.TrimSpace(b.String())
}
