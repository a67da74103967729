package h2

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
)

// TestClientsThatGiveUp: whatever clients do, afterwards every window is as it
// was, and no stream is left.
func TestClientsThatGiveUp(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		var copied sync.WaitGroup
		defer copied.Wait()
		if b := x.Request.Body; b != nil && len(x.Request.Path) > 2 {
			copied.Go(func() { io.CopyBuffer(io.Discard, b, make([]byte, 1000)) })
			defer b.Close()
		}
		stop := x.Client.Watch(func() {})
		time.Sleep(rand.N(2 * time.Millisecond))
		stop()
		codectest.Answer(x, 200, strings.Repeat("x", rand.IntN(100000)))
	})
	c := ts.client(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 40 {
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(8) == 0 { // within what a connection may do
					ctx, cancel = context.WithTimeout(ctx, rand.N(3*time.Millisecond))
				}
				var body io.Reader
				if rand.IntN(2) == 0 {
					body = strings.NewReader(strings.Repeat("y", rand.IntN(200000)))
				}
				r, _ := http.NewRequestWithContext(ctx, "POST", "http://a.example/"+strings.Repeat("z", rand.IntN(4)), body)
				r.Header.Set("Priority", "u="+strconv.Itoa(rand.IntN(8)))
				if resp, err := c.Do(r); err == nil {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, conn := range ts.conns {
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			conn.mu.Lock()
			open, serving, blocked, free := len(conn.streams), conn.serving, conn.blocked, conn.recvWindow+conn.owed
			pressing := conn.yielding
			for _, n := range conn.eager {
				pressing += n
			}
			conn.mu.Unlock()
			if open+serving+blocked+pressing == 0 && free == connWindow {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%d streams, %d handlers, %d blocked, %d pressing, window %d of %d; refused %v", open, serving, blocked, pressing, free, connWindow, ts.rejected)
				break
			}
		}
	}
	if len(ts.panics) > 0 {
		t.Error(ts.panics)
	}
}
