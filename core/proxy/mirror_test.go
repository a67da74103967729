package proxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
)

// heard is what a mirror's Service got.
type heard struct{ path, set, for_, body, host string }

func mirrorBed(t *testing.T, m *config.Mirror, mirror http.HandlerFunc) *bed {
	b := newBed(t)
	r := rule("r", "/", "up")
	r.Steps = []config.Step{
		{Request: &config.HeaderModifier{Set: []config.HeaderValue{{Name: "X-Set", Value: "before"}}}},
		{Mirror: m},
		{Request: &config.HeaderModifier{Set: []config.HeaderValue{{Name: "X-Set", Value: "after"}}}},
		{Rewrite: &config.Rewrite{Hostname: "in.example", Path: &config.PathModifier{IsFull: true, Full: "/rewritten"}}},
	}
	c := newConfig(b.port, r)
	service(t, c, "up", echo)
	service(t, c, "copy", mirror)
	if err := b.store.Apply(c); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMirror(t *testing.T) {
	got := make(chan heard, 100)
	b := mirrorBed(t, &config.Mirror{Upstream: "copy", Service: "ns/copy", Numerator: 1, Denominator: 1}, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- heard{r.URL.RequestURI(), r.Header.Get("X-Set"), r.Header.Get("X-Forwarded-For"), string(body), r.Host}
		w.WriteHeader(500)
	})
	long := strings.Repeat("x", 200<<10)
	for name, body := range map[string]string{"none": "", "short": "hello", "long": long} {
		t.Run(name, func(t *testing.T) {
			r, answer := b.do(t, "POST", "/a?b=c", body, http.Header{"Host": {"a.example"}})
			if r.StatusCode != 200 || answer != body || r.Header.Get("Got-X-Set") != "after" || r.Header.Get("Got-Path") != "/rewritten?b=c" {
				t.Errorf("got %d, %v, %d bytes", r.StatusCode, r.Header, len(answer))
			}
			want := heard{"/a?b=c", "before", "127.0.0.1", body, "a.example"}
			select {
			case h := <-got:
				if h != want {
					t.Errorf("the copy is %.200v; want %.200v", h, want)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("no copy came")
			}
		})
	}
}

// TestASilentMirror: one that never answers delays nobody, and a copy that cannot keep
// up is cut.
func TestASilentMirror(t *testing.T) {
	free := make(chan struct{})
	b := mirrorBed(t, &config.Mirror{Upstream: "copy", Service: "ns/copy", Numerator: 1, Denominator: 1}, func(_ http.ResponseWriter, r *http.Request) { <-free })
	t.Cleanup(func() { close(free) })
	huge := strings.Repeat("x", 32<<20)
	began := time.Now()
	if r, answer := b.do(t, "POST", "/", huge, nil); r.StatusCode != 200 || len(answer) != len(huge) {
		t.Errorf("got %d, %d bytes", r.StatusCode, len(answer))
	}
	for range 400 { // more than there may be copies
		if r, _ := b.do(t, "GET", "/", "", nil); r.StatusCode != 200 {
			t.Fatalf("got %d", r.StatusCode)
		}
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, want := range []string{`result="cut",route="r",service="ns/copy"} 1`, `result="dropped",route="r",service="ns/copy"} 1`} {
		wantMetric(t, b, want)
	}
}

func TestMirrorOfAShare(t *testing.T) {
	got := make(chan heard, 1000)
	b := mirrorBed(t, &config.Mirror{Upstream: "copy", Service: "ns/copy", Numerator: 1, Denominator: 4}, func(http.ResponseWriter, *http.Request) { got <- heard{} })
	for range 400 {
		b.do(t, "GET", "/", "", nil)
	}
	deadline := time.Now().Add(5 * time.Second)
	for len(got) < 60 && time.Now().Before(deadline) {
		b.do(t, "GET", "/nothing", "", nil)
	}
	if n := len(got); n < 60 || n > 200 {
		t.Errorf("%d of 400 requests were copied; want about 100", n)
	}
}

// wantMetric waits for a line of the metrics that begins so.
func wantMetric(t *testing.T, b *bed, part string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		w := httptest.NewRecorder()
		b.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if strings.Contains(w.Body.String(), part) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the metrics do not say %s:\n%s", part, w.Body)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
