// Package clients has programs of others as clients of the binary: curl, nghttp,
// Chromium, slowhttptest and testssl; and tinyproxy behind it.
package clients

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

const page = "<!doctype html><title>edge</title><body><p id=a>served</p><script>fetch('/a/data').then(r => r.text()).then(t => { document.getElementById('a').textContent = t + ' ' + performance.getEntriesByType('navigation')[0].nextHopProtocol })</script>"

func upstream(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/page") {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, page)
		return
	}
	harness.Echo(w, r)
	fmt.Fprint(w, "data")
}

// secure runs the binary with HTTPS and returns what Chromium knows its key by.
func secure(t *testing.T, args ...string) (p *harness.Proxy, spki string) {
	t.Helper()
	crt, key := harness.Pair(t, "a.example")
	_, spki = harness.Leaf(t, crt)
	return harness.Start(t, harness.Options{Args: args, Files: map[string]string{
		"gateway.yaml": harness.SecureGateway(1), "edge.yaml": harness.SecretOf("edge", crt, key), "a.yaml": harness.Service("a", "", harness.Upstream(t, upstream)),
	}}), spki
}

// run returns what a program prints.
func run(t *testing.T, limit time.Duration, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c := exec.CommandContext(ctx, harness.Tool(t, name), args...)
	c.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestCurl(t *testing.T) {
	harness.Long(t)
	plain := harness.Start(t, harness.Options{Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": harness.Service("a", "", harness.Upstream(t, upstream))}})
	p, _ := secure(t)
	resolve := fmt.Sprintf("a.example:%d:127.0.0.1", p.Port)
	url := fmt.Sprintf("https://a.example:%d/a", p.Port)
	body := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(body, []byte(strings.Repeat("x", 3_000_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"1.0", "1.1 200", []string{"--http1.0", plain.URL + "/a"}}, // RFC 9112, 2.3: the proxy's own version
		{"1.1", "1.1 200", []string{"--http1.1", plain.URL + "/a"}},
		{"2 by prior knowledge", "2 200", []string{"--http2-prior-knowledge", plain.URL + "/a"}},
		{"an upgrade to h2c is not made", "1.1 200", []string{"--http2", plain.URL + "/a"}},
		{"1.1 over TLS", "1.1 200", []string{"--http1.1", "-k", "--resolve", resolve, url}},
		{"2 over TLS", "2 200", []string{"--http2", "-k", "--resolve", resolve, url}},
		{"2 over TLS, a large body", "2 200", []string{"--http2", "-k", "--resolve", resolve, "--data-binary", "@" + body, url}},
		{"1.1, a large body with 100", "1.1 200", []string{"--http1.1", "-k", "--resolve", resolve, "-H", "Expect: 100-continue", "--data-binary", "@" + body, url}},
	} {
		if got := run(t, time.Minute, "curl", append([]string{"-sS", "-o", os.DevNull, "-w", "%{http_version} %{http_code}"}, tt.args...)...); got != tt.want {
			t.Errorf("%s: got %q; want %q", tt.name, got, tt.want)
		}
	}
}

func TestNghttp(t *testing.T) {
	harness.Long(t)
	p, _ := secure(t)
	var urls []string
	for i := range 20 {
		urls = append(urls, fmt.Sprintf("https://127.0.0.1:%d/a?%d", p.Port, i))
	}
	out := run(t, time.Minute, "nghttp", append([]string{"-v", "-n", "--no-verify-peer"}, urls...)...)
	if n := strings.Count(out, ":status: \x1b[0m200") + strings.Count(out, ":status: 200"); n != 20 {
		t.Errorf("%d of 20 requests were answered\n%.4000s", n, out)
	}
}

func TestChromium(t *testing.T) {
	harness.Long(t)
	p, spki := secure(t)
	out := run(t, 2*time.Minute, "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir="+t.TempDir(),
		"--ignore-certificate-errors-spki-list="+spki, "--host-resolver-rules=MAP a.example 127.0.0.1",
		"--virtual-time-budget=8000", "--dump-dom", fmt.Sprintf("https://a.example:%d/a/page", p.Port))
	if !strings.Contains(out, ">data h2<") && !strings.Contains(out, ">data h3<") {
		t.Errorf("got %s", out)
	}
}
