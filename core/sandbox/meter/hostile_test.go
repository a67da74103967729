package meter

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// TestOneReading: the engine reads one byte of a vector instruction's number, so
// that one written with more bytes than it needs would be another instruction
// there than here, and what is an immediate here would run there.
func TestOneReading(t *testing.T) {
	hidden := []byte{0x0b, 0x03, 0x40, 0x0c, 0, 0x0b, 0x02, 0x40, 1, 1, 1, 1, 1, 1, 1, 1} // end, an endless loop, block
	code := append([]byte{0x02, 0x40, 0x0c, 0, 0xfd, 0x8c, 0}, append(hidden, 0x0b)...)
	if _, err := Instrument(wasm(code...), Options{}); !errors.Is(err, ErrModule) {
		t.Errorf("an endless loop behind a v128.const of two bytes: got %v; want ErrModule", err)
	}
	for _, number := range [][]byte{{0x80, 0x81, 0}, {0xff, 0x80, 0}} {
		if _, err := Instrument(wasm(append([]byte{0x00, 0xfd}, number...)...), Options{}); !errors.Is(err, ErrModule) {
			t.Errorf("a vector instruction of number %x: got %v; want ErrModule", number, err)
		}
	}
	for _, types := range [][]byte{{0x81, 0, 0x7f}, {1, 0x63, 0x70}} {
		if _, err := Instrument(wasm(append([]byte{0x00, 0x1c}, types...)...), Options{}); !errors.Is(err, ErrFeature) {
			t.Errorf("a select of %x: got %v; want ErrFeature", types, err)
		}
	}
	if _, err := Instrument(wasm(0x00, 0xfd, 0x80, 1), Options{}); err != nil {
		t.Errorf("i16x8.abs: got %v", err)
	}
}

// TestFewTables: all tables together have the entries that one may have.
func TestFewTables(t *testing.T) {
	tables := func(n int, entries uint32) []byte {
		body := appendU32(nil, uint32(n))
		for range n {
			body = appendU32(append(body, 0x70, 0), entries)
		}
		return appendSection([]byte("\x00asm\x01\x00\x00\x00"), secTable, body)
	}
	if _, err := Instrument(tables(100, 1_000_000), Options{}); !errors.Is(err, ErrFeature) {
		t.Errorf("100 tables of a million entries: got %v; want ErrFeature", err)
	}
	if _, err := Instrument(tables(2, 1000), Options{}); err != nil {
		t.Errorf("two tables: %v", err)
	}
}

// TestDeclarationsAreBounded: globals, elements and segments take the host's
// memory in each instance, which no limit counts.
func TestDeclarationsAreBounded(t *testing.T) {
	list := func(n int, entry ...byte) []byte {
		return append(appendU32(nil, uint32(n)), bytes.Repeat(entry, n)...)
	}
	module := func(sections ...[]byte) []byte {
		return append([]byte("\x00asm\x01\x00\x00\x00"), bytes.Join(sections, nil)...)
	}
	globals := func(n int) []byte { return appendSection(nil, secGlobal, list(n, 0x7f, 0, 0x41, 0, 0x0b)) }
	imported := appendSection(nil, secImport, list(1, 1, 'a', 1, 'b', 3, 0x7f, 0))
	passive := func(elements int) []byte { return append([]byte{1, 0}, list(elements, 0)...) }
	elements := func(segments ...[]byte) []byte {
		return appendSection(nil, secElement, append(appendU32(nil, uint32(len(segments))), bytes.Join(segments, nil)...))
	}
	expressions := append([]byte{5, 0x70}, list(maxElements, 0xd0, 0x70, 0x0b)...)
	tests := map[string]struct {
		wasm []byte
		want string // "": it is admitted
	}{
		"globals":                     {module(globals(maxGlobals)), ""},
		"too many globals":            {module(globals(maxGlobals + 1)), "100001 globals"},
		"too many with imported ones": {module(imported, globals(maxGlobals)), "100001 globals"},
		"elements":                    {module(elements(passive(maxElements - 1))), ""},
		"too many elements":           {module(elements(passive(maxElements))), "elements"},
		"too many in two segments":    {module(elements(passive(maxElements/2), passive(maxElements/2))), "elements"},
		"too many expressions":        {module(elements(expressions)), "elements"},
		"too many empty segments":     {module(appendSection(nil, secElement, list(maxElements+1, passive(0)...))), "elements"},
		"too many functions":          {module(appendSection(nil, secType, list(1, 0x60, 0, 0)), appendSection(nil, secFunction, list(maxFunctions+1, 0))), "functions"},
		"data segments":               {module(appendSection(nil, secData, list(maxData, 1, 0))), ""},
		"too many data segments":      {module(appendSection(nil, secData, list(maxData+1, 1, 0))), "data segments"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Instrument(test.wasm, Options{})
			if test.want == "" && err != nil || test.want != "" && (!errors.Is(err, ErrFeature) || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v; want ErrFeature with %q", err, test.want)
			}
		})
	}
}

// TestMovesArePaid: values that change places at each turn of a loop are moves,
// though each instruction alone compiles to nothing.
func TestMovesArePaid(t *testing.T) {
	var code []byte
	const locals = 400
	code = append(code, 0x03, 0x40)
	for n := range locals {
		code = appendU32(append(code, 0x20), uint32(1+(n+1)%locals))
	}
	for n := range locals {
		code = appendU32(append(code, 0x21), uint32(1+n))
	}
	code = append(code, 0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, 0x0b)
	body := append(appendU32([]byte{1}, locals), 0x7f)
	body = append(append(body, code...), 0x0b)
	module := []byte("\x00asm\x01\x00\x00\x00")
	module = appendSection(module, secType, []byte{1, 0x60, 1, 0x7f, 0})
	module = appendSection(module, secFunction, []byte{1, 0})
	module = appendSection(module, secExport, append([]byte{1}, append(appendName(nil, "f"), 0, 0)...))
	module = appendSection(module, secCode, append(appendU32([]byte{1}, uint32(len(body))), body...))
	a, err := spend(t, module, 1000, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	b, err := spend(t, module, 2000, 1<<40)
	if err != nil || b-a < 1000*locals/weightMoves {
		t.Errorf("1000 turns of %d moves took %d steps, %v; want %d at least", locals, b-a, err, 1000*locals/weightMoves)
	}
}

// TestCodeIsBounded: a module of loops alone grows when it is rewritten.
func TestCodeIsBounded(t *testing.T) {
	body := append([]byte{0}, append(repeat(1<<20, 0x03, 0x40, 0x0b), 0x0b)...)
	const n = 8
	code := appendU32(nil, n)
	for range n {
		code = append(appendU32(code, uint32(len(body))), body...)
	}
	module := appendSection([]byte("\x00asm\x01\x00\x00\x00"), secType, []byte{1, 0x60, 0, 0})
	module = appendSection(module, secFunction, append([]byte{n}, make([]byte, n)...))
	module = appendSection(module, secCode, code)
	if _, err := Instrument(module, Options{}); !errors.Is(err, ErrFeature) || !strings.Contains(err.Error(), "once it is metered") {
		t.Errorf("got %v; want ErrFeature", err)
	}
}
