package upstream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

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
		x := &exchange.Exchange{Conn: &exchange.Conn{}, Client: ContextClient{Context: context.Background()}}
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
		config.OverlayOf(map[string]*config.EndpointSet{"ns/auth:80": endpointSet(o.addr)}))
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
