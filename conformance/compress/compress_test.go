package compress

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
	"penstock.dev/penstock/conformance/plain"
)

// start runs the binary with a Service of each name and list of plugins.
func start(t *testing.T, port int, services map[string]string, args ...string) *harness.Proxy {
	t.Helper()
	files := map[string]string{"gateway.yaml": harness.GatewayFor(1)}
	for name, plugins := range services {
		files[name+".yaml"] = harness.Service(name, plugins, port)
	}
	p := harness.Start(t, harness.Options{Images: []string{harness.BundledPlugins(t)}, Files: files, Args: args})
	for name := range services {
		p.Eventually(name+" runs", func() bool { return p.Chain("Service/default/"+name).State == "Running" })
	}
	return p
}

// clients are one of each version.
func clients(t *testing.T) map[string]*http.Client {
	h1 := &http.Transport{DisableCompression: true}
	h2 := &http.Transport{DisableCompression: true, Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(h1.CloseIdleConnections)
	t.Cleanup(h2.CloseIdleConnections)
	return map[string]*http.Client{"HTTP/1.1": {Transport: h1}, "HTTP/2": {Transport: h2}}
}

// get asks for a URL; fields are names and values.
func get(t *testing.T, c *http.Client, url string, fields ...string) (*http.Response, string) {
	t.Helper()
	return do(t, c, "GET", url, nil, fields...)
}

func do(t *testing.T, c *http.Client, method, url string, body io.Reader, fields ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	response, err := c.Do(r)
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

// page is a text of that many bytes.
func page(n int) string {
	r := rand.New(rand.NewPCG(uint64(n), 1))
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "<p>%x</p>\n", r.IntN(10_000))
	}
	return b.String()[:n]
}

// pages answers /…/SIZE with a page, in parts if the query says so, and a trailer.
func pages(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
	if err != nil {
		http.NotFound(w, r)
		return
	}
	text := page(n)
	w.Header().Set("Content-Type", "text/html")
	if !r.URL.Query().Has("parts") {
		w.Header().Set("Content-Length", strconv.Itoa(n))
		_, _ = io.WriteString(w, text)
		return
	}
	w.Header().Set("Trailer", "X-Sum")
	for len(text) > 0 {
		part := min(1+rand.IntN(20_000), len(text))
		_, _ = io.WriteString(w, text[:part])
		text = text[part:]
		_ = http.NewResponseController(w).Flush()
	}
	w.Header().Set("X-Sum", strconv.Itoa(n))
}

// TestBodies: what a client decodes is what the Service sent, over both versions, in one
// part and in many; trailers pass.
func TestBodies(t *testing.T) {
	p := start(t, harness.Upstream(t, pages), map[string]string{"pages": "- use: compress\n  config: {minLength: 1}"})
	for version, c := range clients(t) {
		for _, coding := range []string{"gzip", "br", "zstd"} {
			for _, size := range []int{0, 1, 1000, 32<<10 - 1, 32 << 10, 32<<10 + 1, 200_000, 1_500_000} {
				for _, query := range []string{"", "?parts"} {
					r, body := get(t, c, fmt.Sprintf("%s/pages/%d%s", p.URL, size, query), "Accept-Encoding", coding)
					want := coding
					if size == 0 && query == "" {
						want = ""
					}
					if got := r.Header.Get("Content-Encoding"); got != want || r.StatusCode != 200 {
						t.Errorf("%s, %s, %d%s: %d, Content-Encoding %q; want %q", version, coding, size, query, r.StatusCode, got, want)
						continue
					}
					if plain.Text(t, want, body) != page(size) {
						t.Errorf("%s, %s, %d%s: another page", version, coding, size, query)
					}
					if got := r.Trailer.Get("X-Sum"); query != "" && got != strconv.Itoa(size) {
						t.Errorf("%s, %s, %d%s: trailer %q", version, coding, size, query, got)
					}
					if size > 1 && len(body) > size/2+200 {
						t.Errorf("%s, %s: %d bytes became %d", version, coding, size, len(body))
					}
				}
			}
		}
	}
}

// TestSlowBody: a part reaches the client before the Service sends the next one.
func TestSlowBody(t *testing.T) {
	next := make(chan struct{})
	p := start(t, harness.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 4 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	}), map[string]string{"events": "- use: compress\n  config: {types: [text/event-stream]}"})
	for version, c := range clients(t) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		r, err := http.NewRequestWithContext(ctx, "GET", p.URL+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", "gzip")
		response, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		from, err := gzip.NewReader(response.Body)
		if err != nil {
			t.Fatal(version, err)
		}
		part := make([]byte, len("data: 0\n\n"))
		for i := range 4 {
			if _, err := io.ReadFull(from, part); err != nil || string(part) != fmt.Sprintf("data: %d\n\n", i) {
				t.Fatalf("%s: got %q, %v", version, part, err)
			}
			next <- struct{}{}
		}
		if rest, err := io.ReadAll(from); err != nil || len(rest) > 0 {
			t.Errorf("%s: %q, %v at the end", version, rest, err)
		}
		response.Body.Close()
		cancel()
	}
}

// TestMemory: beyond its memory responses go as they are; a client that goes away gives its
// encoder back.
func TestMemory(t *testing.T) {
	p := start(t, harness.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "hello")
		_ = http.NewResponseController(w).Flush()
		if strings.HasSuffix(r.URL.Path, "/slow") {
			<-r.Context().Done()
		}
	}), map[string]string{"pages": "- use: compress\n  config: {minLength: 1}"}, "--memory-limit", "64Mi") // 4 MiB for a namespace: two encoders of gzip
	for version, c := range clients(t) {
		coding := func() string {
			r, _ := get(t, c, p.URL+"/pages", "Accept-Encoding", "gzip")
			return r.Header.Get("Content-Encoding")
		}
		p.Eventually("encoders are free", func() bool { return coding() == "gzip" })
		ctx, cancel := context.WithCancel(t.Context())
		for range 2 {
			r, _ := http.NewRequestWithContext(ctx, "GET", p.URL+"/pages/slow", nil)
			r.Header.Set("Accept-Encoding", "gzip")
			response, err := c.Do(r)
			if err != nil || response.Header.Get("Content-Encoding") != "gzip" {
				t.Fatal(version, err, response)
			}
			defer response.Body.Close()
		}
		if got := coding(); got != "" {
			t.Errorf("%s: a third is encoded with %q", version, got)
		}
		cancel()
		p.Eventually("the encoders are back", func() bool { return coding() == "gzip" })
	}
	p.Eventually("nothing is held", func() bool { return strings.Contains(p.Metrics(), "penstock_compress_held_bytes 0\n") })
	if strings.Contains(p.Metrics(), "penstock_compress_refusals_total 0\n") {
		t.Error("no refusal is counted")
	}
}

// TestCache: in both orders each client gets what it takes, from the store the second time,
// and 304 for what it has.
func TestCache(t *testing.T) {
	asked := make(chan string, 100)
	p := start(t, harness.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get("If-None-Match")
		h := w.Header()
		h.Set("Content-Type", "text/html")
		h.Set("Cache-Control", "max-age=600")
		h.Set("ETag", `"v1"`)
		_, _ = io.WriteString(w, page(5000))
	}), map[string]string{
		"after":  "- use: cache\n- use: compress",
		"before": "- use: compress\n- use: cache",
	})
	for version, c := range clients(t) {
		for _, order := range []string{"after", "before"} {
			url := p.URL + "/" + order + "/" + strings.ReplaceAll(version, "/", "")
			for round, did := range []string{"fwd", "hit"} {
				for _, accept := range []string{"gzip", "br", "identity", "zstd, gzip"} {
					want := map[string]string{"zstd, gzip": "zstd", "identity": ""}[accept]
					if accept == "gzip" || accept == "br" {
						want = accept
					}
					r, body := get(t, c, url, "Accept-Encoding", accept)
					status := r.Header.Get("Cache-Status")
					first := order == "before" && accept != "gzip" // one response is stored for all
					if got := r.Header.Get("Content-Encoding"); got != want || !strings.Contains(status, did) && !first {
						t.Errorf("%s, %s, %q, round %d: %q, %s; want %q, %s", version, order, accept, round, got, status, want, did)
					}
					if r.Header.Get("Vary") != "Accept-Encoding" || plain.Text(t, want, body) != page(5000) {
						t.Errorf("%s, %s, %q: Vary %q, %d bytes", version, order, accept, r.Header["Vary"], len(body))
					}
					tag := r.Header.Get("ETag")
					if weak := strings.HasPrefix(tag, "W/"); weak != (want != "") {
						t.Errorf("%s, %s, %q: ETag %q", version, order, accept, tag)
					}
					r, body = get(t, c, url, "Accept-Encoding", accept, "If-None-Match", tag)
					if r.StatusCode != 304 || body != "" || r.Header.Get("ETag") != tag || r.Header.Get("Vary") != "Accept-Encoding" {
						t.Errorf("%s, %s, %q: %d, ETag %q, Vary %q; want 304 and %q", version, order, accept, r.StatusCode, r.Header.Get("ETag"), r.Header["Vary"], tag)
					}
				}
			}
			want := map[string]int{"after": 4, "before": 1}[order]
			if got := len(asked); got != want {
				t.Errorf("%s, %s: the Service was asked %d times; want %d", version, order, got, want)
			}
			for len(asked) > 0 {
				<-asked
			}
		}
	}
}

// TestRequests: the Service gets plain bodies, whatever their length; hostile ones do not
// reach it whole.
func TestRequests(t *testing.T) {
	type request struct{ body, coding, length string }
	seen := make(chan request, 1)
	p := start(t, harness.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // it was cut short
		}
		seen <- request{string(body), r.Header.Get("Content-Encoding"), r.Header.Get("Content-Length")}
	}), map[string]string{"shop": "- use: decompress\n  config: {maxBytes: 2000000}"})
	pack := func(text string) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = io.WriteString(w, text)
		_ = w.Close()
		return b.Bytes()
	}
	for version, c := range clients(t) {
		for _, size := range []int{1, 1000, 100_000, 2_000_000} {
			for _, body := range []io.Reader{bytes.NewReader(pack(page(size))), io.MultiReader(bytes.NewReader(pack(page(size))))} {
				r, _ := do(t, c, "POST", p.URL+"/shop", body, "Content-Encoding", "gzip")
				if r.StatusCode != 200 {
					t.Errorf("%s, %d: %d", version, size, r.StatusCode)
					continue
				}
				if got := <-seen; got.body != page(size) || got.coding != "" || got.length != "" && got.length != strconv.Itoa(size) {
					t.Errorf("%s, %d: %d bytes, Content-Encoding %q, Content-Length %q", version, size, len(got.body), got.coding, got.length)
				}
			}
		}
		good := pack(page(500_000))
		bad := bytes.Clone(good)
		bad[len(bad)-6] ^= 1
		for name, test := range map[string]struct {
			body   []byte
			status int
		}{
			"too long":     {pack(page(2_000_001)), 413},
			"a bomb":       {pack(strings.Repeat("a", 100_000_000)), 413},
			"cut":          {good[:len(good)-1], 400},
			"bad checksum": {bad, 400},
			"garbage":      {append(bytes.Clone(good), 'x'), 400},
			"short":        {[]byte("short"), 400},
			"empty":        {[]byte{0}, 400},
		} {
			if r, _ := do(t, c, "POST", p.URL+"/shop", bytes.NewReader(test.body), "Content-Encoding", "gzip"); r.StatusCode != test.status {
				t.Errorf("%s, %s: %d; want %d", version, name, r.StatusCode, test.status)
			}
			select {
			case got := <-seen:
				t.Errorf("%s, %s: the Service got %d bytes", version, name, len(got.body))
			default:
			}
		}
	}
}

// TestPlainForWaf: what a client compressed is no way past the waf, and what the Service
// compressed reaches what changes it as plain text.
func TestPlainForWaf(t *testing.T) {
	p := start(t, harness.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			g := gzip.NewWriter(w)
			defer g.Close()
			_, _ = io.WriteString(g, `{"a":1,"internal":2}`)
			return
		}
		_, _ = io.WriteString(w, `{"a":1,"internal":2}`)
	}), map[string]string{
		"guarded": "- use: decompress\n- use: waf",
		"changed": "- use: compress\n  config: {minLength: 1}\n- use: transform\n  config: {response: {body: {remove: [internal]}}}\n- use: decompress\n  config: {request: false, response: {decode: always}}",
	})
	var attack bytes.Buffer
	w := gzip.NewWriter(&attack)
	_, _ = io.WriteString(w, "q=<script>alert(1)</script>&r=' OR 1=1 --")
	_ = w.Close()
	c := clients(t)["HTTP/1.1"]
	ask := func(service string) int {
		r, _ := do(t, c, "POST", p.URL+"/"+service, bytes.NewReader(attack.Bytes()), "Content-Encoding", "gzip", "Content-Type", "application/x-www-form-urlencoded")
		return r.StatusCode
	}
	if got := ask("guarded"); got != 403 {
		t.Errorf("an attack that is compressed: %d", got)
	}
	r, body := get(t, c, p.URL+"/changed", "Accept-Encoding", "gzip")
	if text := plain.Text(t, r.Header.Get("Content-Encoding"), body); text != `{"a":1}` || r.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("changed: %q, Content-Encoding %q", text, r.Header.Get("Content-Encoding"))
	}
}
