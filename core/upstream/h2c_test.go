package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/codec/h2"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// realServer serves HTTP/2 in plain text with net/http, and counts connections.
type realServer struct {
	addr  netip.AddrPort
	conns atomic.Int32
	*http.Server
}

func newRealServer(t testing.TB, streams int, h http.HandlerFunc) *realServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &realServer{addr: ln.Addr().(*net.TCPAddr).AddrPort()}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	s.Server = &http.Server{
		Handler: h, Protocols: protocols, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: streams},
		ConnState: func(_ net.Conn, st http.ConnState) {
			if st == http.StateNew {
				s.conns.Add(1)
			}
		},
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.Serve(ln) })
	t.Cleanup(func() {
		s.Close()
		wg.Wait()
	})
	return s
}

// newH2Set is newSet with HTTP/2 to the upstream.
func newH2Set(t testing.TB, p *config.ProxyParameters, addrs ...netip.AddrPort) (*Set, *Group) {
	t.Helper()
	s := New(zap.NewNop(), telemetry.New(), NetDialer{})
	t.Cleanup(s.Close)
	s.Apply(map[string]*config.Upstream{"u": {Name: "u", Protocol: config.ProtocolH2C, Parameters: p}},
		map[string]*config.EndpointSet{"u": endpointSet(addrs...)})
	return s, s.Group("u")
}

// newH2Edge serves HTTP/2 to clients until the test ends.
func newH2Edge(t testing.TB, p *config.ProxyParameters, f *forward) (client *http.Client, addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := h2.NewServer(f, telemetry.New(), func(_ *exchange.Conn, _ int, reason string) { t.Log("the edge refuses", reason) })
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []*h2.Conn
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			c := s.NewConn(nc, &exchange.Conn{ID: 1}, p)
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(c.Serve)
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range conns {
			c.Abort()
		}
		mu.Unlock()
		wg.Wait()
	})
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols, DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return net.Dial("tcp", ln.Addr().String())
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}, ln.Addr().String()
}

// echo answers with what came, as it comes.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Got", fmt.Sprint(r.Method, " ", r.Host, " ", r.RequestURI, " ", r.Proto, " ", r.ContentLength, " te=", r.Header.Get("Te")))
	w.Header().Set("Trailer", "X-Sum, X-Sent")
	w.WriteHeader(200)
	w.(http.Flusher).Flush()
	n, err := io.Copy(flusher{w}, r.Body)
	w.Header().Set("X-Sum", fmt.Sprint(n, " ", err))
	w.Header().Set("X-Sent", r.Trailer.Get("X-Sent"))
}

// flusher flushes what it writes.
type flusher struct{ w http.ResponseWriter }

func (f flusher) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	f.w.(http.Flusher).Flush()
	return n, err
}

func TestHTTP2ToHTTP2(t *testing.T) {
	o := newRealServer(t, 0, echo)
	p := params()
	_, g := newH2Set(t, p, o.addr)
	c, _ := newH2Edge(t, p, &forward{group: func() *Group { return g }})
	big := strings.Repeat("0123456789abcdef", 1<<16)
	for i := range 3 {
		for _, content := range []string{"", "hello", big} {
			for _, known := range []bool{true, false} {
				var body io.Reader = strings.NewReader(content)
				if !known {
					body = io.MultiReader(body)
				}
				r, _ := http.NewRequest("POST", "http://a.example/x?y", body)
				r.Header.Set("TE", "trailers")
				r.Trailer = http.Header{"X-Sent": {"1"}}
				if known {
					r.Trailer = nil
				}
				resp, err := c.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				length := int64(len(content))
				if !known {
					length = -1
				}
				want := fmt.Sprint("POST a.example /x?y HTTP/2.0 ", length, " te=trailers")
				if err != nil || string(got) != content || resp.Header.Get("X-Got") != want || resp.Trailer.Get("X-Sum") != fmt.Sprint(len(content), " <nil>") || (resp.Trailer.Get("X-Sent") == "1") == known {
					t.Errorf("%d: %d bytes %v: got %d, %v, %q, trailer %v; want %q", i, len(content), known, len(got), err, resp.Header.Get("X-Got"), resp.Trailer, want)
				}
			}
		}
	}
	if n := o.conns.Load(); n != 1 {
		t.Errorf("%d connections; want 1", n)
	}
}

func TestHTTP1ToHTTP2(t *testing.T) {
	o := newRealServer(t, 0, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(204)
		case "/hints":
			w.Header().Set("Link", "x")
			w.WriteHeader(103)
			w.Header().Del("Link")
			w.Header().Set("Content-Length", "1")
			w.Write([]byte("x"))
		case "/length":
			w.Header().Set("Content-Length", "5")
			w.Write([]byte("hello"))
		default:
			echo(w, r)
		}
	})
	p := params()
	_, g := newH2Set(t, p, o.addr)
	e := newEdge(t, p, &forward{group: func() *Group { return g }})
	tests := map[string]struct{ request, want string }{
		"no content":        {"GET /204 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"},
		"an interim answer": {"GET /hints HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"},
		"a length":          {"GET /length HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"},
		"HEAD":              {"HEAD /length HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"},
		"chunks":            {"POST / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nTrailer: X-Sent\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sent: 1\r\n\r\n", "X-Got: POST a / HTTP/2.0 -1 te=|\r\n2\r\nhi\r\n0\r\nx-sent: 1\r\nx-sum: 2 <nil>\r\n\r\n"},
		"an upgrade":        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 501 Not Implemented\r\n|upgrade-refused"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := e.get(t, test.request)
			got = withoutDate(got)
			if err != nil {
				t.Fatal(err)
			}
			if parts := strings.Split(test.want, "|"); len(parts) == 2 {
				if !strings.Contains(strings.ToLower(got), strings.ToLower(parts[0])) || !strings.HasSuffix(got, parts[1]) {
					t.Errorf("got %q; want %q", got, test.want)
				}
			} else if got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// TestStreamsShareConnections: as few connections as the upstream's limit on
// streams allows, no more than MaxConnections, and who finds no place waits.
func TestStreamsShareConnections(t *testing.T) {
	tests := map[string]struct{ streams, exchanges, most, conns int }{
		"all on one":              {100, 64, 10, 1},
		"as many as are needed":   {10, 64, 10, 7},
		"not more than there may": {10, 64, 3, 3},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			var open, most atomic.Int32
			o := newRealServer(t, test.streams, func(w http.ResponseWriter, r *http.Request) {
				if n := open.Add(1); n > most.Load() {
					most.Store(n)
				}
				<-release
				open.Add(-1)
			})
			p := params()
			p.MaxConnections, p.ConnectTimeout, p.ResponseTimeout = test.most, 20*time.Second, 20*time.Second
			_, g := newH2Set(t, p, o.addr)
			var wg sync.WaitGroup
			var bad atomic.Int32
			for range test.exchanges {
				wg.Go(func() {
					if err := getOnce(g); err != nil {
						t.Error(err)
						bad.Add(1)
					}
				})
			}
			want := int32(min(test.exchanges, test.streams*test.most))
			for end := time.Now().Add(10 * time.Second); open.Load() < want && time.Now().Before(end); time.Sleep(time.Millisecond) {
			}
			if got := open.Load(); got != want {
				t.Errorf("%d exchanges at a time; want %d", got, want)
			}
			close(release)
			wg.Wait()
			if n := int(o.conns.Load()); n > test.conns {
				t.Errorf("%d connections; want %d", n, test.conns)
			}
		})
	}
}

// getOnce sends a GET of nobody's.
func getOnce(g *Group) error {
	x := &exchange.Exchange{Conn: &exchange.Conn{}, Client: callClient{context.Background()}}
	x.Request.Method, x.Request.Authority, x.Request.Path = []byte("GET"), []byte("a"), []byte("/")
	if err := g.Send(x, 0); err != nil {
		return err
	}
	if b := x.Response.Body; b != nil {
		defer b.Close()
		if _, err := io.Copy(io.Discard, b); err != nil {
			return err
		}
	}
	return nil
}

func TestOverflowWithStreams(t *testing.T) {
	release, asked := make(chan struct{}), make(chan struct{})
	o := newRealServer(t, 1, func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-release
	})
	defer close(release)
	p := params()
	p.MaxConnections, p.MaxPending, p.ConnectTimeout = 1, 1, 100*time.Millisecond
	_, g := newH2Set(t, p, o.addr)
	go getOnce(g)
	<-asked
	for range 3 {
		var e *exchange.Error
		if err := getOnce(g); !errors.As(err, &e) || e.Status != 503 || e.Reason != "overflow" {
			t.Errorf("got %v", e)
		}
	}
}

func TestDialFailuresReachAllWhoWait(t *testing.T) {
	p := params()
	_, g := newH2Set(t, p, closedPort(t))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			var e *exchange.Error
			if err := getOnce(g); !errors.As(err, &e) || e.Reason != "connect-refused" {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
}

// TestAGracefulEndLosesNothing: the upstream says goodbye again and again, and
// every exchange is answered.
func TestAGracefulEndLosesNothing(t *testing.T) {
	var o [2]*realServer
	var asked atomic.Int32
	for i := range o {
		o[i] = newRealServer(t, 0, func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1)%100 == 0 { // rarer than three tries take
				w.Header().Set("Connection", "close") // GOAWAY
			}
			io.WriteString(w, "hello")
		})
	}
	p := params()
	_, g := newH2Set(t, p, o[0].addr, o[1].addr)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if err := getOnce(g); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestAnEndpointThatLeavesFinishesItsStreams(t *testing.T) {
	release, asked := make(chan struct{}), make(chan struct{})
	o := newRealServer(t, 0, func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-release
		io.WriteString(w, "hello")
	})
	s, g := newH2Set(t, params(), o.addr)
	done := make(chan error, 1)
	go func() { done <- getOnce(g) }()
	<-asked
	e := g.current.Load().all[0]
	s.Apply(map[string]*config.Upstream{"u": g.config}, nil)
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		e.mu.Lock()
		links, slots := len(e.links), e.slots
		e.mu.Unlock()
		if links+slots == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections, %d slots", links, slots)
		}
	}
}

func TestIdleSharedConnectionsAreClosed(t *testing.T) {
	o := newRealServer(t, 0, func(http.ResponseWriter, *http.Request) {})
	p := params()
	p.IdleTimeout = 100 * time.Millisecond
	_, g := newH2Set(t, p, o.addr)
	if err := getOnce(g); err != nil {
		t.Fatal(err)
	}
	e := g.current.Load().all[0]
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		e.mu.Lock()
		links, slots, opening := len(e.links), e.slots, e.opening
		e.mu.Unlock()
		if links+slots+opening == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections, %d slots, %d being opened", links, slots, opening)
		}
	}
}

// TestAClientThatLeavesEndsItsStream: before the answer, and while the upstream
// is silent in the middle of it; to the client of either version.
func TestAClientThatLeavesEndsItsStream(t *testing.T) {
	for name, early := range map[string]bool{"before the answer": true, "in the answer": false} {
		t.Run(name, func(t *testing.T) {
			asked, gone := make(chan struct{}), make(chan struct{})
			o := newRealServer(t, 0, func(w http.ResponseWriter, r *http.Request) {
				if !early {
					w.WriteHeader(200)
					w.(http.Flusher).Flush()
				}
				close(asked)
				<-r.Context().Done()
				close(gone)
			})
			p := params()
			p.ResponseTimeout, p.IdleTimeout = time.Minute, time.Minute
			_, g := newH2Set(t, p, o.addr)
			c, _ := newH2Edge(t, p, &forward{group: func() *Group { return g }})
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				r, _ := http.NewRequestWithContext(ctx, "GET", "http://a/", nil)
				if resp, err := c.Do(r); err == nil {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}()
			<-asked
			cancel()
			select {
			case <-gone:
			case <-time.After(10 * time.Second):
				t.Fatal("the upstream's stream stayed open")
			}
			if o.conns.Load() != 1 {
				t.Errorf("%d connections", o.conns.Load())
			}
		})
	}
}

func TestASilentHTTP2Upstream(t *testing.T) {
	o := newRealServer(t, 0, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	_, g := newH2Set(t, params(), o.addr)
	for _, body := range []string{"", "x"} {
		x := &exchange.Exchange{Conn: &exchange.Conn{}, Client: callClient{context.Background()}}
		x.Request.Method, x.Request.Authority, x.Request.Path = []byte("POST"), []byte("a"), []byte("/")
		if body != "" {
			x.Request.Body, x.Request.ContentLength = exchange.NewBytes([]byte(body)), -1
		}
		if err := g.Send(x, 50*time.Millisecond); err == nil || err.Status != 504 || err.Reason != "response-timeout" {
			t.Errorf("got %v", err)
		}
	}
	if o.conns.Load() != 1 {
		t.Errorf("%d connections", o.conns.Load())
	}
}

// TestManyStreamsAtOnce: 64 exchanges at a time, bodies both ways, some given up.
func TestManyStreamsAtOnce(t *testing.T) {
	o := newRealServer(t, 100, echo)
	p := params()
	p.IdleTimeout, p.ResponseTimeout = 20*time.Second, 20*time.Second
	set, g := newH2Set(t, p, o.addr)
	c, _ := newH2Edge(t, p, &forward{group: func() *Group { return g }, silent: true})
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 12 {
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(8) == 0 {
					ctx, cancel = context.WithTimeout(ctx, rand.N(5*time.Millisecond))
				}
				sent := bytes.Repeat([]byte("y"), rand.IntN(100000))
				r, _ := http.NewRequestWithContext(ctx, "POST", "http://a.example/", io.MultiReader(bytes.NewReader(sent)))
				resp, err := c.Do(r)
				if err == nil {
					got, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if ctx.Err() == nil && (err != nil || !bytes.Equal(got, sent)) {
						t.Errorf("got %d of %d bytes, %v, %v", len(got), len(sent), err, resp.Status)
					}
				} else if ctx.Err() == nil {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if n := o.conns.Load(); n > 2 {
		t.Errorf("%d connections", n)
	}
	e := g.current.Load().all[0]
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		e.mu.Lock()
		busy, conns := 0, len(e.conns)
		for _, l := range e.links {
			busy += l.busy
		}
		e.mu.Unlock()
		if busy+conns == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d places taken, %d exchanges", busy, conns)
		}
	}
	_ = set
}

func TestACallOverHTTP2(t *testing.T) {
	o := newRealServer(t, 0, echo)
	p := config.DefaultProxyParameters()
	s := New(zap.NewNop(), telemetry.New(), NetDialer{})
	t.Cleanup(s.Close)
	s.Apply(map[string]*config.Upstream{"ns/auth:80": {Name: "ns/auth:80", Protocol: config.ProtocolH2C, Parameters: p}},
		map[string]*config.EndpointSet{"ns/auth:80": endpointSet(o.addr)})
	c := NewCaller(s, nil, p)
	t.Cleanup(c.Close)
	k := &Call{Namespace: "ns", Upstream: "auth", Method: []byte("POST"), Authority: []byte("auth"), Path: []byte("/c"), Body: []byte("hello")}
	k.Header.Add([]byte("trailer"), []byte("x-sent"))
	k.Trailer.Add([]byte("x-sent"), []byte("1"))
	answered := make(chan *Answer, 1)
	if _, err := c.Call(k, func(a *Answer, err error) {
		if err != nil {
			t.Error(err)
		}
		answered <- a
	}); err != nil {
		t.Fatal(err)
	}
	a := <-answered
	if a == nil {
		return
	}
	got, _ := a.Header.Get("x-got")
	sum, _ := a.Trailer.Get("x-sum")
	sent, _ := a.Trailer.Get("x-sent")
	if a.Status != 200 || string(a.Body) != "hello" || string(got) != "POST auth /c HTTP/2.0 -1 te=" || string(sum) != "5 <nil>" || string(sent) != "1" {
		t.Errorf("got %d %q %q %q %q", a.Status, a.Body, got, sum, sent)
	}
}

// TestAReplacedGroupKeepsItsTimeouts: nobody sweeps its connections any more.
func TestAReplacedGroupKeepsItsTimeouts(t *testing.T) {
	asked := make(chan struct{})
	o := newRealServer(t, 0, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	p := params()
	p.ResponseTimeout = 300 * time.Millisecond
	s, g := newH2Set(t, p, o.addr)
	answered := make(chan error, 1)
	go func() { answered <- getOnce(g) }()
	<-asked
	s.Apply(nil, nil)
	select {
	case err := <-answered:
		var e *exchange.Error
		if !errors.As(err, &e) || e.Reason != "response-timeout" {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it still waits")
	}
}

// TestAReplacedGroupLosesNothing: whoever still has it sends by the new one.
func TestAReplacedGroupLosesNothing(t *testing.T) {
	o := newRealServer(t, 0, func(http.ResponseWriter, *http.Request) {})
	s, g := newH2Set(t, params(), o.addr)
	for range 3 {
		s.Apply(map[string]*config.Upstream{"u": {Name: "u", Protocol: config.ProtocolH2C, Parameters: params()}}, map[string]*config.EndpointSet{"u": endpointSet(o.addr)})
		if err := getOnce(g); err != nil {
			t.Error(err)
		}
	}
	s.Apply(nil, nil)
	var e *exchange.Error
	if err := getOnce(g); !errors.As(err, &e) || e.Reason != "no-endpoint" {
		t.Errorf("got %v", err)
	}
}
