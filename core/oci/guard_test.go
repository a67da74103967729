package oci

import (
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"go.uber.org/zap"
)

// TestGuard: what an image says of itself is known once it is stored, and no registry is
// asked for it.
func TestGuard(t *testing.T) {
	layout := t.TempDir()
	for name, manifest := range map[string]string{"guard": `{"guard":true}`, "plain": `{"guard":false}`} {
		if _, err := WriteLayout(layout, ref(t, "r.example/"+name+":1"), []byte("\x00asm"), []byte(manifest), nil); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(Options{Dir: t.TempDir(), Layouts: []string{layout}}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	// What a pull leaves: the parts, and the digest that the tag had.
	p, err := artifact([]byte("\x00asm"), []byte(`{"guard":true}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range append(p.blobs, p.manifest) {
		if err := s.keep(b); err != nil {
			t.Fatal(err)
		}
	}
	pulled := digest.FromBytes(p.manifest).String()
	if err := os.WriteFile(s.tagFile(ref(t, "r.example/pulled:1")), []byte(pulled), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{
		"r.example/guard:1": true, "r.example/plain:1": false, "r.example/guard:2": false, "r.example/other:1": false, "not an image": false,
		"r.example/pulled:1": true, "r.example/any@" + pulled: true, "r.example/any@sha256:" + strings.Repeat("0", 64): false,
	}
	for range 2 { // the second time from memory
		for image, want := range tests {
			if got := s.Guard(image); got != want {
				t.Errorf("%s: got %v; want %v", image, got, want)
			}
		}
	}
}
