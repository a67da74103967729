package upstream

import (
	"io"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
)

func httpChunked(r io.Reader) io.Reader { return httputil.NewChunkedReader(r) }

// bytesChunks yields b in parts of n bytes.
func bytesChunks(b []byte, n int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			k := min(n, len(b))
			if !yield(b[:k]) {
				return
			}
			b = b[k:]
		}
	}
}

// named answers every request with its name.
func named(name string) func(int, *originConn) {
	return func(_ int, c *originConn) {
		for c.head() != "" {
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + name)
		}
	}
}

func TestEndpointsAreUsedInTurn(t *testing.T) {
	a, b, c := newOrigin(t, named("a")), newOrigin(t, named("b")), newOrigin(t, named("c"))
	s, g := newSet(t, params(), a.addr, b.addr)
	e := newEdge(t, params(), &forward{group: func() *Group { return g }})
	ask := func(n int) string {
		var got strings.Builder
		for range n {
			raw, err := e.get(t, getClose)
			if err != nil {
				t.Fatal(err)
			}
			got.WriteString(raw[len(raw)-1:])
		}
		return got.String()
	}
	if got := ask(4); got != "abab" {
		t.Errorf("got %s; want abab", got)
	}
	apply := func(endpoints ...config.Endpoint) {
		s.Apply(map[string]*config.Upstream{"u": g.config}, config.OverlayOf(map[string]*config.EndpointSet{"u": {Endpoints: endpoints}}))
	}
	ready := config.Endpoint{Ready: true, Serving: true}
	leaving := config.Endpoint{Serving: true, Terminating: true}
	at := func(ep config.Endpoint, o *origin) config.Endpoint { ep.Address = o.addr; return ep }
	apply(at(leaving, a), at(ready, b), at(config.Endpoint{}, c))
	if got := ask(3); got != "bbb" {
		t.Errorf("got %s; want bbb: only b is ready", got)
	}
	apply(at(leaving, a), at(config.Endpoint{}, c))
	if got := ask(3); got != "aaa" {
		t.Errorf("got %s; want aaa: a still serves, nothing is ready", got)
	}
	if a.accepted() != 1 || b.accepted() != 1 {
		t.Errorf("%d and %d connections; want 1 each: a pool outlives a change of its set", a.accepted(), b.accepted())
	}
	if s.Group("u") != g {
		t.Error("the group was made anew for an equal config")
	}
}

func TestConnectionsToARemovedEndpointAreClosed(t *testing.T) {
	closed := make(chan struct{})
	a := newOrigin(t, func(n int, c *originConn) {
		named("a")(n, c)
		close(closed)
	})
	s, g := newSet(t, params(), a.addr)
	e := newEdge(t, params(), &forward{group: func() *Group { return g }})
	if _, err := e.get(t, getClose); err != nil {
		t.Fatal(err)
	}
	s.Apply(nil, config.Overlay[string, *config.EndpointSet]{})
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
		t.Error("an idle connection stayed open")
	}
	if s.Group("u") != nil {
		t.Error("the group is still there")
	}
	if got, _ := e.get(t, getClose); !strings.Contains(got, "no-endpoint") {
		t.Errorf("got %q; want no-endpoint", got)
	}
}

func TestIdleConnectionsExpire(t *testing.T) {
	closed := make(chan struct{})
	a := newOrigin(t, func(n int, c *originConn) {
		named("a")(n, c)
		close(closed)
	})
	p := params()
	p.IdleTimeout = 100 * time.Millisecond
	e := proxyTo(t, p, a.addr)
	if _, err := e.get(t, getClose); err != nil {
		t.Fatal(err)
	}
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
		t.Error("an idle connection stayed open")
	}
}

func TestConnectionLimits(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{}, 10)
	o := newOrigin(t, func(_ int, c *originConn) {
		for c.head() != "" {
			entered <- struct{}{}
			<-release
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
		}
	})
	p := params()
	p.MaxConnections, p.MaxPending = 2, 1
	_, g := newSet(t, p, o.addr)
	e := newEdge(t, p, &forward{group: func() *Group { return g }})
	var wg sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]int{}
	ask := func() {
		wg.Go(func() {
			got, _ := e.get(t, getClose)
			mu.Lock()
			answers[got[9:12]]++
			mu.Unlock()
		})
	}
	ask()
	ask()
	<-entered
	<-entered
	ask() // waits
	for g.pending.Load() != 1 {
		time.Sleep(time.Millisecond)
	}
	if got, _ := e.get(t, getClose); !strings.HasPrefix(got, "HTTP/1.1 503") || !strings.HasSuffix(got, "overflow") {
		t.Errorf("got %q; want 503 overflow", got)
	}
	close(release)
	wg.Wait()
	if answers["200"] != 3 || o.accepted() != 2 {
		t.Errorf("answers %v on %d connections; want 3 times 200 on 2", answers, o.accepted())
	}
}

func TestWaitingForAConnectionTimesOut(t *testing.T) {
	o := newOrigin(t, func(_ int, c *originConn) { io.Copy(io.Discard, c.r) })
	p := params()
	p.MaxConnections, p.ConnectTimeout = 1, 50*time.Millisecond
	_, g := newSet(t, p, o.addr)
	e := newEdge(t, p, &forward{group: func() *Group { return g }})
	first := e.dial(t)
	first.say(get)
	for o.accepted() == 0 {
		time.Sleep(time.Millisecond)
	}
	if got, _ := e.get(t, getClose); !strings.HasSuffix(got, "overflow") {
		t.Errorf("got %q; want overflow", got)
	}
}

func TestMetrics(t *testing.T) {
	a := newOrigin(t, named("a"))
	m := telemetry.New()
	s := New(zap.NewNop(), m, NetDialer{})
	defer s.Close()
	u := &config.Upstream{Name: "ns/a:80", Parameters: params()}
	v := &config.Upstream{Name: "ns/b:80", Parameters: params()}
	s.Apply(map[string]*config.Upstream{"a": u, "b": v}, config.OverlayOf(map[string]*config.EndpointSet{"a": endpointSet(a.addr), "b": endpointSet(closedPort(t))}))
	for _, name := range []string{"a", "b"} {
		newEdge(t, params(), &forward{group: func() *Group { return s.Group(name) }}).get(t, getClose)
	}
	served := func() string {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return w.Body.String()
	}
	for _, want := range []string{
		`penstock_upstream_requests_total{code_class="2xx",upstream="ns/a:80"} 1`,
		`penstock_upstream_requests_total{code_class="error",upstream="ns/b:80"} 1`,
		`penstock_upstream_connect_failures_total{upstream="ns/b:80"} 1`,
	} {
		if !strings.Contains(served(), want) {
			t.Errorf("%s is missing", want)
		}
	}
	s.Apply(nil, config.Overlay[string, *config.EndpointSet]{})
	if strings.Contains(served(), "ns/a:80") {
		t.Error("a removed upstream's metrics stayed")
	}
}
