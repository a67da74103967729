package registry

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// TestNewToLive makes a new plugin in each language, tests and pushes it, and names it in
// an annotation of a Service that is served. It tells how long that took.
func TestNewToLive(t *testing.T) {
	r := newRegistry(t)
	upstream := harness.Upstream(t, harness.Echo)
	files := map[string]string{"gateway.yaml": harness.GatewayFor(r.port)}
	languages := []string{"go", "rust", "assemblyscript", "c"}
	for _, language := range languages {
		files[language+".yaml"] = harness.Service(language, "", upstream)
	}
	p := harness.Start(t, harness.Options{Files: files, LocalRegistry: r.host()})
	target, err := filepath.Abs("../../build/rust")
	if err != nil {
		t.Fatal(err)
	}
	for _, language := range languages {
		t.Run(language, func(t *testing.T) {
			if language != "go" {
				harness.Long(t)
			}
			dir := filepath.Join(t.TempDir(), "prices")
			do := func(args ...string) string {
				t.Helper()
				c := exec.Command(harness.Binary(t), append([]string{"plugin"}, args...)...)
				c.Env = append(os.Environ(), "CARGO_TARGET_DIR="+target) // where Rust's library is built already
				out, err := c.CombinedOutput()
				if err != nil && os.Getenv("PENSTOCK_SKIP_TOOLCHAINS") != "" && strings.Contains(string(out), "not installed") {
					t.Skip(string(out))
				}
				if err != nil {
					t.Fatalf("plugin %q: %v\n%s", args, err, out)
				}
				return strings.TrimSpace(string(out))
			}
			do("build", warm(t, do, language)) // what a toolchain keeps between builds is there
			began := time.Now()
			lap := func() time.Duration { return time.Since(began).Round(10 * time.Millisecond) }
			do("new", dir, "--lang", language)
			do("test", dir)
			tested := lap()
			image := do("push", r.host()+"/plugins/"+language+":1", dir, "--local-registry", r.host())
			pushed := lap()
			p.Write(language+".yaml", harness.Service(language, "- image: "+image+"\n  config: {greeting: good day}", upstream))
			p.Eventually("it is live", func() bool {
				response, err := http.Get(p.URL + "/" + language)
				if err != nil {
					return false
				}
				response.Body.Close()
				return response.Header.Get("X-Greeting") == "good day"
			})
			t.Logf("%s: made and tested after %v, pushed after %v, live after %v", language, tested, pushed, lap())
		})
	}
}

// warm makes a plugin that is not the one that is measured.
func warm(t *testing.T, do func(...string) string, language string) (dir string) {
	dir = filepath.Join(t.TempDir(), "other")
	do("new", dir, "--lang", language)
	return dir
}
