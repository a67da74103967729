package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// echoing serves raw connections by sending back what comes, and notes them.
type echoing struct{ seen chan *exchange.Conn }

func (e echoing) ServeConn(_ context.Context, nc net.Conn, head []byte, about *exchange.Conn) {
	defer nc.Close()
	e.seen <- about
	_, _ = nc.Write(head)
	_, _ = io.Copy(nc, nc)
}

func (e echoing) OpenFlow(about *exchange.Conn, reply func([]byte) error) exchange.Flow {
	e.seen <- about
	return &echoFlow{reply: reply, end: make(chan struct{}, 2)}
}

// newRaw returns Listeners that serve raw connections with e.
func newRaw(t *testing.T) (*Listeners, echoing) {
	t.Helper()
	l, _ := newListeners(t, func(x *exchange.Exchange) { answer(x, "http") })
	e := echoing{make(chan *exchange.Conn, 100)}
	l.ServeRaw(e, e)
	return l, e
}

func rawSocket(p *config.ProxyParameters) []config.Socket {
	return []config.Socket{{Address: anyPort, Parameters: p, Raw: true}}
}

// bounce sends b and wants it back.
func bounce(t *testing.T, nc io.ReadWriter, b string) {
	t.Helper()
	io.WriteString(nc, b)
	got := make([]byte, len(b))
	if _, err := io.ReadFull(nc, got); err != nil || string(got) != b {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestRawConnections(t *testing.T) {
	l, e := newRaw(t)
	p := config.DefaultProxyParameters()
	p.MaxPerClient = 1
	if err := l.Reconcile(rawSocket(p)); err != nil {
		t.Fatal(err)
	}
	addr := l.Addr(anyPort.String())
	nc := dial(t, addr)
	bounce(t, nc, "GET / HTTP/1.1\r\n\r\n")
	if c := <-e.seen; c.Remote.String() != nc.LocalAddr().String() || string(c.RemoteIP) != "127.0.0.1" {
		t.Errorf("got %+v", c)
	}
	if n, err := dial(t, addr).Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("a second connection of the client is served; want one at most")
	}
	// The port becomes one of HTTP; the connection goes on.
	if err := l.Reconcile(socketOf(config.DefaultProxyParameters())); err != nil {
		t.Fatal(err)
	}
	bounce(t, nc, "still")
	if got := ask(t, dial(t, addr)); got != "http" {
		t.Errorf("got %q", got)
	}
}

func TestTLSIsPassedThroughByName(t *testing.T) {
	l, e := newRaw(t)
	own, web := certificate(t, "own.example"), certificate(t, "web.example")
	all := append(names(own, web), config.ServerName{Hostname: "*.far.example", Raw: true})
	all[0].Raw = true
	if err := l.Reconcile([]config.Socket{{Address: anyPort, Parameters: config.DefaultProxyParameters(), Names: all}}); err != nil {
		t.Fatal(err)
	}
	c, err := dialTLS(t, l, &tls.Config{ServerName: "Own.example", NextProtos: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	bounce(t, c, "raw over TLS")
	if about := <-e.seen; about.TLS == nil || about.TLS.ServerName != "own.example" || about.TLS.NegotiatedProtocol != "" {
		t.Errorf("got %+v", about.TLS)
	}
	if c, err = dialTLS(t, l, &tls.Config{ServerName: "web.example", NextProtos: []string{"http/1.1"}}); err != nil {
		t.Fatal(err)
	} else if got := ask(t, c); got != "http" {
		t.Errorf("got %q", got)
	}
	// What comes back is the client's own hello, which is no answer.
	if _, err = dialTLS(t, l, &tls.Config{ServerName: "A.far.example"}); err == nil || !strings.Contains(err.Error(), "unexpected handshake message") {
		t.Errorf("got %v", err)
	}
	if about := <-e.seen; about.TLS != nil || about.ServerName != "a.far.example" {
		t.Errorf("got %+v", about)
	}
	if _, err = dialTLS(t, l, &tls.Config{ServerName: "far.example"}); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("got %v", err)
	}
}

// TestNamesThatNobodyHas: where no TLS is ended there is no alert.
func TestNamesThatNobodyHas(t *testing.T) {
	l, _ := newRaw(t)
	if err := l.Reconcile([]config.Socket{{Address: anyPort, Parameters: config.DefaultProxyParameters(), Names: []config.ServerName{{Hostname: "*.far.example", Raw: true}}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := dialTLS(t, l, &tls.Config{ServerName: "near.example"}); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v; want a reset", err)
	}
}

// TestHellosThatNeverCome: RFC 8446, 4.1.2, within the time for a head.
func TestHellosThatNeverCome(t *testing.T) {
	tests := map[string]struct {
		say    string
		close  bool
		reason string
	}{
		"nothing":         {"", false, "timeout"},
		"a part":          {"\x16\x03\x01\x02\x00\x01", false, "timeout"},
		"a part and gone": {"\x16\x03\x01\x02\x00\x01", true, "client_gone"},
		"no TLS":          {"SSH-2.0-x\r\n", false, "not_tls"},
		"HTTP":            {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", false, "plain_http"},
		"too long":        {"\x16\x03\x01\x3f\xff\x01\x01\x00\x00" + strings.Repeat("x", 17<<10), true, "not_tls"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l, m := newListeners(t, nil)
			l.ServeRaw(echoing{}, nil)
			p := config.DefaultProxyParameters()
			p.HeaderTimeout = 200 * time.Millisecond
			if err := l.Reconcile([]config.Socket{{Address: anyPort, Parameters: p, Names: []config.ServerName{{Raw: true}}}}); err != nil {
				t.Fatal(err)
			}
			nc := dial(t, l.Addr(anyPort.String()))
			io.WriteString(nc, tt.say)
			if tt.close {
				nc.CloseWrite()
			}
			_, _ = io.ReadAll(nc)
			for deadline := time.Now().Add(10 * time.Second); !strings.Contains(failures(m), `reason="`+tt.reason+`"`); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("got %s; want %s", failures(m), tt.reason)
				}
			}
		})
	}
}

func TestRawConnectionsOfASocketThatIsGone(t *testing.T) {
	l, _ := newRaw(t)
	l.removedFor = 300 * time.Millisecond
	if err := l.Reconcile(rawSocket(config.DefaultProxyParameters())); err != nil {
		t.Fatal(err)
	}
	addr := l.Addr(anyPort.String())
	nc := dial(t, addr)
	bounce(t, nc, "x")
	if err := l.Reconcile(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", addr.String()); err == nil {
		t.Error("the socket is open")
	}
	bounce(t, nc, "y")
	if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v; want a reset", err)
	}
}

// TestRawConnectionsOfANameThatIsGone: those of the port's other listeners go on.
func TestRawConnectionsOfANameThatIsGone(t *testing.T) {
	l, _ := newRaw(t)
	l.removedFor = 300 * time.Millisecond
	all := names(certificate(t, "a.example"), certificate(t, "b.example"))
	all[0].Raw, all[1].Raw = true, true
	listen := func(names []config.ServerName) {
		t.Helper()
		if err := l.Reconcile([]config.Socket{{Address: anyPort, Parameters: config.DefaultProxyParameters(), Names: names}}); err != nil {
			t.Fatal(err)
		}
	}
	listen(all)
	var conns []*tls.Conn
	for _, name := range []string{"a.example", "b.example"} {
		c, err := dialTLS(t, l, &tls.Config{ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		bounce(t, c, "x")
		conns = append(conns, c)
	}
	listen(all[1:])
	bounce(t, conns[0], "y")
	if _, err := conns[0].Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v; want a reset", err)
	}
	bounce(t, conns[1], "y")
}

func TestRawConnectionsAreCutAtTheDrainsDeadline(t *testing.T) {
	l, _ := newRaw(t)
	if err := l.Reconcile(rawSocket(config.DefaultProxyParameters())); err != nil {
		t.Fatal(err)
	}
	nc := dial(t, l.Addr(anyPort.String()))
	bounce(t, nc, "x")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- l.Drain(ctx) }()
	bounce(t, nc, "y")
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v; want a reset", err)
	}
}
