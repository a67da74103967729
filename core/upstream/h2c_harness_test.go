package upstream

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
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
		config.OverlayOf(map[string]*config.EndpointSet{"u": endpointSet(addrs...)}))
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

// getOnce sends a GET of nobody's.
func getOnce(g *Group) error {
	x := &exchange.Exchange{Conn: &exchange.Conn{}, Client: ContextClient{Context: context.Background()}}
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
