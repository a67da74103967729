package meter

import (
	"errors"
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
