package sdks

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// assemblyscriptSDK is for asc. A field's value that is read is a string.
var assemblyscriptSDK = SDK{Name: "assemblyscript", fence: "typescript", Allocations: "0 1", build: func(t testing.TB, guest, out string) {
	t.Helper()
	asc(t, guest, filepath.Join(t.TempDir(), "project"), out)
}}

// asc builds a guest in a new folder, which is laid out as npm does it.
func asc(t testing.TB, guest, dir, out string) {
	t.Helper()
	compiler := filepath.Join(here(), "..", "..", "build", "assemblyscript", "node_modules", "assemblyscript")
	if _, err := exec.LookPath("node"); err != nil {
		missing(t, "Node.js", "assemblyscript")
	}
	if _, err := os.Stat(compiler); err != nil {
		missing(t, "AssemblyScript", "assemblyscript")
	}
	modules := filepath.Join(dir, "node_modules")
	must(t, os.CopyFS(dir, os.DirFS(guest)))
	must(t, os.MkdirAll(filepath.Join(modules, "@penstock"), 0o750))
	must(t, os.Symlink(compiler, filepath.Join(modules, "assemblyscript")))
	must(t, os.Symlink(filepath.Join(here(), "..", "..", "wasm-sdk", "assemblyscript"), filepath.Join(modules, "@penstock", "sdk")))
	must(t, os.WriteFile(filepath.Join(dir, "asconfig.json"), []byte(`{"extends": "@penstock/sdk/asconfig.json"}`), 0o600))
	run(t, dir, nil, "node", filepath.Join("node_modules", "assemblyscript", "bin", "asc.js"), "index.ts", "-o", out)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
