package h3

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
	"penstock.dev/penstock/core/telemetry"
)

// handlerFunc is a handler made of a function.
type handlerFunc func(x *exchange.Exchange)

func (f handlerFunc) Serve(x *exchange.Exchange) { f(x) }

// certificate is for whoever does not look at it.
var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// testServer serves a loopback socket until the test ends.
type testServer struct {
	addr   net.Addr
	server *Server

	mu       sync.Mutex
	trusted  bool // peers are
	rejected []string
	conns    []*Conn
	panics   []any
	wg       sync.WaitGroup
}

func newTestServer(t testing.TB, p *config.ProxyParameters, h handlerFunc) *testServer {
	t.Helper()
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: pc}
	ln, err := tr.Listen(&tls.Config{Certificates: []tls.Certificate{certificate()}, NextProtos: []string{"h3"}}, Config(p))
	if err != nil {
		t.Fatal(err)
	}
	ts := &testServer{addr: pc.LocalAddr()}
	ts.server = NewServer(h, telemetry.New(), func(_ *exchange.Conn, status int, reason string) {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		ts.rejected = append(ts.rejected, fmt.Sprint(status, " ", reason))
	})
	ts.wg.Go(func() {
		for {
			qc, err := ln.Accept(context.Background())
			if err != nil {
				return
			}
			state := qc.ConnectionState().TLS
			ts.mu.Lock()
			c := ts.server.NewConn(qc, &exchange.Conn{ID: 1, Trusted: ts.trusted, TLS: &state}, p)
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
		conns := ts.conns
		ts.mu.Unlock()
		for _, c := range conns {
			c.Abort()
		}
		ts.wg.Wait()
		tr.Close()
		pc.Close()
	})
	return ts
}

func (ts *testServer) reasons() string {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return strings.Join(ts.rejected, ",")
}

func clientTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "a.example", NextProtos: []string{"h3"}}
}

// client returns a real client on a connection of its own.
func (ts *testServer) client(t testing.TB) *http.Client {
	tr := &http3.Transport{TLSClientConfig: clientTLS(), DisableCompression: true, Dial: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
		return quic.DialAddr(ctx, ts.addr.String(), c, q)
	}}
	t.Cleanup(func() { tr.Close() })
	return &http.Client{Transport: tr, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// rawClient speaks frames.
type rawClient struct {
	*quic.Conn
	t       testing.TB
	ts      *testServer
	ctx     context.Context
	control *quic.SendStream
}

// connect connects and sends nothing.
func (ts *testServer) connect(t testing.TB) *rawClient {
	t.Helper()
	ctx, done := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(done)
	qc, err := quic.DialAddr(ctx, ts.addr.String(), clientTLS(), &quic.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { qc.CloseWithError(quic.ApplicationErrorCode(codeNo), "") })
	return &rawClient{Conn: qc, t: t, ts: ts, ctx: ctx}
}

// dial connects, and greets.
func (ts *testServer) dial(t testing.TB) *rawClient {
	t.Helper()
	r := ts.connect(t)
	r.control = r.uni(streamControl, appendFrame(nil, frameSettings, nil))
	return r
}

// uni opens a unidirectional stream.
func (r *rawClient) uni(kind uint64, b []byte) *quic.SendStream {
	r.t.Helper()
	s, err := r.OpenUniStreamSync(r.ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	s.Write(append(appendVarint(nil, kind), b...)) // what comes of it is looked at elsewhere
	return s
}

// request opens a request stream, writes b, and ends it.
func (r *rawClient) request(b []byte, end bool) *quic.Stream {
	r.t.Helper()
	s, err := r.OpenStreamSync(r.ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	s.Write(b) // as in uni
	if end {
		s.Close()
	}
	return s
}

// section encodes fields, "name: value" each, as quic-go does.
func section(list ...string) []byte {
	var b strings.Builder
	enc := qpack.NewEncoder(&b)
	for _, f := range list {
		i := strings.Index(f[1:], ":") + 1
		if err := enc.WriteField(qpack.HeaderField{Name: f[:i], Value: strings.TrimPrefix(f[i+1:], " ")}); err != nil {
			panic(err)
		}
	}
	if b.Len() == 0 {
		return []byte{0, 0}
	}
	return []byte(b.String())
}

func headers(list ...string) []byte { return appendFrame(nil, frameHeaders, section(list...)) }

func data(s string) []byte { return appendFrame(nil, frameData, []byte(s)) }

func join(parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// get is a plain request's fields, and more of them.
func get(more ...string) []string {
	return append([]string{":method: GET", ":scheme: https", ":path: /", ":authority: a.example"}, more...)
}

func post(more ...string) []string {
	return append([]string{":method: POST", ":scheme: https", ":path: /", ":authority: a.example"}, more...)
}

// response reads a response: "200 text", a status for each head, and fields of a
// trailer; "RESET code" if the stream was reset, "CLOSE code" if the connection was.
func response(s io.Reader) string {
	var b strings.Builder
	in := &reader{}
	in.start(s, make([]byte, 4096))
	for {
		kind, size, err := in.frame()
		if err == nil && kind == frameData {
			_, err = io.CopyN(&b, frameReader{in}, int64(size))
		} else if err == nil {
			p := make([]byte, size)
			if _, err = io.ReadFull(frameReader{in}, p); err == nil && kind == frameHeaders {
				b.WriteString(sectionText(p))
			}
		}
		if err == io.EOF {
			return strings.TrimSpace(b.String())
		}
		if err != nil {
			_, err = s.Read(make([]byte, 1)) // the cause
			return strings.TrimSpace(b.String() + ending(err))
		}
	}
}

// frameReader reads on where a frame's header ended.
type frameReader struct{ in *reader }

func (f frameReader) Read(p []byte) (int, error) { return f.in.payload(p, uint64(len(p))) }

func sectionText(p []byte) string {
	var b strings.Builder
	next := qpack.NewDecoder().Decode(p)
	for {
		f, err := next()
		if err == io.EOF {
			return b.String()
		}
		switch {
		case err != nil:
			return "bad section: " + err.Error()
		case f.Name == ":status":
			b.WriteString(f.Value + " ")
		case f.Name != "date" && f.Name != "content-length":
			b.WriteString(f.Name + "=" + f.Value + " ")
		}
	}
}

// ending says how a stream or connection ended.
func ending(err error) string {
	var reset *quic.StreamError
	var closed *quic.ApplicationError
	switch {
	case errors.As(err, &reset):
		return fmt.Sprintf("RESET %#x", uint64(reset.ErrorCode))
	case errors.As(err, &closed):
		return fmt.Sprintf("CLOSE %#x", uint64(closed.ErrorCode))
	}
	return fmt.Sprint("ended: ", err)
}

// closed waits for the connection's end.
func (r *rawClient) closed() string {
	select {
	case <-r.Context().Done():
		return ending(context.Cause(r.Context()))
	case <-r.ctx.Done():
		return "open"
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

// cancelled sends a request whose body does not end before ctx does.
func cancelled(ctx context.Context, client *http.Client) {
	pr, pw := io.Pipe()
	context.AfterFunc(ctx, func() { pw.CloseWithError(ctx.Err()) })
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://a.example/", pr)
	if err != nil {
		panic(err)
	}
	if resp, err := client.Do(req); err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}

// conn returns the server's side of the first connection.
func (ts *testServer) conn(t testing.TB) *Conn {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if all := ts.all(); len(all) > 0 {
			return all[0]
		}
	}
	t.Fatal("no connection")
	return nil
}

// all returns the server's side of the connections.
func (ts *testServer) all() []*Conn {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return slices.Clone(ts.conns)
}
