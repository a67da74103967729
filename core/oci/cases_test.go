package oci

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestCasesTravel: an image has the files of cases that it was written with, in their
// order, and the same files give the same digest.
func TestCasesTravel(t *testing.T) {
	const name = "r.example/x:1"
	files := []CasesFile{{"cases.yaml", []byte("a")}, {"more.yaml", []byte("b")}, {"../odd\nname", []byte("c")}, {"", []byte("d")}}
	digests := map[string]bool{}
	for range 2 {
		dir := t.TempDir()
		digest, err := WriteLayout(dir, ref(t, name), []byte("\x00asm"), nil, nil, files...)
		if err != nil {
			t.Fatal(err)
		}
		digests[digest] = true
		img, err := store(t, dir).Get(t.Context(), Request{Reference: name})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range img.Cases {
			got = append(got, f.Name+"="+string(f.Text))
		}
		if want := []string{"cases.yaml=a", "more.yaml=b", "cases 3=c", "cases 4=d"}; !slices.Equal(got, want) {
			t.Errorf("got %q; want %q", got, want)
		}
	}
	if len(digests) != 1 {
		t.Errorf("%d digests of the same files", len(digests))
	}
}

// TestCasesAreBounded: more than an image may have is written by nobody, and read by
// nobody.
func TestCasesAreBounded(t *testing.T) {
	many := make([]CasesFile, MaxCasesFiles+1)
	for i := range many {
		many[i] = CasesFile{strconv.Itoa(i), []byte{byte(i)}}
	}
	large := []CasesFile{{"a", []byte(strings.Repeat("x", MaxCasesBytes/2))}, {"b", []byte(strings.Repeat("y", MaxCasesBytes/2+1))}}
	for what, files := range map[string][]CasesFile{"files": many, "bytes": large} {
		if _, err := WriteLayout(t.TempDir(), ref(t, "r.example/x:1"), []byte("\x00asm"), nil, nil, files...); err == nil {
			t.Errorf("%s: it is written", what)
		}
		content := map[digest.Digest][]byte{}
		m := ocispec.Manifest{}
		for _, f := range append([]CasesFile{{"", []byte("\x00asm")}}, files...) {
			d := describe(MediaTypeCases, f.Text)
			if f.Name == "" {
				d.MediaType = MediaTypeWasm
			}
			content[d.Digest], m.Layers = f.Text, append(m.Layers, d)
		}
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unpack(raw, func(d ocispec.Descriptor, _ int64) ([]byte, error) { return content[d.Digest], nil }); !errors.Is(err, ErrImage) {
			t.Errorf("%s: got %v; want ErrImage", what, err)
		}
	}
}
