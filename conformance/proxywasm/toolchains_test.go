package proxywasm

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// run runs a toolchain's command. One that is missing fails the test, unless
// PENSTOCK_SKIP_TOOLCHAINS is set.
func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	c := exec.Command(name, args...)
	c.Dir = dir
	text, err := c.CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound) && os.Getenv("PENSTOCK_SKIP_TOOLCHAINS") != "":
		t.Skipf("%s is not installed, and PENSTOCK_SKIP_TOOLCHAINS is set", name)
	case errors.Is(err, exec.ErrNotFound):
		t.Fatalf("%s is not installed: run make toolchains, or set PENSTOCK_SKIP_TOOLCHAINS=1 to leave this test out", name)
	case err != nil:
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, text)
	}
}

// serve runs one guest on a Service of its name.
func serve(t *testing.T, name, module string) *harness.Proxy {
	t.Helper()
	layout := t.TempDir()
	harness.Pack(t, layout, name, module)
	port := harness.Upstream(t, harness.Echo)
	entry := "- image: test.example/plugins/" + name + ":1\n  name: " + name + "\n  rootId: " + name + "\n  config: the configuration"
	p := harness.Start(t, harness.Options{Images: []string{layout}, Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1),
		"guest.yaml":   harness.Service(name, entry, port),
	}})
	p.Eventually(name+" runs", func() bool { return p.Chain("Service/default/"+name).State == "Running" })
	return p
}

// TestAssemblyScript: a guest on @solo-io/proxy-runtime, which imports the old
// wasi_unstable and has no _initialize.
func TestAssemblyScript(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("guests/assemblyscript")); err != nil {
		t.Fatal(err)
	}
	module := filepath.Join(dir, "guest.wasm")
	run(t, dir, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	run(t, dir, "npm", "run", "build", "--", "-b", module)
	p := serve(t, "assemblyscript", module)
	url := p.URL + "/assemblyscript"

	r, body := do(t, "POST", url+"/a?b=c", "0123456789", http.Header{"X-Replace": {"old"}, "X-Remove": {"x"}, "User-Agent": {"test"}})
	if r.StatusCode != 200 || body != "0123456789" {
		t.Errorf("got %d, %q; want 200 and the body", r.StatusCode, body)
	}
	want(t, r.Header, "Hello", "the configuration")
	want(t, r.Header, "X-Status", "200")
	want(t, r.Header, "X-Body-Size", "10")
	want(t, r.Header, "X-Got-X-Added", "by assemblyscript")
	want(t, r.Header, "X-Got-X-Replace", "new")
	want(t, r.Header, "X-Got-X-Remove", "")
	if r.Header.Get("X-Got-X-Count") == "" {
		t.Error("the guest has not counted the header fields")
	}
	if r, body := do(t, "GET", url, "", http.Header{"X-Deny": {"1"}}); r.StatusCode != 403 || body != "denied by the plugin\n" || r.Header.Get("X-Why") != "asked for" {
		t.Errorf("got %d, %q, %v; want 403", r.StatusCode, body, r.Header)
	}
	long := strings.Repeat("x", 100_000)
	if r, body := do(t, "POST", url, long+"forbidden", nil); r.StatusCode != 400 || body != "a forbidden word\n" {
		t.Errorf("got %d, %q; want 400", r.StatusCode, body)
	}
	if r, body := do(t, "POST", url, long, nil); r.StatusCode != 200 || body != long {
		t.Errorf("got %d, %d bytes; want 200 and %d", r.StatusCode, len(body), len(long))
	}
	p.Eventually("the guest's log line", func() bool { return strings.Contains(p.Log(), "assemblyscript saw /assemblyscript/a?b=c") })
	if !strings.Contains(p.Metrics(), `name="assemblyscript_requests",owner="Service/default/assemblyscript"} 4`) {
		t.Error("the guest's counter is not 4")
	}
	p.Write("bad.yaml", harness.Service("bad", "- image: test.example/plugins/assemblyscript:1\n  rootId: assemblyscript\n  config: refuse me", 1))
	p.Eventually("the guest refuses its configuration", func() bool {
		c := p.Chain("Service/default/bad")
		return c.State != "Running" && c.Reason == "InvalidConfig"
	})
}

// TestC: a guest in C, without SDK and library.
func TestC(t *testing.T) {
	module := filepath.Join(t.TempDir(), "c.wasm")
	run(t, "guests/c", "clang-22", "--target=wasm32-unknown-unknown", "-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-nostdlib", "-Wl,--no-entry", "-o", module, "plugin.c")
	p := serve(t, "c", module)
	for _, size := range []int{0, 10, 100_000} {
		r, body := do(t, "POST", p.URL+"/c", strings.Repeat("a", size), http.Header{"X-Remove": {"x"}})
		if r.StatusCode != 200 || body != strings.Repeat("A", size) {
			t.Errorf("%d bytes: got %d, %.20q", size, r.StatusCode, body)
		}
		want(t, r.Header, "X-From", "C")
		want(t, r.Header, "X-Got-X-Config", "the configuration")
		want(t, r.Header, "X-Got-X-Remove", "")
	}
	if r, body := do(t, "GET", p.URL+"/c", "", http.Header{"X-Deny": {"1"}}); r.StatusCode != 403 || body != "denied by the plugin\n" || r.Header.Get("X-Why") != "asked" {
		t.Errorf("got %d, %q, %v; want 403", r.StatusCode, body, r.Header)
	}
	p.Eventually("the guest's log line", func() bool { return strings.Contains(p.Log(), "the plugin in C denies") })
}
