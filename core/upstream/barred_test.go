package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// barredSet is a Set that logs what it refuses, with the Service ns/auth:80 at addr.
func barredSet(t *testing.T, d Dialer, addr netip.AddrPort) (*Set, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	s := New(zap.New(core), telemetry.New(), d)
	t.Cleanup(s.Close)
	s.Apply(map[string]*config.Upstream{"ns/auth:80": {Name: "ns/auth:80", Protocol: "http", Parameters: params()}},
		config.OverlayOf(map[string]*config.EndpointSet{"ns/auth:80": endpointSet(addr)}))
	return s, logs
}

// anyRequest is a request that no client sent.
func anyRequest() *exchange.Exchange {
	x := &exchange.Exchange{Conn: &exchange.Conn{}, Client: ContextClient{Context: context.Background()}, Start: time.Now()}
	q := &x.Request
	q.Method, q.Authority, q.Path, q.Scheme, q.Version = []byte("GET"), []byte("a"), []byte("/"), []byte("http"), exchange.HTTP11
	return x
}

// TestForbiddenAddresses: with a cluster no connection leads to loopback, to link-local
// addresses or to those that the config forbids, however their bytes are written; with a
// folder of files all do.
func TestForbiddenAddresses(t *testing.T) {
	f := &config.Forbidden{Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("fd00::1")}}
	tests := map[string]bool{
		"10.96.0.1:443": false, "[::ffff:10.96.0.1]:443": false, "[fd00::1]:6443": false, "[fd00::1%eth0]:6443": false,
		"127.0.0.1:80": false, "127.9.9.9:80": false, "[::1]:80": false, "[::ffff:127.0.0.1]:80": false, "0.0.0.0:80": false, "[::]:80": false,
		"169.254.169.254:80": false, "[fe80::1]:80": false, "224.0.0.1:80": false,
		"10.96.0.2:443": true, "192.0.2.1:80": true, "[fd00::2]:80": true,
	}
	for text, ok := range tests {
		t.Run(text, func(t *testing.T) {
			at := netip.MustParseAddrPort(text)
			dialled := 0
			d := dialFunc(func(context.Context, config.Endpoint, time.Duration) (net.Conn, error) {
				dialled++
				return nil, errors.New("nobody is there")
			})
			s, logs := barredSet(t, d, at)
			s.Forbid(f)
			err := s.Group("ns/auth:80").Send(anyRequest(), time.Second)
			if err == nil || errors.Is(err, ErrNotAllowed) == ok || (dialled > 0) != ok {
				t.Errorf("got %v, dialled %d times; want allowed %v", err, dialled, ok)
			}
			if !ok && (err.Reason != "connect-not-allowed" || logs.Len() != 1 || s.refused.With("ns/auth:80").Value() == 0) {
				t.Errorf("got reason %s, %d lines, %v refusals", err.Reason, logs.Len(), s.refused.With("ns/auth:80").Value())
			}
			if _, err := s.Outward("redis").Dial(t.Context(), config.Endpoint{Address: at}, time.Second); errors.Is(err, ErrNotAllowed) == ok {
				t.Errorf("outward: got %v; want allowed %v", err, ok)
			}
			s.Forbid(nil)
			dialled = 0
			if err := s.Group("ns/auth:80").Send(anyRequest(), time.Second); err == nil || errors.Is(err, ErrNotAllowed) || dialled == 0 {
				t.Errorf("with files: got %v, dialled %d times; want it tried", err, dialled)
			}
		})
	}
}

// TestForbiddenDatagrams: sockets of datagrams are no way around.
func TestForbiddenDatagrams(t *testing.T) {
	s, _ := barredSet(t, NetDialer{}, netip.MustParseAddrPort("127.0.0.1:9"))
	l, err := s.Group("ns/auth:80").DialPacket()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	s.Forbid(&config.Forbidden{})
	if _, err := s.Group("ns/auth:80").DialPacket(); err == nil || err.Reason != "connect-not-allowed" {
		t.Errorf("got %v; want it refused", err)
	}
	if _, err := s.Group("ns/auth:80").Dial(t.Context()); err == nil || err.Reason != "connect-not-allowed" {
		t.Errorf("raw: got %v; want it refused", err)
	}
}

// TestForbiddenNames: what a name of the egress stands for is looked at when it was
// looked up, and again when it is dialled.
func TestForbiddenNames(t *testing.T) {
	listed := []config.Egress{{Hostname: "*.example.com"}, {Hostname: "10.96.0.1"}, {Hostname: "kubernetes.default.svc"}}
	tests := map[string]struct{ upstream, resolves, counted string }{
		"a name for the API server": {"api.example.com:443", "10.96.0.1", "egress/api.example.com:443/tls"},
		"a mapped address of it":    {"api.example.com:443", "::ffff:10.96.0.1", "egress/api.example.com:443/tls"},
		"an address of ours":        {"api.example.com:443", "fd00::1", "egress/api.example.com:443/tls"},
		"the address itself":        {"10.96.0.1:443", "10.96.0.1", "egress/10.96.0.1:443/tls"},
		"its own name":              {"outbound|443||kubernetes.default.svc", "10.96.0.1", "egress/kubernetes.default.svc:443/tls"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := newTestCaller(t, netip.MustParseAddrPort("127.0.0.1:1"), test.resolves)
			c.set.Forbid(&config.Forbidden{Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("fd00::1")}})
			k := callOf(test.upstream)
			k.Egress = listed
			got, _, err := c.begin(k)
			if err != nil {
				t.Fatal(err)
			}
			if r := <-got; !errors.Is(r.err, ErrNotAllowed) {
				t.Errorf("got %v; want it refused once it is looked up", r.err)
			}
			if c.set.refused.With(test.counted).Value() == 0 {
				t.Error("it is not counted")
			}
			type result struct {
				a   netip.Addr
				err error
			}
			told := make(chan result, 1)
			if _, err := c.Resolve(listed, "api.example.com", func(a netip.Addr, err error) { told <- result{a, err} }); err != nil {
				t.Fatal(err)
			}
			if r := <-told; r.err == nil {
				t.Errorf("resolve: got %v; want no address", r.a)
			}
		})
	}
}

// TestAddressesThatBecomeForbidden: a plugin's name was looked up, and a connection to it
// is open, when its address becomes that of one of our Pods.
func TestAddressesThatBecomeForbidden(t *testing.T) {
	o := newOrigin(t, func(_ int, c *originConn) {
		for c.head() != "" {
			c.r.Discard(5)
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	p := config.DefaultProxyParameters()
	d := dialFunc(func(ctx context.Context, ep config.Endpoint, limit time.Duration) (net.Conn, error) {
		ep.Address = o.addr // whatever the address is
		return NetDialer{}.Dial(ctx, ep, limit)
	})
	s := New(zap.NewNop(), telemetry.New(), d)
	t.Cleanup(s.Close)
	s.Apply(nil, config.Overlay[string, *config.EndpointSet]{})
	c := NewCaller(s, func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
	}, p)
	t.Cleanup(c.Close)
	call := func() error {
		k := callOf("api.example.com:80")
		k.Egress = []config.Egress{{Hostname: "api.example.com"}}
		got, _, err := c.begin(k)
		if err != nil {
			t.Fatal(err)
		}
		return (<-got).err
	}
	s.Forbid(&config.Forbidden{})
	if err := call(); err != nil {
		t.Fatal(err)
	}
	if err := call(); err != nil || o.accepted() != 1 {
		t.Fatalf("got %v, %d connections; want one that is used again", err, o.accepted())
	}
	s.Forbid(&config.Forbidden{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7")}})
	if err := call(); err == nil || o.accepted() != 1 {
		t.Errorf("got %v, %d connections; want no use of the open one", err, o.accepted())
	}
	s.Forbid(&config.Forbidden{})
	c.external.groups["egress/api.example.com:80"].resolved = time.Time{} // as after half a minute
	if err := call(); err != nil {
		t.Errorf("allowed again: got %v", err)
	}
}
