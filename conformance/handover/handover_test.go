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
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"penstock.dev/penstock/conformance/harness"
)

// bed is a proxy that is replaced.
type bed struct {
	*harness.Proxy
	t       *testing.T
	pidFile string
}

// pid returns the number of the process that serves.
func (b *bed) pid() int {
	text, err := os.ReadFile(b.pidFile)
	if err != nil {
		b.t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

func (b *bed) signal(pid int, s syscall.Signal) {
	b.t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		b.t.Fatal(err)
	}
}

func start(t *testing.T, handler http.HandlerFunc) *bed {
	t.Helper()
	b := &bed{t: t, pidFile: filepath.Join(t.TempDir(), "pid")}
	b.Proxy = harness.Start(t, harness.Options{
		Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": harness.Service("a", "", harness.Upstream(t, handler))},
		Args:  []string{"--pid-file", b.pidFile, "--drain", "5s"},
	})
	b.Eventually("the file is there", func() bool {
		_, err := os.Stat(b.pidFile)
		return err == nil
	})
	first := b.pid()
	if first != b.Process.Pid {
		t.Fatalf("the file says %d; want %d", first, b.Process.Pid)
	}
	t.Cleanup(func() { // the harness knows the first process only
		if pid := b.pid(); pid != first {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	})
	return b
}

// TestHandover: no request fails, nor is a connection refused, while the process is
// replaced; what is in flight on the old one ends well.
func TestHandover(t *testing.T) {
	b := start(t, func(w http.ResponseWriter, r *http.Request) {
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
	ws, _, err := websocket.Dial(ctx, b.URL+"/a", nil)
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
				r, err := c.Get(b.URL + "/a")
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
		before := b.pid()
		slow := make(chan error, 1)
		go func() {
			r, err := http.Get(b.URL + "/a/slow")
			if err == nil {
				r.Body.Close()
				if r.StatusCode != http.StatusOK {
					err = fmt.Errorf("status %s", r.Status)
				}
			}
			slow <- err
		}()
		time.Sleep(200 * time.Millisecond) // it is under way
		b.signal(before, syscall.SIGUSR2)
		b.Eventually("another process serves", func() bool { return b.pid() != before })
		if err := <-slow; err != nil {
			t.Errorf("round %d: what was in flight failed: %v", round, err)
		}
		if round == 0 {
			if _, _, err := ws.Read(ctx); websocket.CloseStatus(err) != websocket.StatusGoingAway {
				t.Errorf("the WebSocket ended with %v; want 1001", err)
			}
		}
		b.Eventually("the process before ends", func() bool {
			state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", before))
			return err != nil || strings.Contains(string(state), ") Z ")
		})
	}
	close(stop)
	group.Wait()
	if sent.Load() < 100 || failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), sent.Load())
	}
	if !strings.Contains(b.Metrics(), "penstock_") {
		t.Error("the admin address was not handed over")
	}
}

// TestHandoverThatFails: the process goes on.
func TestHandoverThatFails(t *testing.T) {
	b := start(t, harness.Echo)
	moved := b.Dir + "-moved"
	if err := os.Rename(b.Dir, moved); err != nil { // a new process does not start without it
		t.Fatal(err)
	}
	b.signal(b.pid(), syscall.SIGUSR2)
	b.Eventually("the failure is told", func() bool { return strings.Contains(b.Log(), "handing over failed") })
	if err := os.Rename(moved, b.Dir); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		nc, err := net.Dial("tcp", strings.TrimPrefix(b.URL, "http://"))
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
	before := b.pid()
	b.signal(before, syscall.SIGUSR2)
	b.Eventually("the next one is taken over", func() bool { return b.pid() != before })
}
