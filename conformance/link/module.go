package link

import (
	"errors"
	"fmt"
)

// module is what of a WebAssembly module a host sees when it links it (WebAssembly core
// specification 2.0, 5.5).
type module struct {
	imports []entry
	exports []entry
	start   bool // it has a start section
}

// entry is an import or an export; module is of an import.
type entry struct {
	module, name string
	kind         kind
	function     string // its type, as signature writes it; of functions only
}

type kind byte

const (
	kindFunction kind = iota
	kindTable
	kindMemory
	kindGlobal
	kindTag
)

var kindNames = map[kind]string{kindFunction: "function", kindTable: "table", kindMemory: "memory", kindGlobal: "global", kindTag: "tag"}

// errCut is what a module ends with that ends early.
var errCut = errors.New("the module ends early")

// reader reads the binary format; after an error all that it returns is zero.
type reader struct {
	p   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.p = nil
}

func (r *reader) byte() byte {
	if len(r.p) == 0 {
		r.fail(errCut)
		return 0
	}
	b := r.p[0]
	r.p = r.p[1:]
	return b
}

// u32 reads an unsigned LEB128 of at most 32 bits.
func (r *reader) u32() uint32 {
	var n uint64
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		if n |= uint64(b&0x7f) << shift; b < 0x80 {
			if n > 1<<32-1 {
				break
			}
			return uint32(n)
		}
	}
	r.fail(errors.New("a number is malformed"))
	return 0
}

// bytes reads a length and so many bytes.
func (r *reader) bytes() []byte {
	n := r.u32()
	if uint64(n) > uint64(len(r.p)) {
		r.fail(errCut)
		return nil
	}
	b := r.p[:n]
	r.p = r.p[n:]
	return b
}

// each calls do as often as a count says that comes first.
func (r *reader) each(do func()) {
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		do()
	}
}

// limits passes over those of a table or a memory.
func (r *reader) limits() {
	flags := r.byte()
	r.u32()
	if flags&1 != 0 {
		r.u32()
	}
}

var valueTypes = map[byte]string{0x7f: "i32", 0x7e: "i64", 0x7d: "f32", 0x7c: "f64", 0x7b: "v128", 0x70: "funcref", 0x6f: "externref"}

// signature reads a function type, as "(i32, i64) i32".
func (r *reader) signature() string {
	if form := r.byte(); form != 0x60 && r.err == nil {
		r.fail(fmt.Errorf("a type is of form %#x, not a function's", form))
	}
	list := func() (text string) {
		r.each(func() {
			if text != "" {
				text += ", "
			}
			text += valueTypes[r.byte()]
		})
		return text
	}
	text := "(" + list() + ")"
	if results := list(); results != "" {
		text += " " + results
	}
	return text
}

// read reads a module as far as linking needs it.
func read(b []byte) (*module, error) {
	if len(b) < 8 || string(b[:8]) != "\x00asm\x01\x00\x00\x00" {
		return nil, errors.New("no WebAssembly module of version 1")
	}
	m := &module{}
	var types, functions []string // functions: imported ones first
	typed := func(i uint32) string {
		if int(i) < len(types) {
			return types[i]
		}
		return "of a type that is missing"
	}
	r := &reader{p: b[8:]}
	for len(r.p) > 0 && r.err == nil {
		id := r.byte()
		s := &reader{p: r.bytes()}
		switch id {
		case 1:
			s.each(func() { types = append(types, s.signature()) })
		case 2:
			s.each(func() {
				e := entry{module: string(s.bytes()), name: string(s.bytes()), kind: kind(s.byte())}
				switch e.kind {
				case kindFunction:
					e.function = typed(s.u32())
					functions = append(functions, e.function)
				case kindTable:
					s.byte()
					s.limits()
				case kindMemory:
					s.limits()
				case kindGlobal:
					s.byte()
					s.byte()
				case kindTag:
					s.byte()
					s.u32()
				}
				m.imports = append(m.imports, e)
			})
		case 3:
			s.each(func() { functions = append(functions, typed(s.u32())) })
		case 7:
			s.each(func() {
				e := entry{name: string(s.bytes()), kind: kind(s.byte())}
				if i := s.u32(); e.kind == kindFunction && int(i) < len(functions) {
					e.function = functions[i]
				}
				m.exports = append(m.exports, e)
			})
		case 8:
			m.start = true
		}
		if s.err != nil {
			return nil, fmt.Errorf("section %d: %w", id, s.err)
		}
	}
	return m, r.err
}
