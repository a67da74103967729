package h2

import (
	"io"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
)

// drain waits for the server's only connection and drains it.
func (ts *testServer) drain(t *testing.T) {
	t.Helper()
	for range 100 {
		ts.mu.Lock()
		conns := ts.conns
		ts.mu.Unlock()
		if len(conns) > 0 {
			conns[0].Drain()
			conns[0].Drain()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("no connection")
}

// goAway reads up to a GOAWAY; pings are answered if answer is set.
func (r *rawClient) goAway(answer bool) *http2.GoAwayFrame {
	r.t.Helper()
	for {
		f, err := r.ReadFrame()
		if err != nil {
			r.t.Fatalf("no GOAWAY: %v", err)
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			return f
		case *http2.PingFrame:
			if answer && !f.IsAck() {
				r.WritePing(true, f.Data)
			}
		}
	}
}

func TestDrain(t *testing.T) {
	for name, answers := range map[string]bool{"a client that answers pings": true, "a client that does not": false} {
		t.Run(name, func(t *testing.T) {
			entered, leave := make(chan struct{}), make(chan struct{})
			ts := newTestServer(t, params(), func(x *exchange.Exchange) {
				entered <- struct{}{}
				<-leave
				codectest.Answer(x, 200, "x")
			})
			r := ts.dial(t)
			r.headers(1, true, get()...)
			<-entered
			ts.drain(t)
			if g := r.goAway(answers); g.LastStreamID != 1<<31-1 || g.ErrCode != http2.ErrCodeNo {
				t.Errorf("first: %v", g)
			}
			r.headers(3, true, get()...) // was under way
			<-entered
			if g := r.goAway(answers); g.LastStreamID != 3 || g.ErrCode != http2.ErrCodeNo {
				t.Errorf("second: %v", g)
			}
			r.headers(5, false, post()...) // not served, and no mistake
			r.WriteData(5, true, []byte("x"))
			close(leave)
			done := 0
			for {
				f, err := r.ReadFrame()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				switch f := f.(type) {
				case *http2.DataFrame:
					if f.StreamEnded() {
						done++
					}
				case *http2.GoAwayFrame, *http2.RSTStreamFrame:
					t.Errorf("got %v", f)
				}
			}
			if done != 2 {
				t.Errorf("%d streams finished; want 2", done)
			}
		})
	}
}

func TestDrainOfAnIdleConnection(t *testing.T) {
	ts := newTestServer(t, params(), describe)
	r := ts.dial(t)
	r.headers(1, true, get()...)
	r.outcome(1)
	ts.drain(t)
	r.goAway(true)
	r.goAway(true)
	if _, err := r.ReadFrame(); err != io.EOF {
		t.Errorf("got %v; want the end", err)
	}
}

func TestDrainBeforeThePreface(t *testing.T) {
	ts := newTestServer(t, params(), describe)
	r := ts.connect(t)
	ts.drain(t)
	if got := r.outcome(1); got != "closed" {
		t.Errorf("got %s", got)
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	p := params()
	p.IdleTimeout = 150 * time.Millisecond
	ts := newTestServer(t, p, func(x *exchange.Exchange) {
		time.Sleep(400 * time.Millisecond) // is not idle
		codectest.Answer(x, 200, "")
	})
	r := ts.dial(t)
	go func() { // pings do not keep it
		for range 30 {
			if r.WriteRawFrame(framePing, 0, 0, make([]byte, 8)) != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	start := time.Now()
	if g := r.goAway(false); g.ErrCode != http2.ErrCodeNo || time.Since(start) > time.Second {
		t.Errorf("got %v after %v", g, time.Since(start))
	}
	busy := ts.dial(t)
	busy.headers(1, true, get()...)
	if got := busy.outcome(1); got != "200" {
		t.Errorf("got %s", got)
	}
}

func TestAbort(t *testing.T) {
	gone := make(chan struct{})
	entered := make(chan struct{})
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		close(entered)
		waitGone(x)
		close(gone)
	})
	r := ts.dial(t)
	r.headers(1, true, get()...)
	<-entered
	ts.mu.Lock()
	ts.conns[0].Abort()
	ts.mu.Unlock()
	<-gone
}
