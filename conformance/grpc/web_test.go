package grpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/interop"

	"penstock.dev/penstock/conformance/harness"
)

// webClient installs grpc-web's client, at the versions of package-lock.json, and
// returns its folder.
func webClient(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "client.js"} {
		text, err := os.ReadFile(filepath.Join("web", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	c.Dir = dir
	text, err := c.CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound) && os.Getenv("PENSTOCK_SKIP_TOOLCHAINS") != "":
		t.Skip("npm is not installed, and PENSTOCK_SKIP_TOOLCHAINS is set")
	case errors.Is(err, exec.ErrNotFound):
		t.Fatal("npm is not installed: run make toolchains, or set PENSTOCK_SKIP_TOOLCHAINS=1 to leave this test out")
	case err != nil:
		t.Fatalf("npm: %v\n%s", err, text)
	}
	return dir
}

// TestWebInNode: grpc-web's client on Node.js.
func TestWebInNode(t *testing.T) {
	dir := webClient(t)
	_, target := start(t, serve(t, interop.NewTestServer()), nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "node", "client.js", "http://"+target)
	c.Dir = dir
	if text, err := c.CombinedOutput(); err != nil || !strings.HasSuffix(string(text), "ok\n") {
		t.Errorf("got %v:\n%s", err, text)
	}
}

// page runs client.js: it has the modules that it asks for.
const page = `<!doctype html><script>onerror = (...all) => { fetch("/page/tell", {method: "POST", body: all.join(" ")}) }</script>
<script src="/page/node_modules/protobufjs/dist/protobuf.js"></script>
<script>const exports = {};</script>
<script src="/page/node_modules/grpc-web/index.js"></script>
<script>const require = name => ({"grpc-web": exports, protobufjs: window.protobuf})[name];</script>
<script src="/page/client.js"></script>`

// TestWebInABrowser: the same in Chromium.
func TestWebInABrowser(t *testing.T) {
	harness.Long(t)
	files := http.StripPrefix("/page/", http.FileServer(http.Dir(webClient(t))))
	told := make(chan string, 1)
	port := harness.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/page/":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, page)
		case "/page/tell":
			text, _ := io.ReadAll(r.Body)
			select {
			case told <- string(text):
			default:
			}
		default:
			files.ServeHTTP(w, r)
		}
	})
	p, target := start(t, serve(t, interop.NewTestServer()), map[string]string{"page.yaml": harness.Service("page", "", port)})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	browser := exec.CommandContext(ctx, harness.Tool(t, "chromium"), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--user-data-dir="+t.TempDir(), "--remote-debugging-port=0", fmt.Sprintf("http://%s/page/", target))
	browser.Env = append(os.Environ(), "HOME="+t.TempDir())
	browser.Cancel = func() error { return browser.Process.Signal(syscall.SIGTERM) }
	browser.WaitDelay = 10 * time.Second
	if err := browser.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = browser.Wait() // ended by a signal
	}()
	select {
	case text := <-told:
		if text != "ok" {
			t.Errorf("got:\n%s", text)
		}
	case <-ctx.Done():
		t.Fatalf("the browser tells nothing\n%s", p.Log())
	}
}
