package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// LayoutsVersion names what the layout folders hold: it is another text once the index of
// one of them was written anew. It reads no file.
func (s *Store) LayoutsVersion() string {
	var b strings.Builder
	for _, dir := range s.o.Layouts {
		info, err := os.Stat(filepath.Join(dir, ocispec.ImageIndexFile))
		if err != nil {
			b.WriteString("-\n")
			continue
		}
		fmt.Fprintln(&b, info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}

// InLayout returns the digest that an image has in the first layout folder that holds it;
// empty: none does, or its index cannot be read now. No registry is asked.
func (s *Store) InLayout(reference string) string {
	r, err := ParseReference(reference)
	if err != nil {
		return ""
	}
	for _, dir := range s.o.Layouts {
		if d, err := findInLayout(dir, r); err == nil {
			return d.Digest.String()
		}
	}
	return ""
}

// wasInLayout reports whether the image of this tag and digest lies in a layout folder,
// which has another one under the tag by now: what runs goes on until that one can.
func wasInLayout(dir string, r Reference) bool {
	name, err := blobFile(dir, ocispec.Descriptor{Digest: digestOf(r.Digest)})
	if r.Tag == "" || err != nil {
		return false
	}
	r.Digest = ""
	if _, err = findInLayout(dir, r); err != nil {
		return false
	}
	_, err = os.Stat(name)
	return err == nil
}
