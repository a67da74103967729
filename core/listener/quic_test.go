package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"penstock.dev/penstock/core/codec/h1"
	"penstock.dev/penstock/core/codec/h2"
	"penstock.dev/penstock/core/codec/h3"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// dialQUIC connects to the UDP port of the socket and asks for a name.
func dialQUIC(t *testing.T, addr net.Addr, c *tls.Config) (*quic.Conn, error) {
	t.Helper()
	c = c.Clone()
	c.InsecureSkipVerify = true
	if c.NextProtos == nil {
		c.NextProtos = []string{"h3"}
	}
	ctx, done := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(done)
	qc, err := quic.DialAddr(ctx, addr.String(), c, &quic.Config{MaxIdleTimeout: 10 * time.Second})
	if err == nil {
		t.Cleanup(func() { qc.CloseWithError(0x100, "") })
	}
	return qc, err
}

func mustDialQUIC(t *testing.T, l *Listeners, name string) *quic.Conn {
	t.Helper()
	eventually(t, "the UDP port is bound", func() bool { // another test may have had it
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.sockets[anyPort.String()].quic != nil
	})
	qc, err := dialQUIC(t, l.Addr(anyPort.String()), &tls.Config{ServerName: name})
	if err != nil {
		t.Fatal(err)
	}
	return qc
}

// ask3 sends a request over qc and returns the answer's content.
func ask3(t *testing.T, qc *quic.Conn) string {
	t.Helper()
	text, err := try3(t, qc)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func try3(t *testing.T, qc *quic.Conn) (string, error) {
	t.Helper()
	client, ok := clients3.Load(qc)
	if !ok {
		client, _ = clients3.LoadOrStore(qc, (&http3.Transport{}).NewClientConn(qc))
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://a.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.(*http3.ClientConn).RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// clients3 are the clients of QUIC connections.
var clients3 sync.Map

func TestHTTP3(t *testing.T) {
	conns := make(chan *exchange.Conn, 10)
	l, m := newListeners(t, func(x *exchange.Exchange) {
		conns <- x.Conn
		answer(x, string(x.Request.Scheme))
	})
	a, b := certificate(t, "a.example"), certificate(t, "b.example")
	p := config.DefaultProxyParameters()
	if err := l.Reconcile(secureSocket(p, a, b)); err != nil {
		t.Fatal(err)
	}
	tcp, err := dialTLS(t, l, &tls.Config{ServerName: "a.example", NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	ask(t, tcp)
	want := fmt.Sprintf(`h3=":%d"; ma=86400`, l.Addr(anyPort.String()).(*net.TCPAddr).Port)
	if facts := <-conns; string(facts.AltSvc) != want {
		t.Errorf("over TCP: got Alt-Svc %s; want %s", facts.AltSvc, want)
	}

	qc := mustDialQUIC(t, l, "A.example")
	if got := ask3(t, qc); got != "https" {
		t.Errorf("got scheme %q", got)
	}
	facts := <-conns
	local := l.Addr(anyPort.String()).(*net.TCPAddr).AddrPort()
	if facts.TLS == nil || facts.TLS.ServerName != "a.example" || facts.TLS.NegotiatedProtocol != "h3" || facts.TLS.Version != tls.VersionTLS13 ||
		facts.AltSvc != nil || facts.ID == 0 || facts.Socket != anyPort.String() || facts.Local != local ||
		facts.Remote.Addr() != local.Addr() || string(facts.RemoteIP) != "127.0.0.1" || string(facts.LocalPort) != fmt.Sprint(local.Port()) {
		t.Errorf("got %+v", facts)
	}
	if got := qc.ConnectionState().TLS.PeerCertificates[0].Raw; !bytes.Equal(got, a.Chain[0]) {
		t.Error("another certificate was shown")
	}

	// A changed certificate serves from the next handshake on.
	a2 := certificate(t, "a.example")
	if err := l.Reconcile(secureSocket(p, a2, b)); err != nil {
		t.Fatal(err)
	}
	ask3(t, qc)
	<-conns
	if got := mustDialQUIC(t, l, "a.example").ConnectionState().TLS.PeerCertificates[0].Raw; !bytes.Equal(got, a2.Chain[0]) {
		t.Error("the old certificate is shown")
	}

	if _, err := dialQUIC(t, l.Addr(anyPort.String()), &tls.Config{ServerName: "nobody.example"}); err == nil {
		t.Error("a name that nobody has was served")
	}
	if _, err := dialQUIC(t, l.Addr(anyPort.String()), &tls.Config{ServerName: "a.example", NextProtos: []string{"h2"}}); err == nil {
		t.Error("h2 was agreed on over QUIC")
	}
	for _, reason := range []string{"name", "alpn"} {
		eventually(t, reason+" is counted", func() bool {
			return strings.Contains(failures(m), `penstock_tls_handshake_failures_total{reason="`+reason+`",socket="`+anyPort.String()+`/udp"} 1`)
		})
	}
	eventually(t, "nothing is under way", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.sockets[anyPort.String()].quic.handshakes.Load() == 0
	})
}

// TestHTTP3OnAllAddresses: the one that a client reached is known.
func TestHTTP3OnAllAddresses(t *testing.T) {
	l, _ := newListeners(t, func(x *exchange.Exchange) { answer(x, x.Conn.Local.String()) })
	all := config.Socket{Address: netip.MustParseAddrPort("0.0.0.0:0"), Parameters: config.DefaultProxyParameters(), Names: names(certificate(t, "a.example"))}
	if err := l.Reconcile([]config.Socket{all}); err != nil {
		t.Fatal(err)
	}
	reached := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: l.Addr(all.Key()).(*net.TCPAddr).Port}
	qc, err := dialQUIC(t, reached, &tls.Config{ServerName: "a.example"})
	if err != nil {
		t.Fatal(err)
	}
	if got := ask3(t, qc); got != reached.String() {
		t.Errorf("got %s; want %s", got, reached)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// TestSessionsAreResumed: over QUIC as over TCP, and by tickets of both.
func TestSessionsAreResumedOverQUIC(t *testing.T) {
	l, _ := newListeners(t, func(x *exchange.Exchange) { answer(x, "x") })
	if err := l.Reconcile(secureSocket(config.DefaultProxyParameters(), certificate(t, "a.example"))); err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{ServerName: "a.example", ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	for i := range 2 {
		qc, err := dialQUIC(t, l.Addr(anyPort.String()), c)
		if err != nil {
			t.Fatal(err)
		}
		ask3(t, qc) // the ticket comes with the answer
		if state := qc.ConnectionState(); state.TLS.DidResume != (i > 0) || state.Used0RTT {
			t.Errorf("connection %d: resumed %v, 0-RTT %v", i, state.TLS.DidResume, state.Used0RTT)
		}
	}
}

// TestHTTP3IsSwitched off and on again while connections live.
func TestHTTP3IsSwitched(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	l, _ := newListeners(t, func(x *exchange.Exchange) {
		select {
		case begun <- struct{}{}:
			<-release
		default:
		}
		answer(x, string(x.Conn.AltSvc))
	})
	a := certificate(t, "a.example")
	on, off := config.DefaultProxyParameters(), config.DefaultProxyParameters()
	off.HTTP3 = false
	reconcile := func(p *config.ProxyParameters) {
		t.Helper()
		if err := l.Reconcile(secureSocket(p, a)); err != nil {
			t.Fatal(err)
		}
	}
	reconcile(on)
	slow := make(chan string)
	qc := mustDialQUIC(t, l, "a.example")
	go func() {
		text, err := try3(t, qc)
		slow <- fmt.Sprint(text, err)
	}()
	<-begun
	reconcile(off)
	tcp, err := dialTLS(t, l, &tls.Config{ServerName: "a.example", NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, tcp); got != "" {
		t.Errorf("off: got Alt-Svc %q", got)
	}
	reconcile(on) // while the old connection has the port
	ask3(t, mustDialQUIC(t, l, "a.example"))
	close(release)
	if got := <-slow; got != "<nil>" {
		t.Errorf("the slow one: got %q", got)
	}
	var closed *quic.ApplicationError
	<-qc.Context().Done()
	if err := context.Cause(qc.Context()); !errors.As(err, &closed) || closed.ErrorCode != 0x100 {
		t.Errorf("it ended with %v", err)
	}

	reconcile(off)
	eventually(t, "the UDP port is closed", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.quics) == 0
	})
	reconcile(on)
	ask3(t, mustDialQUIC(t, l, "a.example"))
	if err := l.Reconcile(nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the UDP port is closed again", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.quics) == 0 && len(l.conns) == 1 // the TCP one
	})
}

// TestATakenUDPPort is told of, and TCP serves without it.
func TestATakenUDPPort(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	m := telemetry.New()
	h := handlerFunc(func(x *exchange.Exchange) { answer(x, string(x.Conn.AltSvc)) })
	b := &brokenBinder{}
	b.broken.Store(true)
	l := New(zap.New(core), m, h1.NewServer(h, m, nil), h2.NewServer(h, m, nil), h3.NewServer(h, m, nil), b)
	defer l.Drain(context.Background())
	a := certificate(t, "a.example")
	p := config.DefaultProxyParameters()
	serve := func() string {
		t.Helper()
		if err := l.Reconcile(secureSocket(p, a)); err != nil {
			t.Fatal(err)
		}
		tcp, err := dialTLS(t, l, &tls.Config{ServerName: "a.example", NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		defer tcp.Close()
		return ask(t, tcp)
	}
	if got := serve(); got != "" {
		t.Errorf("got Alt-Svc %q", got)
	}
	if logs.FilterMessage("no HTTP/3 until its UDP port can be used").Len() != 1 {
		t.Errorf("logged %v", logs.All())
	}
	b.broken.Store(false)
	eventually(t, "it is tried again", func() bool { return strings.HasPrefix(serve(), "h3=") })
}

type brokenBinder struct {
	NetBinder
	broken atomic.Bool
}

func (b *brokenBinder) BindPacket(s config.Socket) (net.PacketConn, error) {
	if b.broken.Load() {
		return nil, errors.New("address already in use")
	}
	return b.NetBinder.BindPacket(s)
}

// TestConnectionsOfOneClientOverQUIC count with those over TCP.
func TestConnectionsOfOneClientOverQUIC(t *testing.T) {
	l, _ := newListeners(t, func(x *exchange.Exchange) { answer(x, "x") })
	p := config.DefaultProxyParameters()
	p.MaxPerClient = 2
	if err := l.Reconcile(secureSocket(p, certificate(t, "a.example"))); err != nil {
		t.Fatal(err)
	}
	tcp, err := dialTLS(t, l, &tls.Config{ServerName: "a.example", NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	ask(t, tcp)
	first := mustDialQUIC(t, l, "a.example")
	ask3(t, first)
	if qc, err := dialQUIC(t, l.Addr(anyPort.String()), &tls.Config{ServerName: "a.example"}); err == nil {
		t.Errorf("a third was accepted: %v", qc.RemoteAddr())
	}
	first.CloseWithError(0x100, "")
	eventually(t, "there is room again", func() bool {
		qc, err := dialQUIC(t, l.Addr(anyPort.String()), &tls.Config{ServerName: "a.example"})
		if err != nil {
			return false
		}
		_, err = try3(t, qc)
		return err == nil
	})
}

// TestPeersOfPROXYProtocolHaveNoHTTP3: who they speak for cannot be known.
func TestPeersOfPROXYProtocolHaveNoHTTP3(t *testing.T) {
	l, _ := newListeners(t, func(x *exchange.Exchange) { answer(x, string(x.Conn.AltSvc)) })
	p := config.DefaultProxyParameters()
	p.ProxyProtocol = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if err := l.Reconcile(secureSocket(p, certificate(t, "a.example"))); err != nil {
		t.Fatal(err)
	}
	if _, err := dialQUIC(t, l.Addr(anyPort.String()), &tls.Config{ServerName: "a.example"}); err == nil {
		t.Error("a connection was accepted")
	}
	nc := dial(t, l.Addr(anyPort.String()))
	io.WriteString(nc, "PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n")
	c := tls.Client(nc, &tls.Config{ServerName: "a.example", InsecureSkipVerify: true})
	if got := ask(t, c); got != "" {
		t.Errorf("got Alt-Svc %q", got)
	}
}

// TestRetryUnderLoad: where many handshakes are under way, clients show that they
// are where they say.
func TestRetryUnderLoad(t *testing.T) {
	l, _ := newListeners(t, func(x *exchange.Exchange) { answer(x, "x") })
	if err := l.Reconcile(secureSocket(config.DefaultProxyParameters(), certificate(t, "a.example"))); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	q := l.sockets[anyPort.String()].quic
	l.mu.Unlock()
	q.handshakes.Add(mostUnverified)
	qc := mustDialQUIC(t, l, "a.example")
	ask3(t, qc)
	q.handshakes.Add(mostHandshakes - mostUnverified)
	if _, err := dialQUIC(t, l.Addr(anyPort.String()), &tls.Config{ServerName: "a.example"}); err == nil {
		t.Error("it was accepted beyond the bound")
	}
	q.handshakes.Add(-mostHandshakes)
	ask3(t, mustDialQUIC(t, l, "a.example"))
}

func TestDrainOverQUIC(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	l, _ := newListeners(t, func(x *exchange.Exchange) {
		begun <- struct{}{}
		<-release
		answer(x, "done")
	})
	if err := l.Reconcile(secureSocket(config.DefaultProxyParameters(), certificate(t, "a.example"))); err != nil {
		t.Fatal(err)
	}
	qc := mustDialQUIC(t, l, "a.example")
	slow := make(chan string)
	go func() {
		text, err := try3(t, qc)
		slow <- fmt.Sprint(text, err)
	}()
	<-begun
	drained := make(chan error)
	go func() { drained <- l.Drain(context.Background()) }()
	eventually(t, "it drains", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.draining
	})
	close(release)
	if got := <-slow; got != "done<nil>" {
		t.Errorf("got %q", got)
	}
	if err := <-drained; err != nil {
		t.Errorf("drain: %v", err)
	}
}

// TestMigration: a client that goes on from another address is served, and is who
// it was (RFC 9000, 9).
func TestMigration(t *testing.T) {
	l, _ := newListeners(t, func(x *exchange.Exchange) { answer(x, x.Conn.Remote.String()) })
	if err := l.Reconcile(secureSocket(config.DefaultProxyParameters(), certificate(t, "a.example"))); err != nil {
		t.Fatal(err)
	}
	from := func() *quic.Transport {
		pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		tr := &quic.Transport{Conn: pc}
		t.Cleanup(func() { tr.Close(); pc.Close() })
		return tr
	}
	ctx, done := context.WithTimeout(t.Context(), 20*time.Second)
	defer done()
	first, second := from(), from()
	to := l.Addr(anyPort.String()).(*net.TCPAddr)
	qc, err := first.Dial(ctx, &net.UDPAddr{IP: to.IP, Port: to.Port}, &tls.Config{ServerName: "a.example", InsecureSkipVerify: true, NextProtos: []string{"h3"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	was := ask3(t, qc)
	path, err := qc.AddPath(second)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.Probe(ctx); err != nil {
		t.Fatal(err)
	}
	if err := path.Switch(); err != nil {
		t.Fatal(err)
	}
	if got := ask3(t, qc); got != was || was != first.Conn.LocalAddr().String() {
		t.Errorf("before %s; after %s", was, got)
	}
}
