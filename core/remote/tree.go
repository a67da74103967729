package remote

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"regexp"

	"github.com/fxamacker/cbor/v2"

	"penstock.dev/penstock/core/config"
)

// A config goes over the wire as resources, each a tree in CBOR (RFC 8949,
// deterministic by its section 4.2): structs are maps by field name without
// the fields that are zero, and a pointer to a value that many share is the name
// of another resource. So one change sends what it touches, equal values have
// equal bytes for every proxy, and a value that did not change keeps its pointer.

// shared are the types that are resources of their own, by the name of their
// kind. They are named by a hash of their content.
var shared = map[reflect.Type]string{
	reflect.TypeFor[*config.Part]():            "part",
	reflect.TypeFor[*config.TLS]():             "tls",
	reflect.TypeFor[*config.ClientAuth]():      "clients",
	reflect.TypeFor[*config.Certificate]():     "certificate",
	reflect.TypeFor[*config.UpstreamTLS]():     "upstreamtls",
	reflect.TypeFor[*config.ProxyParameters](): "parameters",
}

// withheld are the types that no proxy gets: what control alone uses, and what
// has resources of its own.
var withheld = map[reflect.Type]bool{
	reflect.TypeFor[[]config.PullCredential](): true,
	reflect.TypeFor[*config.RouteTable]():      true,
	reflect.TypeFor[*config.RawTable]():        true,
}

var (
	regexpType = reflect.TypeFor[*regexp.Regexp]()
	textType   = reflect.TypeFor[encoding.TextMarshaler]()
	readType   = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// maxNesting and maxElements bound what is decoded.
const (
	maxNesting  = 64
	maxElements = 1 << 20
)

var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: maxNesting, MaxArrayElements: maxElements, MaxMapPairs: maxElements,
		IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden, UTF8: cbor.UTF8RejectInvalid,
		DefaultMapType: reflect.TypeFor[map[string]any](),
	}.DecMode())
)

// stateMode reads what this process' kind has written and sealed itself.
var stateMode = must(cbor.DecOptions{MaxMapPairs: 1 << 24, MaxArrayElements: 1 << 24}.DecMode())

func must[T any](v T, err error) T {
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return v
}

// tree returns a value as CBOR has it; ref names a shared one.
func tree(v reflect.Value, ref func(reflect.Value) string) (any, error) {
	t := v.Type()
	switch {
	case withheld[t]:
		return nil, nil
	case t.Kind() == reflect.Pointer && v.IsNil():
		return nil, nil
	case shared[t] != "":
		return ref(v), nil
	case t == regexpType:
		return v.Interface().(*regexp.Regexp).String(), nil
	case t.Implements(textType) && t.Kind() != reflect.Pointer:
		text, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		return string(text), err
	}
	switch t.Kind() {
	case reflect.Pointer:
		return tree(v.Elem(), ref)
	case reflect.Struct:
		return fields(v, ref)
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return octets(v), nil
		}
		list := make([]any, v.Len())
		for i := range list {
			var err error
			if list[i], err = tree(v.Index(i), ref); err != nil {
				return nil, err
			}
		}
		return list, nil
	case reflect.Map:
		m := make(map[string]any, v.Len())
		for i := v.MapRange(); i.Next(); {
			one, err := tree(i.Value(), ref)
			if err != nil {
				return nil, err
			}
			m[i.Key().String()] = one
		}
		return m, nil
	case reflect.Bool:
		return v.Bool(), nil
	case reflect.String:
		return v.String(), nil
	case reflect.Float64:
		return v.Float(), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int(), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return v.Uint(), nil
	}
	return nil, fmt.Errorf("BUG: %s cannot be sent", t)
}

// octets returns the bytes of a slice or array of them.
func octets(v reflect.Value) []byte {
	if v.Kind() == reflect.Slice {
		return v.Bytes()
	}
	b := make([]byte, v.Len())
	reflect.Copy(reflect.ValueOf(b), v)
	return b
}

func fields(v reflect.Value, ref func(reflect.Value) string) (any, error) {
	m := map[string]any{}
	for i := range v.NumField() {
		f := v.Field(i)
		if f.IsZero() || !v.Type().Field(i).IsExported() {
			continue
		}
		one, err := tree(f, ref)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.Type().Field(i).Name, err)
		}
		if one != nil {
			m[v.Type().Field(i).Name] = one
		}
	}
	return m, nil
}

var errForm = errors.New("of an unexpected form")

// plant sets a value from its tree; deref returns a shared one by its name. A
// field that is not known is an error: what it asks for must not be left out.
func plant(v reflect.Value, x any, deref func(reflect.Type, string) (reflect.Value, error)) error {
	t := v.Type()
	if x == nil {
		return nil
	}
	text, isText := x.(string)
	switch {
	case withheld[t]:
		return errForm
	case shared[t] != "":
		if !isText {
			return errForm
		}
		one, err := deref(t, text)
		if err == nil {
			v.Set(one)
		}
		return err
	case t == regexpType:
		if !isText {
			return errForm
		}
		r, err := regexp.Compile(text)
		if err == nil {
			v.Set(reflect.ValueOf(r))
		}
		return err
	case t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(readType) && t.Implements(textType):
		if !isText {
			return errForm
		}
		return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
	}
	switch t.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		return plant(v.Elem(), x, deref)
	case reflect.Struct:
		return plantFields(v, x, deref)
	case reflect.Slice, reflect.Array:
		return plantList(v, x, deref)
	case reflect.Map:
		m, ok := x.(map[string]any)
		if !ok || t.Key().Kind() != reflect.String {
			return errForm
		}
		v.Set(reflect.MakeMapWithSize(t, len(m)))
		for key, one := range m {
			e := reflect.New(t.Elem()).Elem()
			if err := plant(e, one, deref); err != nil {
				return fmt.Errorf("%.60q: %w", key, err)
			}
			v.SetMapIndex(reflect.ValueOf(key).Convert(t.Key()), e)
		}
		return nil
	}
	return plantScalar(v, x)
}

func plantFields(v reflect.Value, x any, deref func(reflect.Type, string) (reflect.Value, error)) error {
	m, ok := x.(map[string]any)
	if !ok {
		return errForm
	}
	for name, one := range m {
		f, ok := v.Type().FieldByName(name)
		if !ok || !f.IsExported() || len(f.Index) != 1 {
			return fmt.Errorf("%.60q is not known: this proxy is older than control", name)
		}
		if err := plant(v.FieldByIndex(f.Index), one, deref); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func plantList(v reflect.Value, x any, deref func(reflect.Type, string) (reflect.Value, error)) error {
	t := v.Type()
	if t.Elem().Kind() == reflect.Uint8 {
		b, ok := x.([]byte)
		if !ok || t.Kind() == reflect.Array && len(b) != t.Len() {
			return errForm
		}
		if t.Kind() == reflect.Slice {
			v.SetBytes(b)
		} else {
			reflect.Copy(v, reflect.ValueOf(b))
		}
		return nil
	}
	list, ok := x.([]any)
	if !ok || t.Kind() == reflect.Array && len(list) != t.Len() {
		return errForm
	}
	if t.Kind() == reflect.Slice {
		v.Set(reflect.MakeSlice(t, len(list), len(list)))
	}
	for i, one := range list {
		if err := plant(v.Index(i), one, deref); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return nil
}

func plantScalar(v reflect.Value, x any) error {
	switch n := x.(type) {
	case bool:
		if v.Kind() == reflect.Bool {
			v.SetBool(n)
			return nil
		}
	case string:
		if v.Kind() == reflect.String {
			v.SetString(n)
			return nil
		}
	case float64:
		if v.CanFloat() {
			v.SetFloat(n)
			return nil
		}
	case uint64:
		switch {
		case v.CanUint() && !v.OverflowUint(n):
			v.SetUint(n)
			return nil
		case v.CanInt() && n <= 1<<63-1 && !v.OverflowInt(int64(n)):
			v.SetInt(int64(n))
			return nil
		}
	case int64: // negative
		if v.CanInt() && !v.OverflowInt(n) {
			v.SetInt(n)
			return nil
		}
	}
	return errForm
}
