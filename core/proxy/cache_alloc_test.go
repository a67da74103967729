//go:build !race

package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// sink is a client that reads bodies and drops them.
type sink struct {
	buf    []byte
	status int
	bytes  int
}

func (s *sink) Inform(*exchange.Exchange, int, *exchange.Header) error { return nil }

func (s *sink) Watch(func()) func() { return func() {} }

func (s *sink) Send(x *exchange.Exchange) error {
	s.status, s.bytes = x.Response.Status, 0
	body := x.Response.Body
	if body == nil {
		return nil
	}
	defer body.Close()
	for {
		n, err := body.Read(s.buf)
		s.bytes += n
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// hits returns a function that has the handler answer one request from the cache.
func hits(t testing.TB, size int) func() {
	b, _ := cached(t, &config.Cache{}, fresh(strings.Repeat("x", size)))
	b.get(t, "/a", "Host", "shop.example")
	ask, path := request(t, b, size, "hit"), []byte("/a")
	return func() { ask(path) }
}

// request returns a function that has the handler answer a request of a browser.
func request(t testing.TB, b *bed, size int, did string) func(path []byte) {
	to := &sink{buf: make([]byte, 64<<10)}
	socket := config.Socket{Address: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), b.port)}
	x := &exchange.Exchange{Client: to, Conn: &exchange.Conn{ID: 1, Socket: socket.Key(), RemoteIP: []byte("127.0.0.1"), LocalPort: []byte("80")}}
	fields := []exchange.Field{
		{Name: []byte("User-Agent"), Value: []byte("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36")},
		{Name: []byte("Accept"), Value: []byte("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")},
		{Name: []byte("Accept-Language"), Value: []byte("en-US,en;q=0.5")},
		{Name: []byte("Referer"), Value: []byte("https://example.org/a/b/c")},
	}
	method, scheme, authority := []byte("GET"), []byte("http"), []byte("shop.example")
	return func(path []byte) {
		x.Reset()
		q := &x.Request
		q.Method, q.Scheme, q.Authority, q.Path, q.Version = method, scheme, authority, path, exchange.HTTP11
		for _, f := range fields {
			q.Header.Add(f.Name, f.Value)
		}
		x.Start = time.Now()
		b.handler.Serve(x)
		if to.status != 200 || to.bytes != size || did != "" && x.Cache != did {
			t.Fatal(fmt.Sprint(to.status, to.bytes, x.Cache))
		}
	}
}

func TestCacheHitAllocatesNothing(t *testing.T) {
	for _, size := range []int{1 << 10, 64 << 10} {
		hit := hits(t, size)
		if n := testing.AllocsPerRun(1000, hit); n != 0 {
			t.Errorf("a hit of %d bytes: %v allocations; want 0", size, n)
		}
	}
}

func BenchmarkCacheHit(b *testing.B) {
	hit := hits(b, 1<<10)
	b.ReportAllocs()
	for b.Loop() {
		hit()
	}
}

// BenchmarkCacheMiss is a request for what is not stored: fetched and stored, and the
// same without a cache.
func BenchmarkCacheMiss(b *testing.B) {
	for name, with := range map[string]bool{"cache": true, "bare": false} {
		b.Run(name, func(b *testing.B) {
			miss := misses(b, with)
			b.ReportAllocs()
			for b.Loop() {
				miss()
			}
		})
	}
}

// misses returns a function that has the handler answer one request by the origin.
func misses(t testing.TB, with bool) func() {
	answer := "HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: application/octet-stream\r\nContent-Length: 1024\r\nCache-Control: public, max-age=3600\r\n" +
		"ETag: \"5f3b-1024\"\r\nLast-Modified: Tue, 01 Jul 2025 10:00:00 GMT\r\n\r\n" + strings.Repeat("x", 1024)
	origin := rawService(t, func(c *net.TCPConn) {
		buf := make([]byte, 8<<10)
		for {
			if _, err := c.Read(buf); err != nil { // one request at a time
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
	bed := newBed(t)
	r := rule("shop", "/", "shop")
	cfg := newConfig(bed.port, r)
	cfg.Upstreams["shop"] = &config.Upstream{Name: "shop", Protocol: "http", Parameters: config.DefaultProxyParameters()}
	cfg.Endpoints = cfg.Endpoints.With(map[string]*config.EndpointSet{"shop": {Endpoints: []config.Endpoint{{Address: origin, Ready: true, Serving: true}}}})
	if with {
		r.Backends[0].CacheScope = "ns/uid:80"
		r.Backends[0].Chain = &config.Chain{Parts: []*config.Part{cachePart(&config.Cache{})}}
	}
	if err := bed.store.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	n := 0
	ask := request(t, bed, 1024, "")
	return func() {
		n++
		ask(fmt.Appendf(nil, "/a?%d", n))
	}
}
