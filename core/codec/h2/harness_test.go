package h2

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
	"penstock.dev/penstock/core/telemetry"
)

// handlerFunc is a handler made of a function.
type handlerFunc func(x *exchange.Exchange)

func (f handlerFunc) Serve(x *exchange.Exchange) { f(x) }

// testServer serves a loopback socket until the test ends.
type testServer struct {
	addr    string
	trusted bool

	mu       sync.Mutex
	rejected []string
	conns    []*Conn
	panics   []any
	wg       sync.WaitGroup
}

func newTestServer(t testing.TB, p *config.ProxyParameters, h handlerFunc) *testServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ts := &testServer{addr: ln.Addr().String()}
	s := NewServer(h, telemetry.New(), func(_ *exchange.Conn, status int, reason string) {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		ts.rejected = append(ts.rejected, fmt.Sprint(status, " ", reason))
	})
	ts.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			c := s.NewConn(nc, &exchange.Conn{ID: 1, Trusted: ts.trusted}, p)
			ts.mu.Lock()
			ts.conns = append(ts.conns, c)
			ts.mu.Unlock()
			ts.wg.Go(func() {
				defer func() {
					if p := recover(); p != nil {
						ts.mu.Lock()
						ts.panics = append(ts.panics, p)
						ts.mu.Unlock()
					}
				}()
				c.Serve()
			})
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

func (ts *testServer) reasons() string {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return strings.Join(ts.rejected, ",")
}

// client returns a real client on connections of its own.
func (ts *testServer) client(t testing.TB) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("tcp", ts.addr)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// rawClient speaks frames.
type rawClient struct {
	*http2.Framer
	nc    *net.TCPConn
	t     testing.TB
	enc   *hpack.Encoder
	buf   bytes.Buffer
	last  uint32
	spent int
}

// dial connects, and greets with these settings.
func (ts *testServer) dial(t testing.TB, settings ...http2.Setting) *rawClient {
	t.Helper()
	r := ts.connect(t)
	io.WriteString(r.nc, Preface)
	if err := r.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return r
}

// connect connects and sends nothing.
func (ts *testServer) connect(t testing.TB) *rawClient {
	t.Helper()
	nc, err := net.Dial("tcp", ts.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	r := &rawClient{Framer: http2.NewFramer(nc, nc), nc: nc.(*net.TCPConn), t: t}
	r.AllowIllegalWrites = true
	r.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return r.encoder()
}

// encoder readies r for block.
func (r *rawClient) encoder() *rawClient {
	r.enc = hpack.NewEncoder(&r.buf)
	return r
}

// block encodes fields, "name: value" each.
func (r *rawClient) block(fields ...string) []byte {
	r.buf.Reset()
	for _, f := range fields {
		i := strings.Index(f[1:], ":") + 1
		r.enc.WriteField(hpack.HeaderField{Name: f[:i], Value: strings.TrimPrefix(f[i+1:], " ")})
	}
	return bytes.Clone(r.buf.Bytes())
}

// get is a plain request's fields, and more of them.
func get(more ...string) []string {
	return append([]string{":method: GET", ":scheme: http", ":path: /", ":authority: a.example"}, more...)
}

func post(more ...string) []string {
	return append([]string{":method: POST", ":scheme: http", ":path: /", ":authority: a.example"}, more...)
}

func (r *rawClient) headers(id uint32, end bool, fields ...string) {
	r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.block(fields...), EndStream: end, EndHeaders: true})
}

// outcome reads until the stream or the connection ends, and says how: "200",
// "200 text", "RST PROTOCOL_ERROR", "GOAWAY PROTOCOL_ERROR" or "closed". Settings
// and pings are left unanswered; other streams are left out.
func (r *rawClient) outcome(id uint32) string {
	var b strings.Builder
	for {
		f, err := r.ReadFrame()
		if err != nil {
			if err != io.EOF {
				return "closed: " + err.Error()
			}
			return b.String() + "closed"
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				return b.String() + "GOAWAY " + f.ErrCode.String()
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return b.String() + "RST " + f.ErrCode.String()
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID != id {
				continue
			}
			if s := f.PseudoValue("status"); s != "" {
				b.WriteString(s + " ")
			}
			if f.StreamEnded() {
				return strings.TrimSpace(b.String())
			}
		case *http2.DataFrame:
			if f.StreamID != id {
				continue
			}
			b.Write(f.Data())
			if f.StreamEnded() {
				return strings.TrimSpace(b.String())
			}
		}
	}
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

// slurp returns a response's status and content.
func slurp(t testing.TB, resp *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode, " ", string(b))
}
