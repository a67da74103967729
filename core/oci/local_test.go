package oci

import (
	"os"
	"path/filepath"
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
