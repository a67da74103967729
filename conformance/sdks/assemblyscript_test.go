package sdks

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAssemblyScriptReadme: the examples of the README are, together, a plugin that builds
// and links.
func TestAssemblyScriptReadme(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "index.ts"), []byte(strings.Join(assemblyscriptSDK.Readme(t), "")), 0o600))
	assemblyscriptSDK.Build(t, dir)
}

// TestAssemblyScriptElsewhere: a plugin outside of this repository, built as the README
// says, has the same bytes as one that is built here.
func TestAssemblyScriptElsewhere(t *testing.T) {
	guest := filepath.Join(here(), "guests", "assemblyscript", "state")
	want, err := os.ReadFile(assemblyscriptSDK.Build(t, guest))
	must(t, err)
	if _, err := exec.LookPath("npm"); err != nil {
		missing(t, "npm", "assemblyscript")
	}
	dir := filepath.Join(t.TempDir(), "another", "place")
	must(t, os.CopyFS(dir, os.DirFS(guest)))
	sdk := filepath.Join(here(), "..", "..", "wasm-sdk", "assemblyscript")
	readme, err := os.ReadFile(filepath.Join(sdk, "README.md"))
	must(t, err)
	_, rest, _ := strings.Cut(string(readme), "```json\n")
	manifest, rest, _ := strings.Cut(rest, "```")
	_, rest, _ = strings.Cut(rest, "```sh\n")
	commands, _, found := strings.Cut(rest, "penstock image pack")
	const path = "file:../penstock/wasm-sdk/assemblyscript"
	if !found || !strings.Contains(manifest, path) {
		t.Fatal("the README does not say how a plugin is built")
	}
	must(t, os.WriteFile(filepath.Join(dir, "package.json"), []byte(strings.Replace(manifest, path, "file:"+sdk, 1)), 0o600))
	run(t, dir, []string{"npm_config_prefer_offline=true"}, "sh", "-ec", commands)
	got, err := os.ReadFile(filepath.Join(dir, "plugin.wasm"))
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes; want the same %d as here", len(got), len(want))
	}
}

// TestAssemblyScriptUnits: the SDK's own code, against what JavaScript has of the same, and
// against hosts that misbehave.
func TestAssemblyScriptUnits(t *testing.T) {
	dir := filepath.Join(here(), "..", "..", "wasm-sdk", "assemblyscript", "test")
	module := assemblyscriptSDK.Build(t, dir)
	run(t, dir, []string{"MODULE=" + module}, "node", "--test", "test.mjs")
}
