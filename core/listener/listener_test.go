package listener

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/codec/h1"
	"penstock.dev/penstock/core/codec/h2"
	"penstock.dev/penstock/core/codec/h3"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

type handlerFunc func(x *exchange.Exchange)

func (f handlerFunc) Serve(x *exchange.Exchange) { f(x) }

func answer(x *exchange.Exchange, text string) {
	x.Response.Status = 200
	x.Response.Body, x.Response.ContentLength = exchange.NewBytes([]byte(text)), int64(len(text))
	x.Client.Send(x)
}

var anyPort = netip.MustParseAddrPort("127.0.0.1:0")

func newListeners(t *testing.T, h handlerFunc) (*Listeners, *telemetry.Metrics) {
	t.Helper()
	m := telemetry.New()
	l := New(zap.NewNop(), m, h1.NewServer(h, m, nil), h2.NewServer(h, m, nil), h3.NewServer(h, m, nil), NetBinder{})
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		l.Drain(ctx)
	})
	return l, m
}

func socketOf(p *config.ProxyParameters) []config.Socket {
	return []config.Socket{{Address: anyPort, Parameters: p}}
}

func dial(t *testing.T, addr net.Addr) *net.TCPConn {
	t.Helper()
	nc, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	return nc.(*net.TCPConn)
}

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// ask sends a request on nc and returns the answer's content.
func ask(t *testing.T, nc net.Conn) string {
	t.Helper()
	io.WriteString(nc, get)
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestATakenPortIsNamedInOneLine(t *testing.T) {
	taken, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := netip.AddrPortFrom(netip.IPv4Unspecified(), taken.Addr().(*net.TCPAddr).AddrPort().Port())
	l, _ := newListeners(t, nil)
	p := config.DefaultProxyParameters()
	err = l.Reconcile([]config.Socket{{Address: addr, Parameters: p}, {Address: anyPort, Parameters: p}})
	if err == nil || err.Error() != "listen "+addr.String()+": address already in use" || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v", err)
	}
	if l.Addr(anyPort.String()) == nil {
		t.Error("the other socket was not bound")
	}
}

func TestConnectionsAreDescribed(t *testing.T) {
	conns := make(chan *exchange.Conn, 1)
	l, _ := newListeners(t, func(x *exchange.Exchange) {
		answer(x, "x")
		select {
		case conns <- x.Conn:
		default:
		}
	})
	for trusted, prefix := range map[bool]string{true: "127.0.0.0/8", false: "10.0.0.0/8"} {
		p := config.DefaultProxyParameters()
		p.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(prefix)}
		if err := l.Reconcile(socketOf(p)); err != nil {
			t.Fatal(err)
		}
		addr := l.Addr(anyPort.String())
		nc := dial(t, addr)
		ask(t, nc)
		c := <-conns
		if c.Trusted != trusted || c.ID == 0 || c.Socket != "127.0.0.1:0" || string(c.RemoteIP) != "127.0.0.1" ||
			c.Remote.String() != nc.LocalAddr().String() || c.Local.String() != addr.String() ||
			"127.0.0.1:"+string(c.LocalPort) != addr.String() {
			t.Errorf("got %+v", c)
		}
	}
}

func TestRemovingASocketKeepsItsConnections(t *testing.T) {
	l, m := newListeners(t, func(x *exchange.Exchange) { answer(x, "x") })
	if err := l.Reconcile(socketOf(config.DefaultProxyParameters())); err != nil {
		t.Fatal(err)
	}
	addr := l.Addr(anyPort.String())
	nc := dial(t, addr)
	ask(t, nc)
	if err := l.Reconcile(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", addr.String()); err == nil {
		t.Error("the socket still accepts")
	}
	if got := ask(t, nc); got != "x" {
		t.Errorf("got %q", got)
	}
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{`penstock_listener_connections{socket="127.0.0.1:0"} 1`, `penstock_listener_accepted_total{socket="127.0.0.1:0"} 1`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestAPanicEndsItsConnectionAlone(t *testing.T) {
	var before atomic.Bool
	l, _ := newListeners(t, func(x *exchange.Exchange) {
		if !before.Swap(true) {
			panic("BUG: test")
		}
		answer(x, "x")
	})
	if err := l.Reconcile(socketOf(config.DefaultProxyParameters())); err != nil {
		t.Fatal(err)
	}
	nc := dial(t, l.Addr(anyPort.String()))
	io.WriteString(nc, get)
	if b, _ := io.ReadAll(nc); len(b) > 0 {
		t.Errorf("got %q; want the end", b)
	}
	if got := ask(t, dial(t, l.Addr(anyPort.String()))); got != "x" {
		t.Errorf("got %q", got)
	}
}

func TestDrainLetsTheBusyFinish(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	var slow atomic.Bool
	l, _ := newListeners(t, func(x *exchange.Exchange) {
		if slow.Load() {
			close(entered)
			<-leave
		}
		answer(x, "x")
	})
	if err := l.Reconcile(socketOf(config.DefaultProxyParameters())); err != nil {
		t.Fatal(err)
	}
	addr := l.Addr(anyPort.String())
	idle, busy := dial(t, addr), dial(t, addr)
	ask(t, idle)
	slow.Store(true)
	io.WriteString(busy, get)
	<-entered
	drained := make(chan error, 1)
	go func() { drained <- l.Drain(context.Background()) }()
	if b, err := io.ReadAll(idle); err != nil || len(b) > 0 {
		t.Errorf("idle: %q, %v; want the end", b, err)
	}
	select {
	case <-drained:
		t.Error("Drain did not wait")
	default:
	}
	l.mu.Lock() // Drain has told the busy one, too
	close(leave)
	l.mu.Unlock()
	b, err := io.ReadAll(busy)
	if err != nil || !strings.Contains(string(b), "Connection: close") || !strings.HasSuffix(string(b), "x") {
		t.Errorf("busy: %q, %v", b, err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func TestHTTP2WithPriorKnowledge(t *testing.T) {
	l, _ := newListeners(t, func(x *exchange.Exchange) { answer(x, strconv.Itoa(int(x.Request.Version))) })
	if err := l.Reconcile(socketOf(config.DefaultProxyParameters())); err != nil {
		t.Fatal(err)
	}
	addr := l.Addr(anyPort.String())
	for name, split := range map[string]int{"whole": 24, "in two parts": 10, "after its first line": 16} {
		t.Run(name, func(t *testing.T) {
			nc := dial(t, addr)
			io.WriteString(nc, h2.Preface[:split])
			time.Sleep(20 * time.Millisecond) // so that the parts are read one by one
			io.WriteString(nc, h2.Preface[split:]+"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
			// GET http://a/ in four fields of the static table, and :authority a.
			io.WriteString(nc, "\x00\x00\x06\x01\x05\x00\x00\x00\x01\x82\x86\x84\x01\x01a")
			b := make([]byte, 0, 1024)
			for !bytes.HasSuffix(b, []byte("20")) {
				p := make([]byte, 256)
				n, err := nc.Read(p)
				if b = append(b, p[:n]...); err != nil {
					t.Fatalf("%q, %v", b, err)
				}
			}
		})
	}
	if got := ask(t, dial(t, addr)); got != "11" {
		t.Errorf("HTTP/1.1: got %q", got)
	}
	drained := make(chan error, 1)
	go func() { drained <- l.Drain(context.Background()) }()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func TestHTTP2OnlyAsTheFirstBytes(t *testing.T) {
	l, _ := newListeners(t, func(x *exchange.Exchange) { answer(x, "x") })
	if err := l.Reconcile(socketOf(config.DefaultProxyParameters())); err != nil {
		t.Fatal(err)
	}
	nc := dial(t, l.Addr(anyPort.String()))
	ask(t, nc)
	io.WriteString(nc, h2.Preface)
	if b, _ := io.ReadAll(nc); !strings.HasPrefix(string(b), "HTTP/1.1 505 ") {
		t.Errorf("got %q", b)
	}
}

func TestDrainClosesTheRestAtItsDeadline(t *testing.T) {
	entered := make(chan struct{})
	l, _ := newListeners(t, func(x *exchange.Exchange) {
		gone := make(chan struct{})
		stop := x.Client.Watch(func() { close(gone) })
		defer stop()
		close(entered)
		<-gone
	})
	if err := l.Reconcile(socketOf(config.DefaultProxyParameters())); err != nil {
		t.Fatal(err)
	}
	nc := dial(t, l.Addr(anyPort.String()))
	io.WriteString(nc, get)
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := l.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestAThousandIdleConnectionsAreCheap(t *testing.T) {
	l, _ := newListeners(t, func(x *exchange.Exchange) {
		x.Arena.CopyString("as a filter would")
		answer(x, "x")
	})
	if err := l.Reconcile(socketOf(config.DefaultProxyParameters())); err != nil {
		t.Fatal(err)
	}
	used := func() uint64 {
		debug.FreeOSMemory()
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := used()
	const n = 1000
	conns := make([]*net.TCPConn, n)
	for i := range conns {
		conns[i] = dial(t, l.Addr(anyPort.String()))
		conns[i].SetDeadline(time.Time{})
		io.WriteString(conns[i], get)
		b := make([]byte, 4096)
		conns[i].Read(b)
	}
	cost := int64(used()-before) / n
	t.Logf("%d bytes for each connection, the client's side included", cost)
	if !raceEnabled && cost > 20<<20/n {
		t.Errorf("%d bytes; want less than %d", cost, 20<<20/n)
	}
	runtime.KeepAlive(conns)
}

// flaky is a listener whose first accepts fail.
type flaky struct {
	net.Listener
	failures atomic.Int32
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.failures.Add(-1) >= 0 {
		return nil, syscall.EMFILE
	}
	return f.Listener.Accept()
}

type binderFunc func(s config.Socket) (net.Listener, error)

func (f binderFunc) Bind(s config.Socket) (net.Listener, error) { return f(s) }

func TestAcceptingGoesOnAfterAnError(t *testing.T) {
	l, _ := newListeners(t, func(x *exchange.Exchange) { answer(x, "x") })
	l.binder = binderFunc(func(s config.Socket) (net.Listener, error) {
		ln, err := NetBinder{}.Bind(s)
		f := &flaky{Listener: ln}
		f.failures.Store(3)
		return f, err
	})
	if err := l.Reconcile(socketOf(config.DefaultProxyParameters())); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, dial(t, l.Addr(anyPort.String()))); got != "x" {
		t.Errorf("got %q", got)
	}
}

func TestConnectionsPerClient(t *testing.T) {
	l, m := newListeners(t, func(x *exchange.Exchange) { answer(x, "ok") })
	p := config.DefaultProxyParameters()
	p.MaxPerClient = 2
	if err := l.Reconcile(socketOf(p)); err != nil {
		t.Fatal(err)
	}
	addr := l.Addr(anyPort.String())
	alive := func(c net.Conn) bool {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") // it may be closed
		line, err := bufio.NewReader(c).ReadString('\n')
		return err == nil && strings.HasPrefix(line, "HTTP/1.1 200 ")
	}
	first, second := dial(t, addr), dial(t, addr)
	if !alive(first) || !alive(second) {
		t.Fatal("the first two were not served")
	}
	if alive(dial(t, addr)) {
		t.Error("a third was served")
	}
	first.Close()
	for deadline := time.Now().Add(5 * time.Second); !alive(dial(t, addr)); {
		if time.Now().After(deadline) {
			t.Fatal("none is served after one has gone")
		}
	}
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(w.Body.String(), `penstock_listener_per_client_refusals_total{socket="127.0.0.1:0"}`) {
		t.Error("it was not counted")
	}
	p = config.DefaultProxyParameters()
	p.MaxPerClient, p.TrustedProxies = 1, []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	if err := l.Reconcile(socketOf(p)); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if !alive(dial(t, addr)) {
			t.Error("a trusted proxy was refused")
		}
	}
}

func TestClientOf(t *testing.T) {
	for address, want := range map[string]string{"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "fe80::1%eth0": "fe80::"} {
		if got := clientOf(netip.MustParseAddr(address)); got.String() != want {
			t.Errorf("%s: got %s; want %s", address, got, want)
		}
	}
}
