package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/cache"
	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/codec/h1"
	"penstock.dev/penstock/core/codec/h2"
	"penstock.dev/penstock/core/codec/h3"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/listener"
	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/core/proxy"
	"penstock.dev/penstock/core/snapshot"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/core/upstream"
)

// bed is a whole proxy without plugins, on loopback.
type bed struct {
	handler *proxy.HTTP
	cache   *cache.Cache
	store   *snapshot.Store
	metrics *telemetry.Metrics
	port    uint16
	url     string
	client  *http.Client
}

type noImages struct{}

func (noImages) Get(context.Context, oci.Request) (*oci.Image, error) { return nil, oci.ErrUnavailable }

func newBed(t testing.TB) *bed {
	t.Helper()
	m, log := telemetry.New(), zap.Must(zap.NewDevelopment())
	groups := upstream.New(log, m, upstream.NetDialer{})
	plugins := plugin.New(plugin.Options{Images: noImages{}, Log: log, Metrics: m})
	kept, err := store.Open(store.Options{MemoryBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	responses := cache.New(kept, 32<<20, m)
	var sockets struct{ snapshot.Sockets }
	store := snapshot.New(netip.MustParseAddr("127.0.0.1"), &sockets, groups, plugins, responses, m)
	handler := proxy.New(store, nil)
	listeners := listener.New(log, m, h1.NewServer(handler, m, nil), h2.NewServer(handler, m, nil), h3.NewServer(handler, m, nil), listener.NetBinder{})
	sockets.Sockets = listeners
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = listeners.Drain(ctx)
		handler.Close()
		responses.Close()
		store.Close()
		_ = kept.Close()
		plugins.Close()
		groups.Close()
	})
	port := ownPort(t)
	b := &bed{handler: handler, cache: responses, store: store, metrics: m, port: port, url: fmt.Sprintf("http://127.0.0.1:%d", port)}
	b.client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(b.client.CloseIdleConnections)
	return b
}

// ownPort returns a port of loopback that nobody uses, from below those that the kernel
// gives to connections and to listeners on port 0: no other socket takes it before the test.
func ownPort(t testing.TB) uint16 {
	t.Helper()
	for range 100 {
		port := 28000 + rand.N[uint16](4000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

func (noImages) Recheck(context.Context, oci.Request, string) error { return nil }

func (noImages) Resolve(context.Context, oci.Request) (string, error) { return "", nil }

// service starts an upstream and adds it to c under its name.
func service(t testing.TB, c *config.Config, name string, h http.HandlerFunc) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	address := netip.MustParseAddrPort(s.Listener.Addr().String())
	c.Upstreams[name] = &config.Upstream{Name: name, Protocol: "http", Parameters: config.DefaultProxyParameters()}
	c.Endpoints = c.Endpoints.With(map[string]*config.EndpointSet{name: &config.EndpointSet{Endpoints: []config.Endpoint{{Address: address, Ready: true, Serving: true}}}})
}

func newConfig(port uint16, rules ...*config.Rule) *config.Config {
	route := &config.Route{Object: config.Object{Kind: "HTTPRoute", Namespace: "ns", Name: "r"}, Rules: rules}
	return &config.Config{
		Gateways: []*config.Gateway{{
			Object:     config.Object{Kind: "Gateway", Namespace: "ns", Name: "edge"},
			Parameters: config.DefaultProxyParameters(),
			Listeners: []*config.Listener{{
				Name: "http", Port: port, Protocol: "HTTP",
				Routes: &config.RouteTable{Entries: []*config.RouteEntry{{Route: route}}},
			}},
		}},
		Upstreams: map[string]*config.Upstream{},
	}
}

func rule(name, prefix, up string) *config.Rule {
	return &config.Rule{
		Name:     name,
		Matches:  []config.Match{{PathType: config.PathPrefix, Path: prefix}},
		Backends: []config.Backend{{Weight: 1, Upstream: up, Service: "ns/" + up}},
	}
}

// echo answers with what it got.
func echo(w http.ResponseWriter, r *http.Request) {
	for name, values := range r.Header {
		w.Header()["Got-"+name] = values
	}
	w.Header().Set("Got-Path", r.URL.RequestURI())
	w.Header().Set("Got-Host", r.Host)
	w.Header().Set("X-Up", "1")
	body, _ := io.ReadAll(r.Body)
	_, _ = w.Write(body)
}

func (b *bed) do(t testing.TB, method, target, body string, header http.Header) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, b.url+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		r.Header = header
		if h := header.Get("Host"); h != "" {
			r.Host = h
		}
	}
	response, err := b.client.Do(r)
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

func TestForward(t *testing.T) {
	b := newBed(t)
	fancy := rule("fancy", "/old", "echo")
	fancy.Steps = []config.Step{
		{Request: &config.HeaderModifier{Set: []config.HeaderValue{{Name: "X-Set", Value: "s"}}, Add: []config.HeaderValue{{Name: "X-Add", Value: "a"}}, Remove: []string{"X-Gone"}}},
		{Response: &config.HeaderModifier{Remove: []string{"X-Up"}, Set: []config.HeaderValue{{Name: "X-Down", Value: "d"}}}},
		{Rewrite: &config.Rewrite{Hostname: "inner.example", Path: &config.PathModifier{Prefix: "/new"}}},
	}
	redirect := &config.Rule{
		Name:     "redirect",
		Matches:  []config.Match{{PathType: config.PathPrefix, Path: "/moved"}},
		Redirect: &config.Redirect{Scheme: "https", Hostname: "b.example", Path: &config.PathModifier{Prefix: "/to"}, Status: 301},
	}
	invalid := rule("invalid", "/invalid", "")
	invalid.Backends[0].Status = 500
	broken := rule("broken", "/broken", "echo")
	broken.Backends[0].Chain = &config.Chain{Parts: []*config.Part{{
		Name: "service", Object: config.Object{Kind: "Service", Namespace: "ns", Name: "echo"}, Hash: "x",
		Fault: &config.Fault{Reason: "InvalidAnnotation", Message: "secret details"},
	}}}
	c := newConfig(b.port, rule("echo", "/", "echo"), fancy, redirect, invalid, broken)
	service(t, c, "echo", echo)
	if err := b.store.Apply(c); err != nil {
		t.Fatal(err)
	}

	t.Run("says where it came from", func(t *testing.T) {
		r, body := b.do(t, "POST", "/a?b=c", "hello", http.Header{"X-Forwarded-For": {"6.6.6.6"}, "X_Real_Ip": {"6.6.6.6"}, "X-Consumer-Username": {"root"}, "Host": {"a.example"}})
		if r.StatusCode != 200 || body != "hello" {
			t.Errorf("got %d, %q", r.StatusCode, body)
		}
		for name, want := range map[string]string{
			"Got-Path": "/a?b=c", "Got-Host": "a.example", "Got-X-Forwarded-For": "127.0.0.1", "Got-X-Forwarded-Host": "a.example",
			"Got-X-Forwarded-Proto": "http", "Got-X-Forwarded-Port": fmt.Sprint(b.port), "Got-Via": "1.1 penstock",
			"Got-Forwarded": `for=127.0.0.1;host="a.example";proto=http`, "Got-X_real_ip": "", "Got-X-Consumer-Username": "",
		} {
			if got := strings.Join(r.Header.Values(name), ","); got != want {
				t.Errorf("%s: got %q; want %q", name, got, want)
			}
		}
	})
	t.Run("modifies and rewrites", func(t *testing.T) {
		r, _ := b.do(t, "GET", "/old/x?q=1", "", http.Header{"X-Gone": {"1"}, "X-Set": {"mine"}, "X-Add": {"z"}})
		for name, want := range map[string]string{
			"Got-Path": "/new/x?q=1", "Got-Host": "inner.example", "Got-X-Set": "s", "Got-X-Add": "z,a", "Got-X-Gone": "", "X-Up": "", "X-Down": "d",
		} {
			if got := strings.Join(r.Header.Values(name), ","); got != want {
				t.Errorf("%s: got %q; want %q", name, got, want)
			}
		}
	})
	t.Run("redirects", func(t *testing.T) {
		r, _ := b.do(t, "GET", "/moved/x?q=1", "", nil)
		if got := r.Header.Get("Location"); r.StatusCode != 301 || got != "https://b.example/to/x?q=1" {
			t.Errorf("got %d, %s", r.StatusCode, got)
		}
	})
	t.Run("answers for what is broken", func(t *testing.T) {
		if r, _ := b.do(t, "GET", "/invalid", "", nil); r.StatusCode != 500 {
			t.Errorf("got %d; want 500", r.StatusCode)
		}
		r, body := b.do(t, "GET", "/broken", "", nil)
		if r.StatusCode != 503 || body != "503 Service ns/echo: InvalidAnnotation\n" {
			t.Errorf("got %d, %q; want 503 with object and reason only", r.StatusCode, body)
		}
	})
	t.Run("matches the normalised path", func(t *testing.T) {
		for target, want := range map[string]string{"//old//x": "/new/x", "/a/../old/x": "/new/x", "/%6fld/x": "/new/x", "/a%2Fb": "/a%2Fb", "/x/./y": "/x/y"} {
			r, _ := b.do(t, "GET", target, "", nil)
			if got := r.Header.Get("Got-Path"); got != want {
				t.Errorf("%s: the upstream got %s; want %s", target, got, want)
			}
		}
		if r, _ := b.do(t, "GET", "/%2e%2e/x", "", nil); r.StatusCode != 400 {
			t.Errorf("got %d; want 400 above the root", r.StatusCode)
		}
	})
}

func TestChangesNeverStopTraffic(t *testing.T) {
	b := newBed(t)
	c := newConfig(b.port, rule("echo", "/", "echo"))
	service(t, c, "echo", echo)
	if err := b.store.Apply(c); err != nil {
		t.Fatal(err)
	}
	stop, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(failed)
		for {
			select {
			case <-stop:
				return
			default:
			}
			r, err := b.client.Get(b.url + "/x")
			if err != nil {
				failed <- err
				return
			}
			_, err = io.Copy(io.Discard, r.Body)
			r.Body.Close()
			if err != nil || r.StatusCode != 200 {
				failed <- fmt.Errorf("%d, %w", r.StatusCode, errors.Join(err))
				return
			}
		}
	}()
	for i := range 200 {
		next := newConfig(b.port, rule("echo", "/", "echo"), rule(fmt.Sprint("r", i), fmt.Sprint("/r", i), "echo"))
		next.Upstreams, next.Endpoints = c.Upstreams, c.Endpoints
		if err := b.store.Apply(next); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if err := <-failed; err != nil {
		t.Error(err)
	}
}

func TestWeights(t *testing.T) {
	b := newBed(t)
	r := rule("split", "/", "one")
	r.Backends = append(r.Backends, config.Backend{Weight: 3, Upstream: "two"}, config.Backend{Weight: 0, Upstream: "zero"})
	c := newConfig(b.port, r)
	for _, name := range []string{"one", "two", "zero"} {
		service(t, c, name, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, name) })
	}
	if err := b.store.Apply(c); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for range 400 {
		_, body := b.do(t, "GET", "/", "", nil)
		count[body]++
	}
	if count["zero"] != 0 || count["one"] < 50 || count["one"] > 150 {
		t.Errorf("got %v; want about 100 to 300 and none", count)
	}
}

// TestMaxForwards: RFC 9110, 7.6.2.
func TestMaxForwards(t *testing.T) {
	b := newBed(t)
	c := newConfig(b.port, rule("r", "/", "a"))
	service(t, c, "a", echo)
	if err := b.store.Apply(c); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		method, value string
		status        int
		got           string
	}{
		{"OPTIONS", "2", 200, "1"}, {"OPTIONS", "0", 200, ""}, {"OPTIONS", "", 200, ""}, {"OPTIONS", "x", 400, ""}, {"OPTIONS", "-1", 400, ""},
		{"TRACE", "1", 200, "0"}, {"TRACE", "0", 405, ""}, {"GET", "0", 200, "0"}, {"GET", "x", 200, "x"},
	} {
		header := http.Header{}
		if test.value != "" {
			header.Set("Max-Forwards", test.value)
		}
		r, _ := b.do(t, test.method, "/", "", header)
		if r.StatusCode != test.status || r.Header.Get("Got-Max-Forwards") != test.got {
			t.Errorf("%s with %q: got %d, upstream %q; want %d, %q", test.method, test.value, r.StatusCode, r.Header.Get("Got-Max-Forwards"), test.status, test.got)
		}
		if forwarded := r.Header.Get("X-Up") != ""; forwarded != (test.value != "0" && test.status == 200 || test.method == "GET") {
			t.Errorf("%s with %q: forwarded: %v", test.method, test.value, forwarded)
		}
	}
}

func TestTimeouts(t *testing.T) {
	b := newBed(t)
	total, try := rule("total", "/total", "stuck"), rule("try", "/try", "stuck")
	total.Timeout, total.BackendTimeout, try.BackendTimeout = 100*time.Millisecond, time.Minute, 100*time.Millisecond
	c := newConfig(b.port, total, try)
	service(t, c, "stuck", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if err := b.store.Apply(c); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/total", "/try"} {
		if r, _ := b.do(t, "GET", path, "", nil); r.StatusCode != 504 {
			t.Errorf("%s: got %d; want 504", path, r.StatusCode)
		}
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	b := newBed(t)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := b.store.Apply(newConfig(b.port)); err == nil || !strings.Contains(err.Error(), fmt.Sprint(b.port)) {
		t.Errorf("got %v; want an error that names the port", err)
	}
}

func BenchmarkForward(b *testing.B) {
	bed := newBed(b)
	c := newConfig(bed.port, rule("echo", "/", "echo"))
	body := strings.Repeat("x", 1024)
	service(b, c, "echo", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) })
	if err := bed.store.Apply(c); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		bed.do(b, "GET", "/1k", "", nil)
	}
}
