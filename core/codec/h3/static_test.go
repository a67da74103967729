package h3

import (
	"io"
	"testing"

	"github.com/quic-go/qpack"

	"penstock.dev/penstock/core/codec/fields"
)

// TestStaticTable: it is quic-go's.
func TestStaticTable(t *testing.T) {
	for i, f := range static {
		b := fields.AppendInt([]byte{0, 0}, indexed, 6, i)
		next := qpack.NewDecoder().Decode(b)
		got, err := next()
		if err != nil || got.Name != string(f.Name) || got.Value != string(f.Value) {
			t.Errorf("%d: got %q: %q, %v; quic-go %v", i, f.Name, f.Value, err, got)
		}
		if _, err := next(); err != io.EOF {
			t.Errorf("%d: then %v", i, err)
		}
	}
	b := fields.AppendInt([]byte{0, 0}, indexed, 6, len(static))
	if _, err := qpack.NewDecoder().Decode(b)(); err == nil {
		t.Error("quic-go has more")
	}
}
