package catalogue

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// buildAt builds a plugin in a copy of the sources below root, as make plugins does, and
// returns the digest of its image.
func buildAt(t *testing.T, root, language, name string) string {
	t.Helper()
	for _, folder := range []string{"wasm-sdk/" + language, "plugins-src/" + name, "plugins-src/cors"} { // whose files csrf shares
		copyTree(t, filepath.Join("../..", folder), filepath.Join(root, folder))
	}
	dir := filepath.Join(root, "plugins-src", name)
	target, err := filepath.Abs("../../build/rust")
	if err != nil {
		t.Fatal(err)
	}
	if language == "assemblyscript" {
		compiler, err := filepath.Abs("../../build/assemblyscript/node_modules/assemblyscript")
		if err != nil {
			t.Fatal(err)
		}
		modules := filepath.Join(dir, "node_modules")
		if err := os.MkdirAll(filepath.Join(modules, "@penstock"), 0o750); err != nil {
			t.Fatal(err)
		}
		for from, to := range map[string]string{compiler: "assemblyscript", filepath.Join(root, "wasm-sdk", language): "@penstock/sdk"} {
			if err := os.Symlink(from, filepath.Join(modules, to)); err != nil {
				t.Fatal(err)
			}
		}
	}
	module := filepath.Join(root, name+".wasm")
	run := func(args ...string) string {
		t.Helper()
		c := exec.Command(harness.Binary(t), args...)
		c.Env = append(os.Environ(), "CARGO_TARGET_DIR="+target)
		text, err := c.CombinedOutput()
		if err != nil && os.Getenv("PENSTOCK_SKIP_TOOLCHAINS") != "" && strings.Contains(string(text), "not installed") {
			t.Skipf("%s", text)
		}
		if err != nil {
			t.Fatalf("penstock %q: %v\n%s", args, err, text)
		}
		return string(text)
	}
	run("plugin", "build", dir, "--output", module)
	said := run("image", "pack", "--layout", filepath.Join(root, "layout"), "--name", "test.example/"+name+":1",
		"--manifest", filepath.Join(dir, "plugin.json"), "--schema", filepath.Join(dir, "schema.json"), module)
	_, digest, ok := strings.Cut(strings.TrimSpace(said), "@")
	if !ok {
		t.Fatalf("penstock image pack says %q", said)
	}
	return digest
}

// copyTree copies a folder, with its symbolic links as they are, but what tools have made in
// it.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		at := filepath.Join(to, relative)
		switch {
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "target"):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(at, 0o750)
		case d.Type()&fs.ModeSymlink != 0:
			lead, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(lead, at)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(at, text, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}
