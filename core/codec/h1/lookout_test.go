package h1

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
)

// TestWatchOfMany: of more connections than are looked at in one go, each that goes is
// noticed and no other.
func TestWatchOfMany(t *testing.T) {
	const all, going = 2*lookMost + 1, 3
	var watched, gone, wrong atomic.Int64
	release := make(chan struct{})
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		left := make(chan struct{})
		stop := x.Client.Watch(func() {
			if string(x.Request.Path) != "/going" {
				wrong.Add(1)
			}
			gone.Add(1)
			close(left)
		})
		watched.Add(1)
		select {
		case <-left:
		case <-release:
		}
		stop()
		codectest.Answer(x, 200, string(x.Request.Path))
	})
	var stay, leave []net.Conn
	for i := range all {
		nc := ts.dial(t)
		path := fmt.Sprintf("/%d", i)
		if i%(all/going) == 0 && len(leave) < going {
			path = "/going"
			leave = append(leave, nc)
		} else {
			stay = append(stay, nc)
		}
		fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
	}
	wait := func(what string, n *atomic.Int64, want int64) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); n.Load() != want; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %d; want %d", what, n.Load(), want)
			}
		}
	}
	wait("watched", &watched, all)
	for _, nc := range leave {
		nc.Close()
	}
	wait("gone", &gone, going)
	close(release)
	for _, nc := range stay {
		until(t, nc, "200 OK")
	}
	if n := wrong.Load(); n > 0 || gone.Load() != going {
		t.Errorf("%d of %d were wrong", n, gone.Load())
	}
}
