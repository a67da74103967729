package author

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// TestNew: a new plugin in each language builds to the same bytes wherever it lies, passes
// its cases, and runs on a proxy.
func TestNew(t *testing.T) {
	target, err := filepath.Abs("../../build/rust")
	if err != nil {
		t.Fatal(err)
	}
	for _, language := range []string{"go", "rust", "assemblyscript", "c"} {
		t.Run(language, func(t *testing.T) {
			do := func(dir string, args ...string) string {
				t.Helper()
				c := exec.Command(harness.Binary(t), append([]string{"plugin"}, args...)...)
				c.Dir, c.Env = dir, append(os.Environ(), "CARGO_TARGET_DIR="+target) // where Rust's library is built already
				text, err := c.CombinedOutput()
				if err != nil {
					t.Fatalf("plugin %q: %v\n%s", args, err, text)
				}
				return string(text)
			}
			var modules []string
			layout := t.TempDir()
			for range 2 {
				parent := t.TempDir()
				do(parent, "new", "prices", "--lang", language)
				dir := filepath.Join(parent, "prices")
				do(dir, "build")
				b, err := os.ReadFile(filepath.Join(dir, "plugin.wasm"))
				if err != nil {
					t.Fatal(err)
				}
				modules = append(modules, string(b))
				if len(modules) > 1 {
					break
				}
				if out := do(dir, "test", "--module", "plugin.wasm"); !strings.Contains(out, "3 cases, 0 failed") {
					t.Errorf("its cases: %s", out)
				}
				harness.Pack(t, layout, "prices", filepath.Join(dir, "plugin.wasm"), "--manifest", filepath.Join(dir, "plugin.json"), "--schema", filepath.Join(dir, "schema.json"))
			}
			if modules[0] != modules[1] {
				t.Error("built elsewhere, the bytes are others")
			}
			p := harness.Start(t, harness.Options{Images: []string{layout}, Files: map[string]string{
				"gateway.yaml": harness.GatewayFor(1),
				"shop.yaml":    harness.Service("shop", "- image: test.example/plugins/prices:1\n  config: {greeting: good day}", harness.Upstream(t, harness.Echo)),
			}})
			p.Eventually("the plugin runs", func() bool { return p.Chain("Service/default/shop").State == "Running" })
			response, err := http.Get(p.URL + "/shop")
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != 200 || response.Header.Get("X-Greeting") != "good day" {
				t.Errorf("got %d, %v", response.StatusCode, response.Header)
			}
		})
	}
}

// TestNewGoTest: go vet and go test do in a new plugin in Go what its author expects, on the
// author's machine and not for WebAssembly: they pass, a second time from Go's cache, and a
// file that has changed is tested anew.
func TestNewGoTest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "prices")
	newPlugin(t, dir, "go")
	run := func(passes bool, args ...string) string {
		t.Helper()
		c := exec.Command("go", args...)
		c.Dir, c.Env = dir, append(os.Environ(), "PENSTOCK="+harness.Binary(t), "GOFLAGS=")
		out, err := c.CombinedOutput()
		if (err == nil) != passes {
			t.Fatalf("go %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	run(true, "vet", "./...")
	if out := run(true, "test", "-v", "./..."); strings.Count(out, "--- PASS: TestCases/") != 3 {
		t.Errorf("got %s; want three cases", out)
	}
	for _, name := range []string{"main.go", "cases.yaml"} {
		before := time.Now().Add(-time.Hour) // Go keeps no result of a test that has opened a file of the last two seconds
		if err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Chtimes(path, before, before))
		}); err != nil {
			t.Fatal(err)
		}
		run(true, "test", "./...")
		if out := run(true, "test", "./..."); !strings.Contains(out, "(cached)") {
			t.Errorf("nothing has changed: got %s; want it from the cache", out)
		}
		rewrite(t, filepath.Join(dir, name), "x-greeting", "x-farewell")
		if out := run(false, "test", "./..."); !strings.Contains(out, "response.headers.x-") {
			t.Errorf("%s has changed: got %s", name, out)
		}
		rewrite(t, filepath.Join(dir, name), "x-farewell", "x-greeting")
	}
}
