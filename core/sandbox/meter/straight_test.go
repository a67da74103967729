package meter

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// two builds a module that exports f, of this code, beside a function 1 of the
// other code; both take an i32 and return nothing.
func two(code, other []byte) []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	out = appendSection(out, secType, []byte{1, 0x60, 1, 0x7f, 0})
	out = appendSection(out, secFunction, []byte{2, 0, 0})
	out = appendSection(out, secExport, append([]byte{1}, appendU32(append(appendName(nil, "f"), 0), 0)...))
	bodies := []byte{2}
	for _, c := range [][]byte{code, other} {
		body := append([]byte{0}, append(c, 0x0b)...)
		bodies = append(appendU32(bodies, uint32(len(body))), body...)
	}
	return appendSection(out, secCode, bodies)
}

func repeat(n int, code ...byte) []byte {
	return []byte(strings.Repeat(string(code), n))
}

// TestStraightCode: what neither loops nor recurses is stopped too.
func TestStraightCode(t *testing.T) {
	const budget = 1_000_000
	long := two(repeat(1000, 0x20, 0, 0x10, 1), repeat(10_000, 0x20, 0, 0x20, 0, 0x6a, 0x1a))
	if n, err := spend(t, long, 1, budget); err == nil || !strings.Contains(err.Error(), "out of steps") || n > budget+20_000 {
		t.Errorf("1000 calls of a function of 10000 steps: got %v after %d steps; want out of steps after %d", err, n, budget)
	}
	many := two(repeat(maxSites+1, 0x20, 0, 0x10, 1), nil)
	if _, err := Instrument(many, Options{}); !errors.Is(err, ErrFeature) {
		t.Errorf("a function with many calls: got %v; want ErrFeature", err)
	}
}

// TestOutline: an outline has everything but the code, and differs if the code does.
func TestOutline(t *testing.T) {
	outline := func(code []byte) []byte {
		t.Helper()
		rewritten, err := Instrument(code, Options{})
		if err != nil {
			t.Fatal(err)
		}
		out, err := Outline(rewritten)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	a, b := outline(adding), outline(dividing)
	if bytes.Equal(a, b) {
		t.Error("two modules have the same outline")
	}
	r := newBed(t).r
	module, err := r.CompileModule(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if f := module.ExportedFunctions()["f"]; f == nil || len(f.ParamTypes()) != 1 || f.DebugName() != ".victim" {
		t.Errorf("got %v; want the export f with a parameter, of the function victim", f)
	}
	if _, _, err := call(t.Context(), t, a, 1, 1); err == nil || !strings.Contains(err.Error(), "unreachable") {
		t.Errorf("got %v; want a trap", err)
	}
	if _, err := Outline(a[:len(a)-1]); !errors.Is(err, ErrModule) {
		t.Errorf("cut: got %v; want ErrModule", err)
	}
}
