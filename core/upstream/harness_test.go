package upstream

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/codec/h1"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// origin is an upstream under the test's control: script gets each connection.
type origin struct {
	addr  netip.AddrPort
	ln    net.Listener
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns []net.Conn
}

func newOrigin(t testing.TB, script func(n int, c *originConn)) *origin {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{ln: ln, addr: ln.Addr().(*net.TCPAddr).AddrPort()}
	o.wg.Go(func() {
		for n := 0; ; n++ {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			o.mu.Lock()
			o.conns = append(o.conns, nc)
			o.mu.Unlock()
			o.wg.Go(func() {
				defer nc.Close()
				script(n, &originConn{Conn: nc, r: bufio.NewReader(nc)})
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		o.mu.Lock()
		for _, c := range o.conns {
			c.Close()
		}
		o.mu.Unlock()
		o.wg.Wait()
	})
	return o
}

// accepted returns how many connections were made.
func (o *origin) accepted() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.conns)
}

type originConn struct {
	net.Conn
	r *bufio.Reader
}

// head reads a head; it is empty at the connection's end.
func (c *originConn) head() string {
	var b strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return ""
		}
		b.WriteString(line)
		if line == "\r\n" {
			return b.String()
		}
	}
}

func (c *originConn) say(s string) { io.WriteString(c, s) }

// upstreamOf returns a config for tests, and a set of one group that it is in.
func newSet(t testing.TB, p *config.ProxyParameters, addrs ...netip.AddrPort) (*Set, *Group) {
	t.Helper()
	s := New(zap.NewNop(), telemetry.New(), NetDialer{})
	t.Cleanup(s.Close)
	s.Apply(map[string]*config.Upstream{"u": {Name: "u", Protocol: "http", Parameters: p}},
		config.OverlayOf(map[string]*config.EndpointSet{"u": endpointSet(addrs...)}))
	return s, s.Group("u")
}

func endpointSet(addrs ...netip.AddrPort) *config.EndpointSet {
	set := &config.EndpointSet{}
	for _, a := range addrs {
		set.Endpoints = append(set.Endpoints, config.Endpoint{Address: a, Ready: true, Serving: true})
	}
	return set
}

// forward is a handler that sends all to a group.
type forward struct {
	group   func() *Group
	timeout time.Duration
	silent  bool // remember nothing
	mu      sync.Mutex
	errs    []*exchange.Error
	tries   []int
	sendErr []error
}

func (f *forward) Serve(x *exchange.Exchange) {
	err := f.group().Send(x, f.timeout)
	if f.silent && err == nil {
		x.Client.Send(x)
		return
	}
	f.mu.Lock()
	f.errs = append(f.errs, err)
	f.tries = append(f.tries, x.Attempts)
	f.mu.Unlock()
	if err != nil {
		x.Response.Header.Reset()
		x.Response.Status = err.Status
		text := []byte(err.Reason)
		x.Response.Body, x.Response.ContentLength = exchange.NewBytes(text), int64(len(text))
		if err.Side == exchange.SideClient {
			return
		}
	}
	serr := x.Client.Send(x)
	f.mu.Lock()
	f.sendErr = append(f.sendErr, serr)
	f.mu.Unlock()
}

// last returns how the last exchange ended.
func (f *forward) last() (*exchange.Error, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.errs[len(f.errs)-1], f.tries[len(f.tries)-1]
}

// sent returns what Client.Send returned first, once it did.
func (f *forward) sent() error { return f.answered(1)[0] }

// answered waits until n exchanges are over, and returns what Client.Send returned.
func (f *forward) answered(n int) []error {
	for {
		f.mu.Lock()
		errs := f.sendErr
		f.mu.Unlock()
		if len(errs) >= n {
			return errs
		}
		runtime.Gosched()
	}
}

// edge is a proxy: it serves a loopback socket until the test ends.
type edge struct {
	addr string
	*forward
	drain func()
}

func newEdge(t testing.TB, p *config.ProxyParameters, f *forward) *edge {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := h1.NewServer(f, telemetry.New(), nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []*h1.Conn
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			c := s.NewConn(nc, &exchange.Conn{ID: 1}, p)
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(c.Serve)
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range conns {
			c.Abort()
		}
		mu.Unlock()
		wg.Wait()
	})
	return &edge{ln.Addr().String(), f, func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Drain()
		}
	}}
}

func (e *edge) dial(t testing.TB) *originConn {
	t.Helper()
	nc, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	return &originConn{Conn: nc, r: bufio.NewReader(nc)}
}

// get sends raw and returns all that comes until the end.
func (e *edge) get(t *testing.T, raw string) (string, error) {
	t.Helper()
	c := e.dial(t)
	c.say(raw)
	b, err := io.ReadAll(c.r)
	return string(b), err
}

func params() *config.ProxyParameters {
	p := config.DefaultProxyParameters()
	p.HeaderTimeout, p.IdleTimeout, p.ResponseTimeout, p.ConnectTimeout = 2*time.Second, 2*time.Second, 2*time.Second, 2*time.Second
	return p
}

// proxyTo returns a proxy before one origin.
func proxyTo(t *testing.T, p *config.ProxyParameters, addrs ...netip.AddrPort) *edge {
	t.Helper()
	_, g := newSet(t, p, addrs...)
	return newEdge(t, p, &forward{group: func() *Group { return g }})
}

// closedPort returns an address where nobody listens.
func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// dialFunc is a Dialer made of a function.
type dialFunc func(ctx context.Context, ep config.Endpoint, timeout time.Duration) (net.Conn, error)

func (f dialFunc) Dial(ctx context.Context, ep config.Endpoint, timeout time.Duration) (net.Conn, error) {
	return f(ctx, ep, timeout)
}
