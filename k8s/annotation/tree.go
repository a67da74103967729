package annotation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds on a text.
const (
	MaxBytes   = 16 << 10
	MaxDepth   = 16
	MaxEntries = 32
	maxNodes   = 4096
)

// Error is one problem.
type Error struct {
	Path string // "[2].limits.cpuTime"; empty: the whole
	// Reason is InvalidAnnotation or NotSupported.
	Reason  string
	Message string // what is wrong, and what would be right
}

// Error returns path and message.
func (e *Error) Error() string {
	if e.Path == "" {
		return e.Message
	}
	return e.Path + ": " + e.Message
}

// Reason returns the reason of an error of this package: NotSupported if that
// is all that is wrong.
func Reason(err error) string {
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	for _, e := range list {
		var one *Error
		if !errors.As(e, &one) || one.Reason != "NotSupported" {
			return "InvalidAnnotation"
		}
	}
	return "NotSupported"
}

// problems collects errors.
type problems struct{ list []error }

func (p *problems) add(path, format string, args ...any) {
	p.list = append(p.list, &Error{Path: path, Reason: "InvalidAnnotation", Message: fmt.Sprintf(format, args...)})
}

// document parses text as exactly one YAML document without anchors, aliases,
// tags, merge keys or duplicate keys.
func document(text string, p *problems) *yaml.Node {
	if len(text) > MaxBytes {
		p.add("", "%d bytes, at most %d: move configuration to a ConfigMap and name it in configFrom", len(text), MaxBytes)
		return nil
	}
	d := yaml.NewDecoder(strings.NewReader(text))
	var doc yaml.Node
	err := d.Decode(&doc)
	if err == io.EOF {
		p.add("", "empty: want a list, [] for no plugins")
		return nil
	}
	if err != nil {
		p.add("", "not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		return nil
	}
	var second yaml.Node
	if err := d.Decode(&second); err != io.EOF {
		p.add("", "more than one document: want one list")
		return nil
	}
	if len(doc.Content) != 1 {
		p.add("", "empty: want a list")
		return nil
	}
	n := 0
	if !check(doc.Content[0], "", 0, &n, p) {
		return nil
	}
	return doc.Content[0]
}

// check walks the tree once and refuses what YAML may not do here.
func check(n *yaml.Node, path string, depth int, count *int, p *problems) bool {
	before := len(p.list)
	if *count++; *count > maxNodes {
		p.add(path, "more than %d values", maxNodes)
		return false
	}
	if depth > MaxDepth {
		p.add(path, "nested more than %d deep", MaxDepth)
		return false
	}
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		p.add(path, "anchors and aliases are refused: write the value out")
		return false
	}
	if n.Style&yaml.TaggedStyle != 0 {
		p.add(path, "tags are refused: %s", n.Tag)
		return false
	}
	switch n.Kind {
	case yaml.MappingNode:
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			if k.Kind != yaml.ScalarNode || k.Anchor != "" || k.Style&yaml.TaggedStyle != 0 {
				p.add(path, "a key must be plain text (line %d)", k.Line)
				continue
			}
			if k.Value == "<<" && k.Style == 0 {
				p.add(path, "merge keys are refused: write the keys out")
				continue
			}
			if seen[k.Value] {
				p.add(join(path, k.Value), "the same key twice")
			}
			seen[k.Value] = true
			check(n.Content[i+1], join(path, k.Value), depth+1, count, p)
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			check(c, fmt.Sprintf("%s[%d]", path, i), depth+1, count, p)
		}
	}
	return len(p.list) == before
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

var (
	intForm   = regexp.MustCompile(`^[-+]?[0-9]+$`)
	octalForm = regexp.MustCompile(`^0o[0-7]+$`)
	hexForm   = regexp.MustCompile(`^0x[0-9a-fA-F]+$`)
	floatForm = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
	infForm   = regexp.MustCompile(`^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
)

// scalar gives a plain scalar its type by YAML 1.2's core schema (10.3.2), not
// by YAML 1.1's: yes and on are text.
func scalar(n *yaml.Node) (any, error) {
	s := n.Value
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return s, nil
	}
	switch {
	case s == "" || s == "~" || s == "null" || s == "Null" || s == "NULL":
		return nil, nil
	case s == "true" || s == "True" || s == "TRUE":
		return true, nil
	case s == "false" || s == "False" || s == "FALSE":
		return false, nil
	case intForm.MatchString(s):
		digits := strings.TrimLeft(strings.TrimPrefix(s, "+"), "0")
		if strings.HasPrefix(s, "-") {
			digits = "-" + strings.TrimLeft(s[1:], "0")
		}
		if digits == "" || digits == "-" {
			digits = "0"
		}
		return json.Number(digits), nil
	case octalForm.MatchString(s), hexForm.MatchString(s):
		base := 8
		if s[1] == 'x' {
			base = 16
		}
		v, err := strconv.ParseUint(s[2:], base, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is out of range", s)
		}
		return json.Number(strconv.FormatUint(v, 10)), nil
	case floatForm.MatchString(s):
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%s is out of range", s)
		}
		return json.Number(strconv.FormatFloat(v, 'g', -1, 64)), nil
	case infForm.MatchString(s):
		return nil, fmt.Errorf("%s is no value that JSON has", s)
	}
	return s, nil
}

// toJSON converts a checked tree; mappings become maps, in JSON sorted by key.
func toJSON(n *yaml.Node, path string, p *problems) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			m[key] = toJSON(n.Content[i+1], join(path, key), p)
		}
		return m
	case yaml.SequenceNode:
		list := []any{}
		for i, c := range n.Content {
			list = append(list, toJSON(c, fmt.Sprintf("%s[%d]", path, i), p))
		}
		return list
	}
	v, err := scalar(n)
	if err != nil {
		p.add(path, "%v", err)
	}
	return v
}

// encode returns v as compact JSON with sorted keys.
func encode(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("BUG: a parsed value is not JSON: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Mapping reads text that must be one JSON or YAML mapping, as strictly as an
// annotation: the value of a ConfigMap's or Secret's key. maxBytes bounds it.
// Its errors hold no value of it.
func Mapping(text string, maxBytes int) (map[string]json.RawMessage, error) {
	if len(text) > maxBytes {
		return nil, fmt.Errorf("%d bytes, at most %d", len(text), maxBytes)
	}
	var doc yaml.Node
	d := yaml.NewDecoder(strings.NewReader(text))
	if err := d.Decode(&doc); err != nil || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("not a JSON or YAML mapping")
	}
	var second yaml.Node
	if d.Decode(&second) != io.EOF {
		return nil, errors.New("more than one document")
	}
	p, n := &problems{}, -1<<20 // its size is bounded above
	if !check(doc.Content[0], "", 0, &n, p) {
		return nil, errors.New("it has anchors, tags, duplicate keys or deep nesting")
	}
	out := map[string]json.RawMessage{}
	for key, v := range toJSON(doc.Content[0], "", p).(map[string]any) {
		out[key] = encode(v)
	}
	if len(p.list) > 0 {
		return nil, errors.New("it has a number that JSON cannot hold")
	}
	return out, nil
}

func sortedKeys[V any](m map[string]V) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	sort.Strings(all)
	return all
}
