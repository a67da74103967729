package listener

import (
	"context"
	"errors"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// echoFlow replies with what comes; a datagram "end" ends it, "over" says that it
// has ended, "full" is not taken, "panic" panics.
type echoFlow struct {
	reply func([]byte) error
	end   chan struct{}
}

func (f *echoFlow) Send(b []byte) (sent, over bool) {
	switch string(b) {
	case "end":
		f.Close()
		return true, false
	case "over":
		return false, true
	case "full":
		return false, false
	case "panic":
		panic("a flow's")
	}
	return f.reply(b) == nil, false
}

func (f *echoFlow) Serve() { <-f.end }
func (f *echoFlow) Drain() {}
func (f *echoFlow) Close() {
	select {
	case f.end <- struct{}{}:
	default:
	}
}

var udpSocket = config.Socket{Address: anyPort, UDP: true}.Key()

// newFlows returns Listeners with a socket for datagrams, and its address.
func newFlows(t *testing.T, change func(*config.ProxyParameters)) (*Listeners, echoing, *telemetry.Metrics, *net.UDPAddr) {
	t.Helper()
	l, m := newListeners(t, nil)
	e := echoing{make(chan *exchange.Conn, 1000)}
	l.ServeRaw(e, e)
	p := config.DefaultProxyParameters()
	if change != nil {
		change(p)
	}
	if err := l.Reconcile([]config.Socket{{Address: anyPort, Parameters: p, UDP: true}}); err != nil {
		t.Fatal(err)
	}
	return l, e, m, l.flows[udpSocket].pc.LocalAddr().(*net.UDPAddr)
}

func dialPacket(t *testing.T, addr *net.UDPAddr) *net.UDPConn {
	t.Helper()
	nc, err := net.DialUDP("udp", nil, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	return nc
}

// counted waits for a line of the metrics.
func counted(t *testing.T, m *telemetry.Metrics, line string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		if strings.Contains(w.Body.String(), line+"\n") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never came: %s", line)
		}
	}
}

func dropped(reason, n string) string {
	return `penstock_listener_datagrams_dropped_total{reason="` + reason + `",socket="` + udpSocket + `"} ` + n
}

func TestFlows(t *testing.T) {
	_, e, m, addr := newFlows(t, nil)
	one, two := dialPacket(t, addr), dialPacket(t, addr)
	bounce(t, one, "a")
	bounce(t, two, "b")
	bounce(t, one, "c")
	first, second := <-e.seen, <-e.seen
	if first.Remote.String() != one.LocalAddr().String() || first.Local.String() != addr.String() || first.Socket != udpSocket || second.Remote.String() != two.LocalAddr().String() || len(e.seen) > 0 {
		t.Errorf("got %+v and %+v, and %d more", first, second, len(e.seen))
	}
	counted(t, m, `penstock_listener_flows{socket="`+udpSocket+`"} 2`)
	one.Write([]byte("full"))
	counted(t, m, dropped("send", "1"))
	one.Write([]byte("over")) // and so is the next one that is opened for it
	counted(t, m, dropped("refused", "1"))
	one.Write([]byte("panic"))
	counted(t, m, "penstock_listener_panics_total 1")
	bounce(t, one, "d")
	one.Write([]byte("end"))
	two.Write([]byte("end"))
	counted(t, m, `penstock_listener_flows{socket="`+udpSocket+`"} 0`)
	bounce(t, one, "e")
}

func TestFlowsAreBounded(t *testing.T) {
	tests := map[string]struct {
		change func(*config.ProxyParameters)
		reason string
	}{
		"of the socket": {func(p *config.ProxyParameters) { p.MaxFlows = 2 }, "flows"},
		"of a client":   {func(p *config.ProxyParameters) { p.MaxFlowsPerClient = 2 }, "client_flows"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, m, addr := newFlows(t, tt.change)
			one := dialPacket(t, addr)
			bounce(t, one, "a")
			bounce(t, dialPacket(t, addr), "a")
			three := dialPacket(t, addr)
			three.Write([]byte("x"))
			counted(t, m, dropped(tt.reason, "1"))
			one.Write([]byte("end"))
			counted(t, m, `penstock_listener_flows{socket="`+udpSocket+`"} 1`)
			bounce(t, three, "b")
		})
	}
	t.Run("but not of a trusted proxy", func(t *testing.T) {
		_, _, _, addr := newFlows(t, func(p *config.ProxyParameters) {
			p.MaxFlowsPerClient, p.TrustedProxies = 1, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		})
		bounce(t, dialPacket(t, addr), "a")
		bounce(t, dialPacket(t, addr), "a")
	})
}

func TestFlowsDrain(t *testing.T) {
	l, _, m, addr := newFlows(t, nil)
	one, two := dialPacket(t, addr), dialPacket(t, addr)
	bounce(t, one, "a")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- l.Drain(ctx) }()
	for s := l.flows[udpSocket]; ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		draining := s.draining
		s.mu.Unlock()
		if draining {
			break
		}
	}
	bounce(t, one, "b")
	two.Write([]byte("x"))
	counted(t, m, dropped("draining", "1"))
	one.Write([]byte("end"))
	if err := <-ended; err != nil {
		t.Errorf("got %v", err)
	}
}

func TestFlowsAreCutAtTheDrainsDeadline(t *testing.T) {
	l, _, _, addr := newFlows(t, nil)
	bounce(t, dialPacket(t, addr), "a")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestFlowsOfASocketThatIsGone(t *testing.T) {
	l, _, m, addr := newFlows(t, nil)
	bounce(t, dialPacket(t, addr), "a")
	if err := l.Reconcile(nil); err != nil {
		t.Fatal(err)
	}
	counted(t, m, `penstock_listener_flows{socket="`+udpSocket+`"} 0`)
	pc, err := net.ListenUDP("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	pc.Close()
}

func TestATakenPortOfDatagramsIsNamed(t *testing.T) {
	taken, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	l, _ := newRaw(t)
	address := taken.LocalAddr().(*net.UDPAddr).AddrPort()
	address = netip.AddrPortFrom(address.Addr().Unmap(), address.Port())
	err = l.Reconcile([]config.Socket{{Address: address, UDP: true, Parameters: config.DefaultProxyParameters()}})
	if err == nil || err.Error() != "listen "+address.String()+"/udp: address already in use" {
		t.Errorf("got %v", err)
	}
}
