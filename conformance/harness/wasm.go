package harness

import "bytes"

// Module is a Wasm module in the making: the content of its sections by their
// number (WebAssembly core specification, 5.5).
type Module map[byte][]byte

// Bytes returns the module.
func (m Module) Bytes() []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	for _, id := range []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0} {
		if content, ok := m[id]; ok {
			out = append(append(append(out, id), LEB(len(content))...), content...)
		}
	}
	return out
}

// With sets a section.
func (m Module) With(id byte, content []byte) Module {
	m[id] = content
	return m
}

// LEB encodes a number that is not negative.
func LEB(n int) []byte {
	var b []byte
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

// Name encodes a name.
func Name(s string) []byte { return append(LEB(len(s)), s...) }

// Vector encodes items with their number before them.
func Vector(items ...[]byte) []byte { return append(LEB(len(items)), bytes.Join(items, nil)...) }

// Body encodes a function without locals.
func Body(code ...byte) []byte {
	b := append(append([]byte{0}, code...), 0x0b)
	return append(LEB(len(b)), b...)
}

// Export encodes an export: kind 0 is a function, 2 a memory.
func Export(s string, kind, index byte) []byte { return append(Name(s), kind, index) }

// Import encodes an imported function of module env.
func Import(s string, typeIndex byte) []byte {
	return append(append(Name("env"), Name(s)...), 0, typeIndex)
}

// I32 is the instruction i32.const n, for a number that is not negative.
func I32(n int) []byte {
	b := LEB(n)
	if b[len(b)-1]&0x40 != 0 { // signed: the sign bit must stay clear
		b[len(b)-1] |= 0x80
		b = append(b, 0)
	}
	return append([]byte{0x41}, b...)
}

// Code is Body of instructions in parts.
func Code(parts ...[]byte) []byte { return Body(bytes.Join(parts, nil)...) }

// Data encodes an active data segment that puts a text into memory.
func Data(at int, text string) []byte {
	return bytes.Join([][]byte{{0}, I32(at), {0x0b}, Name(text)}, nil)
}
