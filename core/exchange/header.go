package exchange

import "slices"

// Field is one header or trailer field. Name keeps the case it was received
// in; Value has no leading or trailing white space. Both borrow from the
// exchange's arena or from the connection's read buffer and die with the
// exchange.
type Field struct{ Name, Value []byte }

// Header is an ordered list of fields (RFC 9110, section 5). The zero value is
// an empty list. Names are compared without regard to ASCII case. Pseudo
// header fields are never part of it: they are Request and Response members.
type Header struct{ fields []Field }

// Len returns the number of fields.
func (h *Header) Len() int { return len(h.fields) }

// At returns field i, 0 <= i < Len.
func (h *Header) At(i int) Field { return h.fields[i] }

// SetAt replaces field i, 0 <= i < Len.
func (h *Header) SetAt(i int, f Field) { h.fields[i] = f }

// Fields returns the list itself. It is not to be kept, nor changed.
func (h *Header) Fields() []Field { return h.fields }

// Get returns the value of the first field called name; ok is false if there
// is none.
func (h *Header) Get(name string) (value []byte, ok bool) {
	for i := range h.fields {
		if EqualFold(h.fields[i].Name, name) {
			return h.fields[i].Value, true
		}
	}
	return nil, false
}

// Count returns how many fields are called name.
func (h *Header) Count(name string) int {
	n := 0
	for i := range h.fields {
		if EqualFold(h.fields[i].Name, name) {
			n++
		}
	}
	return n
}

// Add appends a field. Name and value are kept, not copied: pass bytes that
// live as long as the exchange (its Arena, or constants).
func (h *Header) Add(name, value []byte) {
	h.fields = append(h.fields, Field{Name: name, Value: value})
}

// Set gives the first field called name this value and removes the others; it
// appends the field if there is none. Both slices are kept.
func (h *Header) Set(name, value []byte) {
	for i := range h.fields {
		if EqualFold(h.fields[i].Name, string(name)) {
			h.fields[i].Value = value
			rest := h.fields[i+1:]
			kept := slices.DeleteFunc(rest, func(f Field) bool { return EqualFold(f.Name, string(name)) })
			h.fields = h.fields[:i+1+len(kept)]
			return
		}
	}
	h.Add(name, value)
}

// Del removes every field called name and reports whether there was one.
func (h *Header) Del(name string) bool {
	n := len(h.fields)
	keep := h.fields[:0]
	for _, f := range h.fields {
		if !EqualFold(f.Name, name) {
			keep = append(keep, f)
		}
	}
	h.fields = keep
	return len(keep) != n
}

// DeleteFunc removes every field for which drop reports true.
func (h *Header) DeleteFunc(drop func(Field) bool) {
	keep := h.fields[:0]
	for _, f := range h.fields {
		if !drop(f) {
			keep = append(keep, f)
		}
	}
	h.fields = keep
}

// Reset empties the list and keeps its memory.
func (h *Header) Reset() { h.fields = h.fields[:0] }

// EqualFold reports whether the field name b equals s, ignoring the case of
// ASCII letters.
func EqualFold[S []byte | string](b []byte, s S) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		x, y := b[i], s[i]
		if x == y {
			continue
		}
		if x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z' {
			return false
		}
	}
	return true
}
