package http2

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// startTo runs the binary before a server that speaks both versions, and counts
// its connections.
func startTo(t *testing.T, protocol string) (p *harness.Proxy, file func(protocol string) string, conns *atomic.Int32) {
	t.Helper()
	conns = &atomic.Int32{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Got-Proto", r.Proto)
		w.Header().Set("Trailer", "X-Sum")
		harness.Echo(w, r)
		w.Header().Set("X-Sum", r.Trailer.Get("X-Sum")+"!")
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	file = func(protocol string) string {
		text := strings.Replace(harness.Service("a", "", s.Listener.Addr().(*net.TCPAddr).Port), "value: /a", "value: /", 1)
		return strings.Replace(text, "{name: http, port: 80,", "{name: http, appProtocol: "+protocol+", port: 80,", 1)
	}
	p = harness.Start(t, harness.Options{Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": file(protocol)}})
	return p, file, conns
}

// post sends content, and returns the version in which the upstream got it.
func post(ctx context.Context, c *http.Client, url string, content []byte) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, io.MultiReader(bytes.NewReader(content)))
	if err != nil {
		return "", err
	}
	r.Trailer = http.Header{"X-Sum": {"42"}}
	resp, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(got, content) || resp.Trailer.Get("X-Sum") != "42!" {
		return "", fmt.Errorf("%s, %d of %d bytes, trailer %v, %w", resp.Status, len(got), len(content), resp.Trailer, err)
	}
	return resp.Header.Get("X-Got-Proto"), nil
}

// TestHTTP2Upstream: clients of either version reach it over one connection.
func TestHTTP2Upstream(t *testing.T) {
	p, _, conns := startTo(t, "kubernetes.io/h2c")
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<15) // 512 KiB
	clients := map[string]*http.Client{"HTTP/1.1": {}, "HTTP/2": client(t)}
	for name, c := range clients {
		t.Run(name, func(t *testing.T) {
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					for range 5 {
						if proto, err := post(t.Context(), c, p.URL+"/x?y", content); err != nil || proto != "HTTP/2.0" {
							t.Errorf("%s, %v", proto, err)
						}
					}
				})
			}
			wg.Wait()
			c.CloseIdleConnections()
		})
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections; want 1", n)
	}
}

func TestNoUpgradeOverHTTP2(t *testing.T) {
	p, _, _ := startTo(t, "kubernetes.io/h2c")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotImplemented {
		t.Errorf("got %s; want 501", resp.Status)
	}
	p.Logged(`"upgrade-refused"`)
}

// TestTheProtocolChangesUnderTraffic: and no exchange is lost.
func TestTheProtocolChangesUnderTraffic(t *testing.T) {
	p, file, _ := startTo(t, "kubernetes.io/h2c")
	content := make([]byte, 8<<10) // more than Go's server says the length of: HTTP/1.1 has no trailer then
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		c := client(t)
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := post(t.Context(), c, p.URL+"/", content); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, step := range []struct{ protocol, want string }{{"http", "HTTP/1.1"}, {"grpc", "HTTP/2.0"}, {"http", "HTTP/1.1"}} {
		p.Write("a.yaml", file(step.protocol))
		p.Eventually("the upstream gets "+step.want, func() bool {
			proto, err := post(t.Context(), http.DefaultClient, p.URL+"/", content)
			if err != nil {
				t.Error(err)
			}
			return proto == step.want
		})
	}
	cancel()
	wg.Wait()
}
