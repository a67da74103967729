// Package httpwasm runs the http-wasm ABI's own compatibility kit, and the
// guests that come with its reference host, each over real connections.
package httpwasm

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/http-wasm/http-wasm-host-go/tck"

	"penstock.dev/penstock/conformance/harness"
)

// TestTCK runs all of the kit on a route that takes every path, over HTTP/1.1 and
// over HTTP/2 by prior knowledge.
func TestTCK(t *testing.T) {
	backend := tck.StartBackend("127.0.0.1:0")
	t.Cleanup(backend.Close)
	guest := filepath.Join(t.TempDir(), "tck.wasm")
	if err := os.WriteFile(guest, tck.GuestWASM, 0o600); err != nil {
		t.Fatal(err)
	}
	layout := t.TempDir()
	harness.Pack(t, layout, "tck", guest)
	service := harness.Service("tck", "- image: test.example/plugins/tck:1", backend.Listener.Addr().(*net.TCPAddr).Port)
	p := harness.Start(t, harness.Options{
		Files:  map[string]string{"gateway.yaml": harness.GatewayFor(1), "tck.yaml": strings.Replace(service, "value: /tck", "value: /", 1)},
		Images: []string{layout},
	})
	p.Eventually("the kit's guest runs", func() bool { return p.Chain("Service/default/tck").State == "Running" })
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols}
	t.Cleanup(tr.CloseIdleConnections)
	t.Run("HTTP1", func(t *testing.T) { tck.Run(t, &http.Client{}, p.URL) })
	t.Run("HTTP2", func(t *testing.T) { tck.Run(t, &http.Client{Transport: tr}, p.URL) })
}

// examples returns the folder of the reference host's guests.
func examples(t *testing.T) string {
	t.Helper()
	c := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/http-wasm/http-wasm-host-go")
	c.Stderr = os.Stderr
	dir, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(dir)), "examples")
}

// upstream answers with the request's body, or with its path if it has none.
func upstream(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if len(body) == 0 {
		body = []byte(r.RequestURI)
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Add("Set-Cookie", "a=b")
	w.Header().Add("Set-Cookie", "c=d")
	w.Header().Set("X-Got-Body", string(body))
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", "1")
	if r.Header.Get("X-Reply") != "" {
		body = []byte(r.Header.Get("X-Reply"))
	}
	_, _ = w.Write(body)
}

// start serves the guests, each on a Service of its name with that annotation.
func start(t *testing.T, entries map[string]string) *harness.Proxy {
	t.Helper()
	layout, dir := t.TempDir(), examples(t)
	port := harness.Upstream(t, upstream)
	files := map[string]string{"gateway.yaml": harness.GatewayFor(1)}
	for name, more := range entries {
		harness.Pack(t, layout, name, filepath.Join(dir, name+".wasm"))
		files[name+".yaml"] = harness.Service(name, "- image: test.example/plugins/"+name+":1"+more, port)
	}
	p := harness.Start(t, harness.Options{Files: files, Images: []string{layout}})
	for name := range entries {
		p.Eventually(name+" runs", func() bool { return p.Chain("Service/default/"+name).State == "Running" })
	}
	return p
}

func do(t *testing.T, method, url, body string, header http.Header) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		r.Header = header
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

// logged waits for a guest's line.
func logged(p *harness.Proxy, line string) {
	p.Eventually("the log has "+line, func() bool { return strings.Contains(p.Log(), line) })
}

// TestExamples: each guest does what its source says.
func TestExamples(t *testing.T) {
	p := start(t, map[string]string{
		"auth": "", "log": "", "wasi": "", "router": "",
		"redact": "\n  config: open sesame",
		"config": "\n  config: \"\\x07\\0\\0\\0\\0\\0\\0\\0\"", // the features it wants, a little-endian number
	})

	t.Run("auth", func(t *testing.T) {
		for header, want := range map[string]int{"": 401, "0": 401, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==": 200} {
			h := http.Header{}
			if header != "" {
				h.Set("Authorization", header)
			}
			r, _ := do(t, "GET", p.URL+"/auth", "", h)
			challenge := r.Header.Get("WWW-Authenticate")
			if r.StatusCode != want || header == "" && challenge != `Basic realm="test"` {
				t.Errorf("%q: got %d, %q; want %d", header, r.StatusCode, challenge, want)
			}
		}
	})

	t.Run("config", func(t *testing.T) {
		if r, body := do(t, "GET", p.URL+"/config", "", nil); r.StatusCode != 200 || body != "/config" {
			t.Errorf("got %d, %q", r.StatusCode, body)
		}
	})

	t.Run("log", func(t *testing.T) {
		if r, _ := do(t, "GET", p.URL+"/log", "", nil); r.StatusCode != 200 {
			t.Errorf("got %d; want 200", r.StatusCode)
		}
		logged(p, "hello world")
	})

	t.Run("router", func(t *testing.T) {
		if r, body := do(t, "GET", p.URL+"/router", "", nil); r.StatusCode != 200 || body != "hello world" || r.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("got %d, %q", r.StatusCode, body)
		}
	})

	t.Run("redact", func(t *testing.T) {
		for text, want := range map[string]string{"open sesame": "###########", "hello world": "hello world", "hello open sesame world": "hello ########### world"} {
			r, body := do(t, "POST", p.URL+"/redact", text, http.Header{"X-Reply": {text}})
			if got := r.Header.Get("X-Got-Body"); got != want || body != want {
				t.Errorf("%q: upstream got %q, client %q; want %q", text, got, body, want)
			}
		}
	})

	t.Run("wasi", func(t *testing.T) {
		r, body := do(t, "POST", p.URL+"/wasi?a=b", `{"hello": "panda"}`, http.Header{"Content-Type": {"application/json"}})
		if r.StatusCode != 200 || body != `{"hello": "panda"}` || r.Header.Get("X-Got-Body") != `{"hello": "panda"}` || r.Trailer.Get("Grpc-Status") != "1" {
			t.Errorf("got %d, %q, trailer %v; want what was sent, unchanged", r.StatusCode, body, r.Trailer)
		}
		for _, line := range []string{"POST /wasi?a=b HTTP/1.1", "content-type: application/json", "host: 127.0.0.1", `{\"hello\": \"panda\"}`, "HTTP/1.1 200", "set-cookie: a=b", "set-cookie: c=d"} {
			logged(p, line)
		}
	})
}

// TestRouterStripsItsPrefix: the guest passes on what begins with /host.
func TestRouterStripsItsPrefix(t *testing.T) {
	layout := t.TempDir()
	harness.Pack(t, layout, "host", filepath.Join(examples(t), "router.wasm"))
	p := harness.Start(t, harness.Options{Images: []string{layout}, Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1),
		"host.yaml":    harness.Service("host", "- image: test.example/plugins/host:1", harness.Upstream(t, upstream)),
	}})
	p.Eventually("the router runs", func() bool { return p.Chain("Service/default/host").State == "Running" })
	for path, want := range map[string]string{"/host/a": "/a", "/host": "/"} {
		if _, got := do(t, "GET", p.URL+path, "", nil); got != want {
			t.Errorf("%s: got %q; want %q", path, got, want)
		}
	}
}
