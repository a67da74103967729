package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/codec/h1"
	"penstock.dev/penstock/core/codec/h2"
	"penstock.dev/penstock/core/codec/h3"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/listener"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/core/proxy"
	"penstock.dev/penstock/core/snapshot"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/core/upstream"
)

// records keeps what has ended.
type records struct {
	mu  sync.Mutex
	all []exchange.Raw
}

func (r *records) Raw(x *exchange.Raw, _ time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, *x)
}

// last waits for the nth record.
func (r *records) last(t testing.TB, n int) exchange.Raw {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		r.mu.Lock()
		if len(r.all) >= n {
			defer r.mu.Unlock()
			return r.all[n-1]
		}
		r.mu.Unlock()
	}
	t.Fatalf("no record %d", n)
	return exchange.Raw{}
}

// rawBed is a proxy of raw routes, on loopback.
type rawBed struct {
	*records
	store *snapshot.Store
	port  uint16
	c     *config.Config
	p     *config.ProxyParameters
	drain func() // at once
}

func newRawBed(t testing.TB, protocol string) *rawBed {
	t.Helper()
	m, log := telemetry.New(), zap.NewNop()
	groups := upstream.New(log, m, upstream.NetDialer{})
	plugins := plugin.New(plugin.Options{Images: noImages{}, Log: log, Metrics: m})
	var sockets struct{ snapshot.Sockets }
	b := &rawBed{records: &records{}, p: config.DefaultProxyParameters()}
	b.store = snapshot.New(netip.MustParseAddr("127.0.0.1"), &sockets, groups, plugins, nil, m)
	listeners := listener.New(log, m, h1.NewServer(nil, m, nil), h2.NewServer(nil, m, nil), h3.NewServer(nil, m, nil), listener.NetBinder{})
	raw := proxy.NewRaw(b.store, b)
	listeners.ServeRaw(raw, raw)
	sockets.Sockets = listeners
	b.drain = func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = listeners.Drain(ctx)
	}
	t.Cleanup(func() {
		b.drain()
		b.store.Close()
		plugins.Close()
		groups.Close()
	})
	b.port = ownPort(t)
	b.c = &config.Config{
		Gateways: []*config.Gateway{{Object: config.Object{Kind: "Gateway", Namespace: "ns", Name: "edge"}, Parameters: b.p,
			Listeners: []*config.Listener{{Name: "raw", Port: b.port, Protocol: protocol, RawRoutes: &config.RawTable{}}}}},
		Upstreams: map[string]*config.Upstream{},
	}
	return b
}

// route makes one to the addresses, and applies the config.
func (b *rawBed) route(t testing.TB, change func(*config.Backend), addrs ...netip.AddrPort) {
	t.Helper()
	protocol := "http"
	if b.c.Gateways[0].Listeners[0].Protocol == "UDP" {
		protocol = "udp"
	}
	b.c.Upstreams["u"] = &config.Upstream{Name: "u", Protocol: protocol, Parameters: b.p}
	set := &config.EndpointSet{}
	for _, a := range addrs {
		set.Endpoints = append(set.Endpoints, config.Endpoint{Address: a, Ready: true, Serving: true})
	}
	b.c.Endpoints = b.c.Endpoints.With(map[string]*config.EndpointSet{"u": set})
	backend := config.Backend{Weight: 1, Upstream: "u", Service: "ns/u"}
	if change != nil {
		change(&backend)
	}
	b.c.Gateways[0].Listeners[0].RawRoutes = &config.RawTable{Entries: []config.RawEntry{{Route: &config.RawRoute{Name: "r", Backends: []config.Backend{backend}}}}}
	if err := b.store.Apply(b.c); err != nil {
		t.Fatal(err)
	}
}

func (b *rawBed) dial(t testing.TB) *net.TCPConn {
	t.Helper()
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return nc.(*net.TCPConn)
}

// rawService serves each connection with f.
func rawService(t testing.TB, f func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				f(nc.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func closedPort(t testing.TB) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), ownPort(t))
}

func echoAll(nc *net.TCPConn) {
	_, _ = io.Copy(nc, nc)
	_ = nc.CloseWrite()
}

func TestRawRefusals(t *testing.T) {
	good := rawService(t, echoAll)
	chain := &config.Chain{Parts: []*config.Part{{Name: "service", Fault: &config.Fault{Reason: "InvalidAnnotation"}}}}
	tests := map[string]struct {
		change   func(*config.Backend)
		gateway  *config.Chain
		addr     netip.AddrPort
		reason   string
		attempts int
	}{
		"a broken chain":                {func(b *config.Backend) { b.Chain = chain }, nil, good, "chain-broken", 0},
		"the Gateway's chain":           {nil, chain, good, "chain-broken", 0},
		"an invalid reference":          {func(b *config.Backend) { b.Upstream = "" }, nil, good, "no-backend", 0},
		"no weight":                     {func(b *config.Backend) { b.Weight = 0 }, nil, good, "no-backend", 0},
		"an endpoint that is not there": {nil, nil, closedPort(t), "connect-refused", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newRawBed(t, "TCP")
			b.c.Gateways[0].Listeners[0].Chain = tt.gateway
			b.route(t, tt.change, tt.addr)
			nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
			if err == nil { // else the reset was faster
				defer nc.Close()
				_, err = nc.Read(make([]byte, 1))
			}
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %v; want a reset", err)
			}
			if r := b.last(t, 1); r.Err == nil || r.Err.Reason != tt.reason || r.Attempts != tt.attempts {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestRawIdle(t *testing.T) {
	b := newRawBed(t, "TCP")
	b.p.TCPIdleTimeout = time.Second
	b.route(t, nil, closedPort(t), rawService(t, echoAll))
	nc := b.dial(t)
	for range 5 { // longer than the idle time in all
		time.Sleep(250 * time.Millisecond)
		io.WriteString(nc, "x")
		if _, err := nc.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v; want a reset", err)
	}
	if r := b.last(t, 1); r.Err == nil || r.Err.Reason != "idle" || r.ReceivedBytes != 5 || r.SentBytes != 5 {
		t.Errorf("got %+v", r)
	}
}

// TestRawBulk: a transfer that changes its pace is moved whole, whichever way.
func TestRawBulk(t *testing.T) {
	b := newRawBed(t, "TCP")
	b.route(t, nil, rawService(t, echoAll))
	nc := b.dial(t)
	sizes := []int{1, 100, 16 << 10, 1 << 20, 1, 5 << 20, 3}
	go func() {
		for _, n := range sizes {
			_, _ = nc.Write(make([]byte, n))
			time.Sleep(20 * time.Millisecond)
		}
		_ = nc.CloseWrite()
	}()
	n, err := io.Copy(io.Discard, nc)
	want := int64(0)
	for _, s := range sizes {
		want += int64(s)
	}
	if n != want || err != nil {
		t.Errorf("got %d bytes, %v; want %d", n, err, want)
	}
	if r := b.last(t, 1); r.Err != nil || r.ReceivedBytes != want || r.SentBytes != want {
		t.Errorf("got %+v", r)
	}
}

// TestAfterBulkSmallMessagesPass: what moves in the kernel is not held there.
func TestAfterBulkSmallMessagesPass(t *testing.T) {
	b := newRawBed(t, "TCP")
	b.route(t, nil, rawService(t, echoAll))
	nc := b.dial(t)
	for _, n := range []int{1 << 20, 10, 10} {
		go func() { _, _ = nc.Write(make([]byte, n)) }()
		if _, err := io.ReadFull(nc, make([]byte, n)); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	time.Sleep(1200 * time.Millisecond) // the round in the kernel ends
	io.WriteString(nc, "x")
	if _, err := nc.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

// TestAHalfClosedConnectionEndsWithTheProxy: nobody reads from the client any more.
func TestAHalfClosedConnectionEndsWithTheProxy(t *testing.T) {
	b := newRawBed(t, "TCP")
	half, release := make(chan struct{}), make(chan struct{})
	b.route(t, nil, rawService(t, func(nc *net.TCPConn) {
		_, _ = io.Copy(io.Discard, nc)
		close(half)
		<-release // and says nothing
	}))
	defer close(release)
	nc := b.dial(t)
	io.WriteString(nc, "x")
	_ = nc.CloseWrite()
	<-half
	b.drain()
	if r := b.last(t, 1); r.Err == nil || r.Err.Reason != "drained" || r.ReceivedBytes != 1 {
		t.Errorf("got %+v", r)
	}
}

func TestFlowReplies(t *testing.T) {
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := pc.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			for range 2 { // more than was asked for
				_, _ = pc.WriteToUDPAddrPort(buf[:n], from)
			}
		}
	}()
	b := newRawBed(t, "UDP")
	b.p.UDPIdleTimeout = 200 * time.Millisecond
	b.route(t, nil, pc.LocalAddr().(*net.UDPAddr).AddrPort())
	nc, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", b.port))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 64<<10)
	ask := func(n int) {
		t.Helper()
		if _, err := nc.Write(buf[:n]); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, err := nc.Read(buf); got != n || err != nil {
				t.Fatalf("got %d bytes, %v", got, err)
			}
		}
	}
	ask(7)
	ask(0)
	if r := b.last(t, 1); r.Err != nil || r.ReceivedBytes != 7 || r.SentBytes != 14 || r.Protocol != "udp" || r.Service != "ns/u" {
		t.Errorf("got %+v", r)
	}
	ask(1)
	pc.Close() // the endpoint refuses: the flow ends, the next one too
	_, _ = nc.Write(buf[:1])
	if r := b.last(t, 2); r.Err == nil && r.ReceivedBytes != 1 {
		t.Errorf("got %+v", r)
	}
}
