package oci

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAFolderThatChangesIsSeen(t *testing.T) {
	dir, name := filepath.Join(t.TempDir(), "images"), "r.example/me/p:1"
	s := store(t, dir)
	versions := map[string]string{s.LayoutsVersion(): "no folder"}
	if got := s.InLayout(name); got != "" {
		t.Errorf("got %q of no folder", got)
	}
	for _, module := range []string{"one", "two", "one"} { // of equal sizes
		digest, err := WriteLayout(dir, ref(t, name), []byte(module), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.InLayout(name); got != digest {
			t.Errorf("%s: got %q; want %q", module, got, digest)
		}
		now := s.LayoutsVersion()
		if before, ok := versions[now]; ok {
			t.Errorf("%s: got the version of %s", module, before)
		}
		if again := s.LayoutsVersion(); again != now {
			t.Errorf("%s: got %q, then %q; want it to stay", module, now, again)
		}
		versions[now] = module
	}
	if got := s.InLayout("r.example/me/other:1") + s.InLayout("R.example//"); got != "" {
		t.Errorf("got %q of an image that is not there", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := s.InLayout(name); got != "" {
		t.Errorf("got %q of an index that is being written", got)
	}
}

// TestWhatWasPackedBeforeNeedsNoRight: an image that another one has replaced under its tag
// runs on until that one can, and no registry is asked for it.
func TestWhatWasPackedBeforeNeedsNoRight(t *testing.T) {
	dir := t.TempDir()
	const name = "127.0.0.1:1/me/p:1"
	digests := []string{"sha256:" + strings.Repeat("0", 64)}
	for _, module := range []string{"one", "two"} {
		digest, err := WriteLayout(dir, ref(t, name), []byte(module), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest)
	}
	s := store(t, dir)
	recheck := func(name, digest string) error {
		return s.Recheck(t.Context(), Request{Reference: name, Namespace: "ns"}, digest)
	}
	for _, digest := range digests[1:] {
		if err := recheck(name, digest); err != nil {
			t.Errorf("%s: %v", digest, err)
		}
	}
	for other, digest := range map[string]string{
		name:                             digests[0], // not in the folder
		"127.0.0.1:1/me/q:1":             digests[1], // another image's
		"127.0.0.1:1/me/p@" + digests[1]: digests[1], // by digest it is not there any more
	} {
		if err := recheck(other, digest); err == nil {
			t.Errorf("%s with %s: no registry was asked", other, digest)
		}
	}
}
