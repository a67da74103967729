package sdk

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
)

// ParseConfig reads a configuration, a JSON value, into a T. What it does not say stays as
// it is in defaults; no text at all leaves all of them. It is strict: the error names each
// field that T does not have, or whose type is another one, by its path, as
// "config.keys[0].consumer", and never a value, which may be a secret. What a type's own
// UnmarshalJSON says is handed on.
func ParseConfig[T any](text []byte, defaults T) (T, error) {
	config := defaults
	if len(text) == 0 {
		return config, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(&config)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return config, nil
		}
		return defaults, errors.New("config: more follows the JSON value")
	}
	return defaults, configError(text, reflect.TypeFor[T](), err)
}

// configError says where a text does not fit a type, which err says without a path.
func configError(text []byte, t reflect.Type, err error) error {
	var v any
	var syntax *json.SyntaxError
	if e := json.Unmarshal(text, &v); errors.As(e, &syntax) {
		return fmt.Errorf("config: no JSON: at byte %d", syntax.Offset)
	}
	var m misfits
	m.look(v, t, "config")
	if m != nil {
		return errors.New(strings.Join(m, "; "))
	}
	var kind *json.UnmarshalTypeError // of what look does not know, such as a number's range
	if errors.As(err, &kind) {
		return fmt.Errorf("config.%s: does not fit %v", kind.Field, kind.Type)
	}
	return fmt.Errorf("config: %w", err)
}

// misfits are the places where a value does not fit a type.
type misfits []string

// look compares a JSON value with a type, as encoding/json reads it.
func (m *misfits) look(v any, t reflect.Type, path string) {
	for t.Kind() == reflect.Pointer && !reads(t) {
		t = t.Elem()
	}
	if v == nil || reads(t) || reads(reflect.PointerTo(t)) {
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		if object, ok := v.(map[string]any); ok {
			for _, name := range slices.Sorted(maps.Keys(object)) {
				if f, ok := field(t, name); ok {
					m.look(object[name], f, path+"."+name)
				} else {
					*m = append(*m, path+"."+name+": unknown field")
				}
			}
			return
		}
		m.wrong(v, "an object", path)
	case reflect.Map:
		if object, ok := v.(map[string]any); ok {
			for _, name := range slices.Sorted(maps.Keys(object)) {
				m.look(object[name], t.Elem(), path+"."+name)
			}
			return
		}
		m.wrong(v, "an object", path)
	case reflect.Slice, reflect.Array:
		if _, text := v.(string); text && t.Elem().Kind() == reflect.Uint8 {
			return // base64
		}
		if list, ok := v.([]any); ok {
			for i, one := range list {
				m.look(one, t.Elem(), fmt.Sprintf("%s[%d]", path, i))
			}
			return
		}
		m.wrong(v, "a list", path)
	case reflect.String:
		if _, ok := v.(string); !ok {
			m.wrong(v, "a text", path)
		}
	case reflect.Bool:
		if _, ok := v.(bool); !ok {
			m.wrong(v, "true or false", path)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64:
		if n, ok := v.(float64); !ok {
			m.wrong(v, "a number", path)
		} else if !fits(n, t) {
			*m = append(*m, path+": does not fit "+t.String())
		}
	}
}

// fits says whether a number is one of a type, as far as a float64 tells.
func fits(n float64, t reflect.Type) bool {
	zero := reflect.Zero(t)
	switch {
	case zero.CanInt():
		return n == math.Trunc(n) && n >= math.MinInt64 && n < math.MaxInt64 && !zero.OverflowInt(int64(n))
	case zero.CanUint():
		return n == math.Trunc(n) && n >= 0 && n < math.MaxUint64 && !zero.OverflowUint(uint64(n))
	}
	return !zero.OverflowFloat(n)
}

func (m *misfits) wrong(v any, want, path string) {
	got := "a number"
	switch v.(type) {
	case map[string]any:
		got = "an object"
	case []any:
		got = "a list"
	case string:
		got = "a text"
	case bool:
		got = "true or false"
	}
	*m = append(*m, path+": "+got+"; want "+want)
}

// reads says that a type reads JSON, or text, by itself.
func reads(t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[json.Unmarshaler]()) || t.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// field finds the field of a struct that a name in JSON means.
func field(t reflect.Type, name string) (reflect.Type, bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		called, options, _ := strings.Cut(tag, ",")
		embedded := f.Type
		if embedded.Kind() == reflect.Pointer {
			embedded = embedded.Elem()
		}
		switch {
		case tag == "-":
		case f.Anonymous && called == "" && embedded.Kind() == reflect.Struct:
			if inner, ok := field(embedded, name); ok {
				return inner, true
			}
		case !f.IsExported():
		case strings.EqualFold(called, name) || called == "" && strings.EqualFold(f.Name, name):
			if slices.Contains(strings.Split(options, ","), "string") { // a number within a text
				return reflect.TypeFor[any](), true
			}
			return f.Type, true
		}
	}
	return nil, false
}
