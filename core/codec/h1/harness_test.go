package h1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
	"penstock.dev/penstock/core/telemetry"
)

// handlerFunc is a handler made of a function.
type handlerFunc func(x *exchange.Exchange)

func (f handlerFunc) Serve(x *exchange.Exchange) { f(x) }

// rejections remembers what the codec refused.
type rejections struct {
	mu   sync.Mutex
	list []string
}

func (r *rejections) add(_ *exchange.Conn, status int, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, fmt.Sprint(status, " ", reason))
}

func (r *rejections) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.list, ",")
}

// testServer serves a loopback socket until the test ends.
type testServer struct {
	addr     string
	rejected rejections
	mu       sync.Mutex
	conns    []*Conn
	wg       sync.WaitGroup
	trusted  atomic.Bool
}

func newTestServer(t *testing.T, p *config.ProxyParameters, h handlerFunc) *testServer {
	t.Helper()
	return newTestServerOver(t, p, h, func(nc net.Conn) net.Conn { return nc })
}

// newTestServerOver serves what over makes of each connection.
func newTestServerOver(t *testing.T, p *config.ProxyParameters, h handlerFunc, over func(net.Conn) net.Conn) *testServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ts := &testServer{addr: ln.Addr().String()}
	s := NewServer(h, telemetry.New(), ts.rejected.add)
	ts.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			c := s.NewConn(over(nc), &exchange.Conn{ID: 1, Trusted: ts.trusted.Load()}, p)
			ts.mu.Lock()
			ts.conns = append(ts.conns, c)
			ts.mu.Unlock()
			ts.wg.Go(c.Serve)
		}
	})
	t.Cleanup(func() {
		ln.Close()
		ts.mu.Lock()
		for _, c := range ts.conns {
			c.Abort()
		}
		ts.mu.Unlock()
		ts.wg.Wait()
	})
	return ts
}

func (ts *testServer) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	nc, err := net.Dial("tcp", ts.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	return nc.(*net.TCPConn)
}

// roundTrip sends raw bytes and returns all that comes until the server closes.
func (ts *testServer) roundTrip(t *testing.T, raw string) string {
	t.Helper()
	nc := ts.dial(t)
	go io.WriteString(nc, raw)
	b, err := io.ReadAll(nc)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		t.Fatalf("the connection stayed open; read %q", b)
	}
	return string(b)
}

// params are the defaults with short times.
func params() *config.ProxyParameters {
	p := config.DefaultProxyParameters()
	p.HeaderTimeout, p.IdleTimeout = 2*time.Second, 2*time.Second
	return p
}

// describe answers with what the request was.
func describe(x *exchange.Exchange) {
	var b strings.Builder
	q := &x.Request
	fmt.Fprintf(&b, "%s %s://%s %s %d\n", q.Method, q.Scheme, q.Authority, q.Path, q.Version)
	for _, f := range q.Header.Fields() {
		fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
	}
	if q.TE {
		b.WriteString("TE\n")
	}
	if q.Body != nil {
		content, err := io.ReadAll(q.Body)
		fmt.Fprintf(&b, "body %d %q", q.ContentLength, content)
		if err != nil {
			fmt.Fprintf(&b, " error %v", err)
		}
		for _, f := range q.Trailer.Fields() {
			fmt.Fprintf(&b, " %s=%s", f.Name, f.Value)
		}
		b.WriteByte('\n')
	}
	codectest.Answer(x, 200, b.String())
}

// contentOf cuts the content of the only response off.
func contentOf(t *testing.T, raw string) string {
	t.Helper()
	_, body, ok := strings.Cut(raw, "\r\n\r\n")
	if !ok {
		t.Fatalf("no response: %q", raw)
	}
	return body
}

// until reads from nc until what was read contains want.
func until(t *testing.T, nc net.Conn, want string) string {
	t.Helper()
	var b []byte
	for !strings.Contains(string(b), want) {
		p := make([]byte, 4096)
		n, err := nc.Read(p)
		b = append(b, p[:n]...)
		if err != nil {
			t.Fatalf("read %q, then %v; want %q", b, err, want)
		}
	}
	return string(b)
}
