package h2

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
)

// priority sends a PRIORITY_UPDATE.
func (r *rawClient) priority(id uint32, value string) {
	r.WriteRawFrame(framePriorityUpdate, 0, 0, append(u32(id), value...))
}

// TestUrgentStreamsGoFirst: where both wait for the connection's window.
func TestUrgentStreamsGoFirst(t *testing.T) {
	p := params()
	p.IdleTimeout = 20 * time.Second
	ts := newTestServer(t, p, func(x *exchange.Exchange) { codectest.Answer(x, 200, strings.Repeat("x", 4<<20)) })
	tests := map[string]struct {
		first, second string // what the heads say
		update        func(r *rawClient)
		want          uint32 // stream that goes first
	}{
		"the second":                       {"u=5", "u=0, i", nil, 3},
		"the first":                        {"u=1", "u=7", nil, 1},
		"what is not told is 3":            {"", "u=2", nil, 3},
		"what is not told is 3, the first": {"", "u=4", nil, 1},
		"as told while they wait": {"u=0", "u=1", func(r *rawClient) {
			r.priority(1, "u=6")
			r.priority(3, "u=5")
		}, 3},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { urgentFirst(t, ts, test.first, test.second, test.update, test.want) })
	}
}

func urgentFirst(t *testing.T, ts *testServer, first, second string, update func(*rawClient), want uint32) {
	const step = 8 << 10 // less than is read of a body at a time
	r := ts.dial(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 4 << 20})
	read := func(n int) map[uint32]int {
		got := map[uint32]int{}
		for n > 0 {
			f, err := r.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if d, ok := f.(*http2.DataFrame); ok {
				got[d.StreamID] += len(d.Data())
				n -= len(d.Data())
			}
		}
		return got
	}
	waiting := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			ts.mu.Lock()
			c := ts.conns[len(ts.conns)-1]
			ts.mu.Unlock()
			c.mu.Lock()
			blocked := c.blocked
			c.mu.Unlock()
			if blocked == n {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d streams wait; want %d", blocked, n)
			}
		}
	}
	for i, value := range []string{first, second} {
		fields := get()
		if value != "" {
			fields = append(fields, "priority: "+value)
		}
		r.headers(uint32(2*i+1), true, fields...)
		if i == 0 {
			read(defaultWindow)
		}
		waiting(i + 1)
	}
	if update != nil {
		update(r)
		r.WritePing(false, [8]byte{})
		for { // then they were read
			f, err := r.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if f.Header().Type == http2.FramePing {
				break
			}
		}
	}
	for range 20 {
		waiting(2)
		r.WriteWindowUpdate(0, step)
		if got := read(step); got[want] != step {
			t.Fatalf("got %v; want %d of stream %d", got, step, want)
		}
	}
}

// TestPriorityUpdates: RFC 9218, 7.1.
func TestPriorityUpdates(t *testing.T) {
	tests := map[string]struct {
		do   func(r *rawClient)
		want string
	}{
		"of a stream that is idle":        {func(r *rawClient) { r.priority(1, "u=1") }, "1"},
		"before what the head says":       {func(r *rawClient) { r.priority(1, "u=7"); r.priority(1, "u=5, i") }, "5"},
		"of streams that are passed over": {func(r *rawClient) { r.priority(3, "u=1"); r.priority(5, "u=1") }, "2"},
		"that is malformed":               {func(r *rawClient) { r.priority(1, "u=9") }, "3"},
		"of a pushed stream":              {func(r *rawClient) { r.priority(2, "u=1") }, "2"},
		"none":                            {func(*rawClient) {}, "2"},
		"of more streams than there may be": {func(r *rawClient) {
			for i := range uint32(maxStreams + 1) {
				r.priority(2*i+1, "u=1")
			}
		}, "GOAWAY PROTOCOL_ERROR"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ts := newTestServer(t, params(), func(x *exchange.Exchange) {
				codectest.Answer(x, 200, fmt.Sprint(x.Client.(*stream).urgency))
			})
			r := ts.dial(t)
			test.do(r)
			r.headers(1, true, get("priority: u=2")...)
			if got := strings.TrimPrefix(r.outcome(1), "200 "); got != test.want {
				t.Errorf("got %s; want %s", got, test.want)
			}
			ts.mu.Lock()
			c := ts.conns[0]
			ts.mu.Unlock()
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, a := range c.announced {
				if a.id <= c.last {
					t.Errorf("%v is kept", a)
				}
			}
		})
	}
}
