package h2

import (
	"bufio"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bucket"
	"penstock.dev/penstock/core/internal/codectest"
)

// TestFloods: each ends with ENHANCE_YOUR_CALM, and the handler saw no more
// requests than a client of good will could have made in that time.
func TestFloods(t *testing.T) {
	const endless = 20000
	const straddling = 16 // one whose frames two reads got; each of them is one write
	raw := func(kind, flags uint8, id uint32, payload ...byte) func(*rawClient) {
		return func(r *rawClient) { r.WriteRawFrame(http2.FrameType(kind), http2.Flags(flags), id, payload) }
	}
	next := func(r *rawClient) uint32 {
		r.last += 2
		return r.last - 1
	}
	tests := map[string]struct {
		once   func(r *rawClient)
		again  func(r *rawClient)
		reason string
		most   int64 // requests that the handler may see
	}{
		"rapid reset": {nil, func(r *rawClient) {
			id := next(r)
			r.headers(id, true, get()...)
			r.WriteRSTStream(id, http2.ErrCodeCancel)
		}, "reset-flood", straddling},
		"streams that the server is made to reset": {nil, func(r *rawClient) {
			id := next(r)
			r.headers(id, false, post()...)
			r.WriteRawFrame(frameWindowUpdate, 0, id, u32(0))
		}, "reset-flood", straddling},
		"malformed requests":        {nil, func(r *rawClient) { r.headers(next(r), true, get("A: b")...) }, "reset-flood", 0},
		"requests that are refused": {nil, func(r *rawClient) { r.headers(next(r), true, post("expect: wonders")...) }, "reset-flood", 0},
		"empty HEADERS":             {nil, func(r *rawClient) { r.WriteRawFrame(frameHeaders, flagEndHeaders|flagEndStream, next(r), nil) }, "reset-flood", 0},
		"more streams than there may be": {nil, func(r *rawClient) { r.headers(next(r), true, get("x-wait: 1")...) },
			"reset-flood", maxStreams},
		"CONTINUATION without end": {func(r *rawClient) { raw(frameHeaders, 0, 1, r.block(get()...)...)(r) },
			raw(frameContinuation, 0, 1, 0x40, 1, 'a', 1, 'b'), "continuation-flood", 0},
		"empty CONTINUATION": {func(r *rawClient) { raw(frameHeaders, 0, 1, r.block(get()...)...)(r) },
			raw(frameContinuation, 0, 1), "continuation-flood", 0},
		"large CONTINUATION": {func(r *rawClient) { raw(frameHeaders, 0, 1, r.block(get()...)...)(r) },
			raw(frameContinuation, 0, 1, append([]byte{0x00, 1, 'a', 0x7f, 0x80, 0x7f}, make([]byte, 16000)...)...), "continuation-flood", 0},
		"empty DATA":               {func(r *rawClient) { r.headers(1, false, post()...) }, raw(frameData, 0, 1), "control-flood", 1},
		"DATA that is all padding": {func(r *rawClient) { r.headers(1, false, post()...) }, raw(frameData, flagPadded, 1, 1, 0), "control-flood", 1},
		"SETTINGS":                 {nil, raw(frameSettings, 0, 0), "control-flood", 0},
		"SETTINGS of many":         {nil, raw(frameSettings, 0, 0, make([]byte, 6000)...), "control-flood", 0},
		"SETTINGS ACK":             {nil, raw(frameSettings, flagAck, 0), "control-flood", 0},
		"PING":                     {nil, raw(framePing, 0, 0, make([]byte, 8)...), "control-flood", 0},
		"PING ACK":                 {nil, raw(framePing, flagAck, 0, make([]byte, 8)...), "control-flood", 0},
		"PRIORITY":                 {nil, raw(framePriority, 0, 7, 0, 0, 0, 1, 9), "control-flood", 0},
		"PRIORITY_UPDATE":          {nil, raw(framePriorityUpdate, 0, 0, 0, 0, 0, 1), "control-flood", 0},
		"WINDOW_UPDATE":            {nil, raw(frameWindowUpdate, 0, 0, 0, 0, 0, 1), "control-flood", 0},
		"WINDOW_UPDATE by single bytes": {func(r *rawClient) {
			r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			r.headers(1, true, get("x-big: 1")...)
		}, raw(frameWindowUpdate, 0, 1, 0, 0, 0, 1), "control-flood", 1},
		"unknown frames":    {nil, raw(0xbb, 0, 0), "control-flood", 0},
		"RST_STREAM of old": {func(r *rawClient) { r.headers(1, true, get()...) }, raw(frameRSTStream, 0, 1, 0, 0, 0, 8), "control-flood", 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var seen atomic.Int64
			p := params()
			p.IdleTimeout = 20 * time.Second
			ts := newTestServer(t, p, func(x *exchange.Exchange) {
				seen.Add(1)
				_, waits := x.Request.Header.Get("x-wait")
				if x.Request.Body != nil || waits {
					gone := make(chan struct{})
					stop := x.Client.Watch(func() { close(gone) })
					<-gone
					stop()
				}
				_, big := x.Request.Header.Get("x-big")
				codectest.Answer(x, 200, strings.Repeat("x", map[bool]int{true: 1 << 20}[big]))
			})
			r := ts.dial(t)
			answers := r.Framer
			w := bufio.NewWriterSize(r.nc, 64<<10)
			r.Framer = http2.NewFramer(w, nil)
			r.AllowIllegalWrites = true
			done := make(chan struct{})
			go func() {
				defer close(done)
				if test.once != nil {
					test.once(r)
				}
				for range endless {
					test.again(r)
					if w.Flush() != nil {
						return
					}
				}
			}()
			if got := (&rawClient{Framer: answers}).outcome(0); got != "GOAWAY ENHANCE_YOUR_CALM" {
				t.Errorf("got %s", got)
			}
			r.nc.Close()
			<-done
			if got := ts.reasons(); lastOf(got) != "400 "+test.reason {
				t.Errorf("got %s; want %s", lastOf(got), test.reason)
			}
			if n := seen.Load(); n > test.most {
				t.Errorf("the handler saw %d; want %d at most", n, test.most)
			}
		})
	}
}

func lastOf(list string) string {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] == ',' {
			return list[i+1:]
		}
	}
	return list
}

// TestLegitimateTrafficIsNoFlood: what busy clients do at speed.
func TestLegitimateTrafficIsNoFlood(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		if x.Request.Body != nil {
			io.Copy(io.Discard, x.Request.Body)
		}
		codectest.Answer(x, 200, string(make([]byte, 40000)))
	})
	r := ts.dial(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	for i := range uint32(1500) {
		id := 2*i + 1
		r.headers(id, true, get()...)
		for got := 0; got < 40000; { // each frame answered by two updates
			f, err := r.ReadFrame()
			if err != nil {
				t.Fatalf("after %d requests: %v (%s)", i, err, ts.reasons())
			}
			d, ok := f.(*http2.DataFrame)
			if !ok {
				if g, ok := f.(*http2.GoAwayFrame); ok {
					t.Fatalf("after %d requests: %v", i, g)
				}
				continue
			}
			got += len(d.Data())
			r.WriteWindowUpdate(0, uint32(len(d.Data())))
			if got < 40000 {
				r.WriteWindowUpdate(id, uint32(len(d.Data())))
			}
		}
	}
}

// TestResetsThatCompletedStreamsPayFor: a client that gives up one request in
// eight may do so for ever.
func TestResetsThatCompletedStreamsPayFor(t *testing.T) {
	b := bucket.New(resetBurst, resetPerSecond, time.Now())
	for i := range 100000 {
		if i%8 == 0 && !b.Take(resetCost) {
			t.Fatalf("stopped after %d streams", i)
		}
		b.Give(resetCredit)
	}
}

// TestAWindowThatOpensBySingleBytes: waiting for each byte makes it no cheaper.
func TestAWindowThatOpensBySingleBytes(t *testing.T) {
	p := params()
	p.IdleTimeout = time.Minute
	ts := newTestServer(t, p, func(x *exchange.Exchange) { codectest.Answer(x, 200, strings.Repeat("x", 1<<20)) })
	r := ts.dial(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	r.headers(1, true, get()...)
	got := 0
	for range 20000 {
		r.WriteWindowUpdate(1, 1)
		for more := true; more; {
			f, err := r.ReadFrame()
			if err != nil {
				t.Fatalf("after %d bytes: %v", got, err)
			}
			switch f := f.(type) {
			case *http2.DataFrame:
				got, more = got+len(f.Data()), false
			case *http2.GoAwayFrame:
				if f.ErrCode != http2.ErrCodeEnhanceYourCalm {
					t.Errorf("got %v", f)
				}
				return
			}
		}
	}
	t.Errorf("still served after %d bytes", got)
}

// TestResponsesThatNobodyReads: small responses wait as large ones do.
func TestResponsesThatNobodyReads(t *testing.T) {
	long := []byte(strings.Repeat("x", 1000))
	p := params()
	p.IdleTimeout = time.Minute
	ts := newTestServer(t, p, func(x *exchange.Exchange) {
		x.Response.Status = 204
		x.Response.Header.Add([]byte("x"), long)
		x.Client.Send(x)
	})
	r := ts.dial(t)
	r.nc.SetReadBuffer(4096)
	request := func(id uint32) {
		r.WriteRawFrame(frameHeaders, flagEndHeaders|flagEndStream, id, []byte{0x82, 0x86, 0x84, 1, 1, 'a'})
	}
	request(1)
	start := time.Now()
	var c *Conn
	for c == nil {
		ts.mu.Lock()
		if len(ts.conns) > 0 {
			c = ts.conns[0]
		}
		ts.mu.Unlock()
	}
	for i := range uint32(50000) {
		request(2*i + 3)
		for i%64 == 0 { // no faster than it is served
			c.mu.Lock()
			serving, size, seen := c.serving, len(c.out), c.last == 2*i+3
			c.mu.Unlock()
			if time.Since(start) > 5*time.Second {
				t.Fatalf("%d are served, %d bytes wait, the last was seen: %v; %s", serving, size, seen, ts.reasons())
			}
			if size > 2*outMost {
				t.Fatalf("%d bytes wait to be written", size)
			}
			if seen && serving > 32 && size >= outMost {
				return // they wait
			}
			if seen && serving <= 32 {
				break
			}
			runtime.Gosched()
		}
	}
	t.Error("all were answered", ts.reasons(), len(c.out))
}

func TestStreamsThatStallAreReset(t *testing.T) {
	p := params()
	p.IdleTimeout = 200 * time.Millisecond
	failed := make(chan error, 1)
	ts := newTestServer(t, p, func(x *exchange.Exchange) { failed <- codectest.Answer(x, 200, string(make([]byte, 100))) })
	r := ts.dial(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	r.headers(1, true, get()...)
	go func() { // a window that opens by single bytes is none
		for range 20 {
			time.Sleep(20 * time.Millisecond)
			r.WriteWindowUpdate(1, 1)
		}
	}()
	if got := r.outcome(1); len(got) < 4 || got[len(got)-4:] != "CALM" {
		t.Errorf("got %q", got)
	}
	if err := <-failed; err == nil {
		t.Error("Send said that it was sent")
	}
}

// TestADownloadIsNoFlood: the client tells of each 4 KiB, for stream and connection.
func TestADownloadIsNoFlood(t *testing.T) {
	const size = 16 << 20
	ts := newTestServer(t, params(), func(x *exchange.Exchange) { codectest.Answer(x, 200, strings.Repeat("x", size)) })
	r := ts.dial(t)
	r.headers(1, true, get()...)
	got := 0
	for untold := 0; got < size; {
		f, err := r.ReadFrame()
		if err != nil {
			t.Fatalf("%v after %d bytes; refused %s", err, got, ts.reasons())
		}
		d, ok := f.(*http2.DataFrame)
		if !ok {
			continue
		}
		got += len(d.Data())
		for untold += len(d.Data()); untold >= 4<<10; untold -= 4 << 10 {
			r.WriteWindowUpdate(0, 4<<10)
			r.WriteWindowUpdate(1, 4<<10)
		}
	}
}
