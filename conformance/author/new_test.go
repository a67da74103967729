package author

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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
