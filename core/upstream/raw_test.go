package upstream

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
)

func TestRawDial(t *testing.T) {
	good := newOrigin(t, func(_ int, c *originConn) { c.head() })
	p := config.DefaultProxyParameters()
	p.ConnectTimeout = 5 * time.Second
	tests := map[string]struct {
		dialer Dialer
		addrs  []netip.AddrPort
		reason string
		tries  int
	}{
		"the first one":                    {NetDialer{}, []netip.AddrPort{good.addr}, "", 1},
		"refused by one, another is there": {NetDialer{}, []netip.AddrPort{closedPort(t), good.addr}, "", 2},
		"refused by all":                   {NetDialer{}, []netip.AddrPort{closedPort(t), closedPort(t), closedPort(t), closedPort(t)}, "connect-refused", 3},
		"no endpoint":                      {NetDialer{}, nil, "no-endpoint", 0},
		"not allowed":                      {NetDialer{Allowed: func(netip.AddrPort) bool { return false }}, []netip.AddrPort{good.addr}, "connect-not-allowed", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := New(zap.NewNop(), telemetry.New(), tt.dialer)
			defer s.Close()
			s.Apply(map[string]*config.Upstream{"u": {Name: "u", Protocol: "http", Parameters: p}}, config.OverlayOf(map[string]*config.EndpointSet{"u": endpointSet(tt.addrs...)}))
			l, err := s.Group("u").Dial(context.Background())
			if (err == nil) != (tt.reason == "") || err != nil && err.Reason != tt.reason || l.Tries != tt.tries {
				t.Fatalf("got %v after %d tries", err, l.Tries)
			}
			if err == nil {
				if l.Endpoint != good.addr.String() || l.Stale() {
					t.Errorf("got endpoint %s, stale %v", l.Endpoint, l.Stale())
				}
				l.Close()
				l.Close()
			}
		})
	}
}

func TestRawConnectionsCount(t *testing.T) {
	o := newOrigin(t, func(_ int, c *originConn) { c.head() })
	p := config.DefaultProxyParameters()
	p.MaxConnections = 2
	s, g := newSet(t, p, o.addr)
	var links []*Link
	for range 2 {
		l, err := g.Dial(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		links = append(links, l)
	}
	if _, err := g.Dial(context.Background()); err == nil || err.Reason != "overflow" {
		t.Errorf("got %v; want overflow", err)
	}
	links[0].Close()
	l, err := g.Dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(map[string]*config.Upstream{"u": g.config}, config.Overlay[string, *config.EndpointSet]{})
	if !l.Stale() {
		t.Error("the endpoint left; want stale")
	}
	l.Close()
	links[1].Close()
	if n := l.endpoint.slots; n != 0 {
		t.Errorf("%d slots are still taken", n)
	}
}

func TestRawDialEndsWithItsContext(t *testing.T) {
	_, g := newSet(t, config.DefaultProxyParameters(), closedPort(t), closedPort(t))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if l, err := g.Dial(ctx); err == nil || l.Tries != 1 {
		t.Errorf("got %v after %d tries", err, l.Tries)
	}
}

// tcpOnly is a Dialer without datagrams.
type tcpOnly struct{ Dialer }

func TestDialPacket(t *testing.T) {
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	addr := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	for name, tt := range map[string]struct {
		dialer Dialer
		reason string
	}{
		"sent":          {NetDialer{}, ""},
		"not allowed":   {NetDialer{Allowed: func(netip.AddrPort) bool { return false }}, "connect-not-allowed"},
		"not supported": {tcpOnly{NetDialer{}}, "connect-not-allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(zap.NewNop(), telemetry.New(), tt.dialer)
			defer s.Close()
			s.Apply(map[string]*config.Upstream{"u": {Name: "u", Protocol: "udp", Parameters: config.DefaultProxyParameters()}}, config.OverlayOf(map[string]*config.EndpointSet{"u": endpointSet(addr)}))
			l, err := s.Group("u").DialPacket()
			if (err == nil) != (tt.reason == "") || err != nil && err.Reason != tt.reason {
				t.Fatalf("got %v", err)
			}
			if err != nil {
				return
			}
			defer l.Close()
			if _, err := l.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 2)
			_ = pc.SetReadDeadline(time.Now().Add(10 * time.Second))
			if n, _, err := pc.ReadFrom(b); n != 1 || err != nil {
				t.Errorf("got %d, %v", n, err)
			}
		})
	}
}
