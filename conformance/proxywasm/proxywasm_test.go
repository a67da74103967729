// Package proxywasm runs plugins that were written on the public Go SDK for
// Proxy-Wasm, each over a real connection.
package proxywasm

import (
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// start serves every plugin of guests on a Service of its name.
func start(t *testing.T) *harness.Proxy {
	t.Helper()
	layout := t.TempDir()
	port := harness.Upstream(t, harness.Echo)
	files := map[string]string{"gateway.yaml": harness.GatewayFor(1)}
	dirs, err := filepath.Glob("guests/*/main.go")
	for i := range dirs {
		dirs[i] = filepath.Dir(dirs[i])
	}
	if err != nil || len(dirs) < 4 {
		t.Fatalf("got %v, %v; want at least 4 plugins", dirs, err)
	}
	entries := map[string]string{
		// Capabilities are granted to an image by a Plugin object.
		"call":       "- use: call\n  config: outbound|80||auth.default.svc.cluster.local",
		"held":       "- image: test.example/plugins/held:1\n  headerStop: headers",
		"expression": "- image: test.example/plugins/expression:1\n  config: request.path",
	}
	for _, dir := range dirs {
		name := filepath.Base(dir)
		harness.Pack(t, layout, name, harness.Guest(t, dir))
		entry := entries[name]
		if entry == "" {
			entry = "- image: test.example/plugins/" + name + ":1\n  config: the configuration"
		}
		files[name+".yaml"] = harness.Service(name, entry+"\n  limits: {cpuTime: 200ms, cpuTimeExchange: 1s}", port)
	}
	files["plugin.yaml"] = `
apiVersion: penstock.dev/v1alpha1
kind: Plugin
metadata: {name: call}
spec:
  versions: [{name: "1", image: "test.example/plugins/call:1"}]
  capabilities: [http-call]
`
	files["auth.yaml"] = harness.Service("auth", "", harness.Upstream(t, authorise))
	p := harness.Start(t, harness.Options{Files: files, Images: []string{layout}})
	for _, dir := range dirs {
		target := "Service/default/" + filepath.Base(dir)
		p.Eventually(target+" runs", func() bool { return p.Chain(target).State == "Running" })
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
	return send(t, r)
}

// send sends a request, and reads its response.
func send(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
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

// authorise answers like an authorisation service.
func authorise(w http.ResponseWriter, r *http.Request) {
	question, err := io.ReadAll(r.Body)
	switch token := r.Header.Get("X-Token"); {
	case err != nil || string(question) != "is this one allowed?" || r.Host != "auth.example" || r.URL.RequestURI() != "/check?a=b" || r.Method != "POST":
		w.WriteHeader(http.StatusBadRequest)
	case token == "slow":
		<-r.Context().Done()
	case token == "good":
		w.Header().Set("X-User", "shop")
	default:
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "unknown token")
	}
}

func want(t *testing.T, h http.Header, name, value string) {
	t.Helper()
	if got := strings.Join(h.Values(name), ","); got != value {
		t.Errorf("%s: got %q; want %q", name, got, value)
	}
}

func TestPublicSDK(t *testing.T) {
	p := start(t)

	t.Run("headers", func(t *testing.T) {
		r, _ := do(t, "GET", p.URL+"/headers/a?b=1", "", http.Header{"X-Many": {"1", "2"}, "X-Remove": {"x"}, "X-Config": {"mine"}})
		want(t, r.Header, "X-Got-X-Path", "/headers/a?b=1")
		want(t, r.Header, "X-Got-X-Config", "the configuration")
		want(t, r.Header, "X-Got-X-Remove", "")
		want(t, r.Header, "X-Got-X-Seen", "1,2")
		want(t, r.Header, "X-Status", "200")
		want(t, r.Header, "X-Method", "GET")
	})

	t.Run("body", func(t *testing.T) {
		for _, size := range []int{1, 1000, 100_000, 900_000} {
			_, got := do(t, "POST", p.URL+"/body", strings.Repeat("ab", size/2+1), nil)
			if want := "<" + strings.Repeat("AB", size/2+1) + ">"; got != want {
				t.Errorf("%d bytes: got %d bytes, %.20q; want %d", size, len(got), got, len(want))
			}
		}
		r, _ := do(t, "POST", p.URL+"/body", strings.Repeat("x", 2<<20), nil)
		if r.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("over the limit: got %d; want 413", r.StatusCode)
		}
	})

	t.Run("local response", func(t *testing.T) {
		r, body := do(t, "GET", p.URL+"/answer", "", nil)
		if r.StatusCode != 403 || body != "denied by the plugin\n" {
			t.Errorf("got %d, %q; want 403", r.StatusCode, body)
		}
		want(t, r.Header, "X-Why", "no please")
		r, _ = do(t, "GET", p.URL+"/answer", "", http.Header{"X-Let-Me-In": {"please"}})
		if r.StatusCode != 200 {
			t.Errorf("got %d; want 200", r.StatusCode)
		}
	})

	t.Run("metrics and shared data", func(t *testing.T) {
		for range 5 {
			do(t, "GET", p.URL+"/metrics", "", nil)
		}
		r, _ := do(t, "GET", p.URL+"/metrics", "", nil)
		want(t, r.Header, "X-Got-X-Total", "6")
		text := p.Metrics()
		for _, line := range []string{
			`penstock_guest_counter{filter="service/metrics",name="requests_seen",owner="Service/default/metrics"} 6`,
			`penstock_guest_gauge{filter="service/metrics",name="last_total",owner="Service/default/metrics"} 6`,
			`penstock_guest_histogram_count{filter="service/metrics",name="path_bytes",owner="Service/default/metrics"} 6`,
		} {
			if !strings.Contains(text, line) {
				t.Errorf("not in the metrics: %s", line)
			}
		}
		p.Logged("request 6")
	})

	t.Run("a tick lets a paused request go on", func(t *testing.T) {
		r, _ := do(t, "GET", p.URL+"/tick", "", nil)
		if r.StatusCode != 200 {
			t.Errorf("got %d; want 200", r.StatusCode)
		}
		want(t, r.Header, "X-Got-X-Ticked", "yes")
	})

	t.Run("a call to another Service decides", func(t *testing.T) {
		for _, body := range []string{"", "with a body"} {
			r, got := do(t, "POST", p.URL+"/call", body, http.Header{"X-Token": {"good"}})
			if r.StatusCode != 200 || got != body {
				t.Errorf("got %d, %q; want 200, %q", r.StatusCode, got, body)
			}
			want(t, r.Header, "X-Got-X-User", "shop")
		}
		r, got := do(t, "GET", p.URL+"/call", "", http.Header{"X-Token": {"bad"}})
		if r.StatusCode != 403 || got != "unknown token" {
			t.Errorf("got %d, %q; want 403", r.StatusCode, got)
		}
		want(t, r.Header, "X-Status", "401")
		if r, got = do(t, "GET", p.URL+"/call", "", http.Header{"X-Token": {"slow"}}); r.StatusCode != 502 || got != "no answer" {
			t.Errorf("got %d, %q; want 502 after the timeout", r.StatusCode, got)
		}
	})

	t.Run("a queue is read in the background", func(t *testing.T) {
		p.Eventually("the last path", func() bool {
			r, _ := do(t, "GET", p.URL+"/queue/here", "", nil)
			return r.Header.Get("X-Last") == "/queue/here"
		})
	})

	t.Run("headers wait for the body", func(t *testing.T) {
		for _, size := range []int{0, 10, 100_000} {
			r, got := do(t, "POST", p.URL+"/held", strings.Repeat("x", size), nil)
			if len(got) != size {
				t.Errorf("got %d bytes; want %d", len(got), size)
			}
			if size > 0 {
				want(t, r.Header, "X-Got-X-Body-Size", strconv.Itoa(size))
			}
		}
	})
}
