package h3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
)

// goAways reads the ids of the GOAWAYs that the server sends.
func (r *rawClient) goAways() <-chan uint64 {
	ids := make(chan uint64, 4)
	go func() {
		defer close(ids)
		s, err := r.AcceptUniStream(r.ctx)
		if err != nil {
			return
		}
		in := &reader{}
		in.start(s, make([]byte, 64))
		if kind, err := in.varint(); err != nil || kind != streamControl {
			return
		}
		for {
			kind, size, err := in.frame()
			if err != nil {
				return
			}
			if kind != frameGoAway {
				in.skip(size, func(int) error { return nil })
				continue
			}
			id, err := in.varint()
			if err != nil {
				return
			}
			ids <- id
		}
	}()
	return ids
}

// TestDrain: requests that were there are served, later ones rejected, and the
// connection closes without an error.
func TestDrain(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	p := params()
	p.IdleTimeout = time.Minute
	ts := newTestServer(t, p, func(x *exchange.Exchange) {
		if string(x.Request.Path) == "/slow" {
			close(begun)
			<-release
		}
		codectest.Answer(x, 200, "abc")
	})
	r := ts.dial(t)
	ids := r.goAways()
	slow := r.request(headers(":method: GET", ":scheme: https", ":path: /slow", ":authority: a.example"), true)
	<-begun
	ts.conn(t).Drain()
	ts.conn(t).Drain()
	if id := <-ids; id != 1<<62-4 {
		t.Errorf("first GOAWAY %d", id)
	}
	// What was sent before the client saw the GOAWAY is served.
	if got := response(r.request(headers(get()...), true)); got != "200 abc" {
		t.Errorf("between the two: got %q", got)
	}
	if id := <-ids; id != uint64(slow.StreamID())+8 {
		t.Errorf("second GOAWAY %d", id)
	}
	if got := response(r.request(headers(get()...), true)); got != "RESET 0x10b" {
		t.Errorf("after it: got %q", got)
	}
	close(release)
	if got := response(slow); got != "200 abc" {
		t.Errorf("the slow one: got %q", got)
	}
	if got := r.closed(); got != "CLOSE 0x100" {
		t.Errorf("got %s", got)
	}
	if got := ts.reasons(); got != "" {
		t.Errorf("refused: %s", got)
	}
}

func TestDrainOfAnIdleConnection(t *testing.T) {
	p := params()
	p.IdleTimeout = time.Minute
	ts := newTestServer(t, p, describe)
	r := ts.dial(t)
	r.settle()
	ts.conn(t).Drain()
	if got := r.closed(); got != "CLOSE 0x100" {
		t.Errorf("got %s", got)
	}
}

// TestIdle: a client that sends what asks for nothing does not keep a connection.
func TestIdle(t *testing.T) {
	p := params()
	p.IdleTimeout = time.Second
	ts := newTestServer(t, p, describe)
	r := ts.dial(t)
	r.settle()
	ids := r.goAways()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
				r.control.Write(appendFrame(nil, 0x21, nil))
			}
		}
	})
	if id := <-ids; id != 1<<62-4 {
		t.Errorf("GOAWAY %d", id)
	}
	if got := r.closed(); got != "CLOSE 0x100" {
		t.Errorf("got %s", got)
	}
	close(stop)
	wg.Wait()
}

func TestTimeouts(t *testing.T) {
	p := params()
	p.HeaderTimeout, p.IdleTimeout = 600*time.Millisecond, 600*time.Millisecond
	ts := newTestServer(t, p, func(x *exchange.Exchange) {
		if string(x.Request.Path) == "/large" {
			codectest.Answer(x, 200, strings.Repeat("x", 4<<20))
			return
		}
		_, err := io.Copy(io.Discard, x.Request.Body)
		var cause *exchange.Error
		if !errors.As(err, &cause) {
			panic(err)
		}
		codectest.Answer(x, cause.Status, err.Error())
	})
	keep := func(r *rawClient) { // QUIC's own idle timeout is not what is tested
		go func() {
			for r.Context().Err() == nil {
				r.control.Write(appendFrame(nil, 0x21, nil))
				time.Sleep(100 * time.Millisecond)
			}
		}()
	}
	r := ts.dial(t)
	keep(r)
	if got := response(r.request(headers(get()...)[:5], false)); got != "RESET 0x10d" {
		t.Errorf("half a head: got %q", got)
	}
	if got := response(r.request(join(headers(post()...), data("abc")), false)); !strings.HasPrefix(got, "408 request-body: client: request-body-timeout") {
		t.Errorf("half a body: got %q", got)
	}
	// A response that is not read.
	s := r.request(headers(":method: GET", ":scheme: https", ":path: /large", ":authority: a.example"), true)
	time.Sleep(1500 * time.Millisecond)
	if got := response(s); !strings.HasSuffix(got, "RESET 0x107") {
		t.Errorf("unread: got %d bytes, %q", len(got), got[max(0, len(got)-20):])
	}
}

// TestWatch: a client that gives up ends the wait for an upstream.
func TestWatch(t *testing.T) {
	begun, gone := make(chan struct{}), make(chan struct{})
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		if string(x.Request.Path) == "/" {
			codectest.Answer(x, 200, "abc")
			return
		}
		told := make(chan struct{})
		stop := x.Client.Watch(func() { close(told) })
		begun <- struct{}{}
		<-told
		stop()
		stop()
		gone <- struct{}{}
		if string(x.Request.Path) == "/answer" {
			if err := codectest.Answer(x, 200, "abc"); err == nil {
				t.Error("sent to nobody")
			}
		}
	})
	at := func(path string) []byte {
		return headers(":method: GET", ":scheme: https", ":path: "+path, ":authority: a.example")
	}
	for name, give := range map[string]func(*rawClient, *quic.Stream){
		"STOP_SENDING": func(_ *rawClient, s *quic.Stream) { s.CancelRead(quic.StreamErrorCode(codeRequestCancelled)) },
		"CLOSE":        func(r *rawClient, _ *quic.Stream) { r.CloseWithError(quic.ApplicationErrorCode(codeNo), "") },
	} {
		for _, path := range []string{"/answer", "/nothing"} {
			t.Run(name+path, func(t *testing.T) {
				r := ts.dial(t)
				s := r.request(at(path), true)
				<-begun
				give(r, s)
				<-gone
			})
		}
	}
	// A watch that is stopped tells nothing.
	ts2 := newTestServer(t, params(), func(x *exchange.Exchange) {
		var told atomic.Bool
		for range 3 {
			x.Client.Watch(func() { told.Store(true) })
		}
		stop := x.Client.Watch(func() { told.Store(true) })
		stop()
		codectest.Answer(x, 200, fmt.Sprint(told.Load()))
	})
	if got := response(ts2.dial(t).request(at("/"), true)); got != "200 false" {
		t.Errorf("got %q", got)
	}
}

// TestStopBody: a body that is read by another goroutine can be ended.
func TestStopBody(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		got := make(chan error)
		go func() {
			_, err := io.Copy(io.Discard, x.Request.Body)
			got <- err
		}()
		time.Sleep(10 * time.Millisecond)
		x.Client.(interface{ StopBody() }).StopBody()
		codectest.Answer(x, 200, (<-got).Error())
	})
	r := ts.dial(t)
	for range 5 {
		s := r.request(join(headers(post()...), data("abc")), false)
		if got := response(s); !strings.Contains(got, "request-body-closed") {
			t.Errorf("got %q", got)
		}
	}
}

// TestAPanicEndsTheConnection and is passed on.
func TestAPanicEndsTheConnection(t *testing.T) {
	ts := newTestServer(t, params(), func(*exchange.Exchange) { panic("told you") })
	r := ts.dial(t)
	r.request(headers(get()...), true)
	if got := r.closed(); got != "CLOSE 0x102" {
		t.Errorf("got %s", got)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		ts.mu.Lock()
		panics := ts.panics
		ts.mu.Unlock()
		if len(panics) == 1 && strings.Contains(fmt.Sprint(panics[0]), "told you") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %v", panics)
		}
	}
}

// TestFloods: what costs more to handle than to send ends the connection.
func TestFloods(t *testing.T) {
	tests := map[string]struct {
		do     func(r *rawClient) // until the connection has ended
		reason string
	}{
		"requests that are cancelled": {func(r *rawClient) {
			for r.Context().Err() == nil {
				s, err := r.OpenStreamSync(r.ctx)
				if err != nil {
					return
				}
				s.Write(headers(post()...))
				cancel(s, codeRequestCancelled)
			}
		}, "reset-flood"},
		"requests that are malformed": {func(r *rawClient) {
			for r.Context().Err() == nil {
				s, err := r.OpenStreamSync(r.ctx)
				if err != nil {
					return
				}
				s.Write(headers("a: b"))
				s.Close()
				response(s)
			}
		}, "reset-flood"},
		"unknown frames on the control stream": {func(r *rawClient) {
			for r.Context().Err() == nil {
				r.control.Write(bytes.Repeat([]byte{0x21, 0}, 500))
			}
		}, "control-flood"},
		"an unknown frame without end": {func(r *rawClient) {
			r.control.Write([]byte{0x21, 0xc0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
			for r.Context().Err() == nil {
				r.control.Write(make([]byte, 4096))
			}
		}, "control-flood"},
		"unknown frames on a request": {func(r *rawClient) {
			s := r.request(headers(post()...), false)
			for r.Context().Err() == nil {
				s.Write(bytes.Repeat([]byte{0x21, 0}, 500))
			}
		}, "control-flood"},
		"empty DATA": {func(r *rawClient) {
			s := r.request(headers(post()...), false)
			for r.Context().Err() == nil {
				s.Write(bytes.Repeat(data(""), 500))
			}
		}, "control-flood"},
		"instructions of QPACK": {func(r *rawClient) {
			s := r.uni(streamDecoder, nil)
			for r.Context().Err() == nil {
				s.Write(bytes.Repeat([]byte{0x41}, 500))
			}
		}, "control-flood"},
		"streams of unknown types": {func(r *rawClient) {
			for r.Context().Err() == nil {
				s, err := r.OpenUniStreamSync(r.ctx)
				if err != nil {
					return
				}
				s.Write([]byte{0x21})
				s.Close()
			}
		}, "control-flood"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ts := newTestServer(t, params(), describe)
			r := ts.dial(t)
			test.do(r)
			if got := r.closed(); got != "CLOSE 0x107" || !strings.HasSuffix(ts.reasons(), test.reason) {
				t.Errorf("got %s, told of %q", got, ts.reasons())
			}
		})
	}
}

// TestStreamsAreBounded: a client gets no more handlers than streams, even if it
// gives its requests up.
func TestStreamsAreBounded(t *testing.T) {
	var running, most atomic.Int64
	release := make(chan struct{})
	p := params()
	p.IdleTimeout = time.Minute
	ts := newTestServer(t, p, func(x *exchange.Exchange) {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-release
		codectest.Answer(x, 200, "")
	})
	r := ts.dial(t)
	for range maxStreams {
		s, err := r.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		s.Write(headers(get()...))
		s.Close()
	}
	for running.Load() < maxStreams {
		time.Sleep(time.Millisecond)
	}
	if _, err := r.OpenStream(); err == nil {
		t.Error("one stream more may be opened")
	}
	ctx, done := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer done()
	if s, err := r.OpenStreamSync(ctx); err == nil {
		t.Errorf("stream %d may be opened", s.StreamID())
	}
	close(release)
	if got := response(r.request(headers(get()...), true)); got != "200" {
		t.Errorf("then got %q", got)
	}
	if most.Load() > maxStreams {
		t.Errorf("%d handlers at once", most.Load())
	}
}

// TestMany: requests at once over several connections, some of which end.
func TestMany(t *testing.T) {
	p := params()
	p.HeaderTimeout, p.IdleTimeout = time.Minute, time.Minute
	ts := newTestServer(t, p, func(x *exchange.Exchange) {
		q := &x.Request
		p := &x.Response
		p.Status, p.Body, p.ContentLength = 200, q.Body, q.ContentLength
		if q.Body == nil {
			p.ContentLength = 0
		}
		x.Client.Send(x)
	})
	var wg sync.WaitGroup
	for i := range 3 {
		client := ts.client(t)
		for j := range 6 {
			wg.Go(func() {
				for k := range 10 {
					content := strings.Repeat(fmt.Sprint(i, j, k, " "), 1+k*k*40)
					if k%7 == 6 {
						ctx, done := context.WithCancel(t.Context())
						time.AfterFunc(time.Millisecond, done)
						cancelled(ctx, client)
						done()
						continue
					}
					resp, err := client.Post("https://a.example/", "", strings.NewReader(content))
					if got := slurp(t, resp, err); got != "200 "+content {
						t.Errorf("got %d bytes; want %d", len(got), len(content))
					}
				}
			})
		}
	}
	wg.Wait()
	for _, c := range ts.all() {
		c.Drain()
	}
	ended := make(chan struct{})
	go func() {
		for _, c := range ts.all() {
			<-c.qc.Context().Done()
		}
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("connections do not drain")
	}
}

// TestASlowAnswerOutlivesTheIdleTimeout of QUIC, though the client sends nothing.
func TestASlowAnswerOutlivesTheIdleTimeout(t *testing.T) {
	p := params()
	p.IdleTimeout = time.Second
	ts := newTestServer(t, p, func(x *exchange.Exchange) {
		time.Sleep(2500 * time.Millisecond)
		codectest.Answer(x, 200, "abc")
	})
	if got := response(ts.dial(t).request(headers(get()...), true)); got != "200 abc" {
		t.Errorf("got %q", got)
	}
}

// TestStopBodyWithoutABody leaves the next request, on the same stream object, alone.
func TestStopBodyWithoutABody(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		if x.Request.Body == nil {
			x.Client.(interface{ StopBody() }).StopBody()
			codectest.Answer(x, 200, "")
			return
		}
		content, err := io.ReadAll(x.Request.Body)
		if err != nil {
			content = []byte(err.Error())
		}
		codectest.Answer(x, 200, string(content))
	})
	r := ts.dial(t)
	for range 20 {
		if got := response(r.request(headers(get()...), true)); got != "200" {
			t.Errorf("got %q", got)
		}
	}
	if got := response(r.request(join(headers(post("x-read: 1")...), data("abc")), true)); got != "200 abc" {
		t.Errorf("got %q", got)
	}
}

// TestBlameEndsWithItsStream: the next request on the same memory, maybe another
// client's, does not pay for it.
func TestBlameEndsWithItsStream(t *testing.T) {
	ts := newTestServer(t, params(), func(*exchange.Exchange) {})
	s := newStream()
	s.blamed, s.finished, s.sent, s.whole = true, true, true, true
	ts.server.free(s)
	if s.blamed || s.finished || s.sent || s.whole {
		t.Error("a freed stream remembers its request")
	}
}
