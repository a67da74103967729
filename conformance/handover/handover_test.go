// Package handover replaces the running binary by a new process under traffic.
package handover

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"penstock.dev/penstock/conformance/harness"
)

func start(t *testing.T, handler http.HandlerFunc) *harness.Proxy {
	t.Helper()
	return harness.StartReplaceable(t, harness.Options{
		Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": harness.Service("a", "", harness.Upstream(t, handler))},
	})
}

// TestHandover: no request fails, nor is a connection refused, while the process is
// replaced; what is in flight on the old one ends well.
func TestHandover(t *testing.T) {
	p := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/a/slow" {
			time.Sleep(1500 * time.Millisecond)
		}
		if r.Header.Get("Upgrade") != "" {
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			for {
				kind, m, err := c.Read(r.Context())
				if err != nil || c.Write(r.Context(), kind, m) != nil {
					return
				}
			}
		}
		_, _ = io.WriteString(w, "ok")
	})
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, p.URL+"/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()

	var sent, failed atomic.Int64
	stop := make(chan struct{})
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			transport := &http.Transport{DisableKeepAlives: i%2 == 0}
			defer transport.CloseIdleConnections()
			c := &http.Client{Transport: transport, Timeout: 20 * time.Second}
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := c.Get(p.URL + "/a")
				if err == nil {
					var body []byte
					body, err = io.ReadAll(r.Body)
					r.Body.Close()
					if err == nil && (r.StatusCode != http.StatusOK || string(body) != "ok") {
						err = fmt.Errorf("%s %q", r.Status, body)
					}
				}
				sent.Add(1)
				if err != nil && failed.Add(1) < 5 {
					t.Errorf("a request failed: %v", err)
				}
			}
		})
	}

	for round := range 2 {
		slow := make(chan error, 1)
		go func() {
			r, err := http.Get(p.URL + "/a/slow")
			if err == nil {
				r.Body.Close()
				if r.StatusCode != http.StatusOK {
					err = fmt.Errorf("status %s", r.Status)
				}
			}
			slow <- err
		}()
		time.Sleep(200 * time.Millisecond) // it is under way
		before := p.Replace()
		if err := <-slow; err != nil {
			t.Errorf("round %d: what was in flight failed: %v", round, err)
		}
		if round == 0 {
			if _, _, err := ws.Read(ctx); websocket.CloseStatus(err) != websocket.StatusGoingAway {
				t.Errorf("the WebSocket ended with %v; want 1001", err)
			}
		}
		p.WaitEnd(before)
	}
	close(stop)
	group.Wait()
	if sent.Load() < 100 || failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), sent.Load())
	}
	if !strings.Contains(p.Metrics(), "penstock_") {
		t.Error("the admin address was not handed over")
	}
}

// TestHandoverThatFails: the process goes on.
func TestHandoverThatFails(t *testing.T) {
	p := start(t, harness.Echo)
	moved := p.Dir + "-moved"
	if err := os.Rename(p.Dir, moved); err != nil { // a new process does not start without it
		t.Fatal(err)
	}
	if err := p.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	p.Eventually("the failure is told", func() bool { return strings.Contains(p.Log(), "handing over failed") })
	if err := os.Rename(moved, p.Dir); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		nc, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(nc, "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		r, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("got %v, %v", r, err)
		}
		r.Body.Close()
		nc.Close()
	}
	p.Replace()
}
