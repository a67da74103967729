package h2

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"penstock.dev/penstock/core/exchange"
)

// TestHowStreamsAreGivenUp: what the upstream sees of it.
func TestHowStreamsAreGivenUp(t *testing.T) {
	tests := map[string]struct {
		answer func(r *rawClient, id uint32) // to the request's head
		do     func(u *testUp)
		want   string
	}{
		"the response is closed early": {func(r *rawClient, id uint32) {
			r.headers(id, false, ":status: 200")
			r.WriteData(id, false, []byte("hello"))
		}, func(u *testUp) {
			a := u.ask(newRequest("GET", nil, 0), 5*time.Second)
			if a.err != nil {
				u.t.Error(a.err)
				return
			}
			a.x.Response.Body.Close()
			a.x.Response.Body.Close()
			if n, err := a.x.Response.Body.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
				u.t.Errorf("read %d, %v", n, err)
			}
		}, "CANCEL"},
		"no answer in time": {func(*rawClient, uint32) {}, func(u *testUp) {
			if a := u.ask(newRequest("GET", nil, 0), 50*time.Millisecond); a.err != ErrTimeout {
				u.t.Error(a.err)
			}
		}, "CANCEL"},
		"no window in time": {func(*rawClient, uint32) {}, func(u *testUp) {
			if a := u.ask(newRequest("POST", exchange.NewBytes(make([]byte, 100000)), 100000), 0); a.err != ErrTimeout {
				u.t.Error(a.err)
			}
		}, "CANCEL"},
		"no content in time": {func(r *rawClient, id uint32) { r.headers(id, false, ":status: 200") }, func(u *testUp) {
			if got := u.ask(newRequest("GET", nil, 0), 5*time.Second).outcome(); got != "200  response-body-timeout" {
				u.t.Error(got)
			}
		}, "CANCEL"},
		"the request's content fails": {func(*rawClient, uint32) {}, func(u *testUp) {
			b := newCloser()
			b.Close()
			if a := u.ask(newRequest("POST", b, -1), 5*time.Second); !a.s.broke && a.err != ErrInterrupted {
				u.t.Error(a.err)
			}
		}, "CANCEL"},
		"the answer ends before the request": {func(r *rawClient, id uint32) { r.headers(id, true, ":status: 413") }, func(u *testUp) {
			if got := u.ask(newRequest("POST", newCloser(), -1), 5*time.Second).outcome(); got != "413" {
				u.t.Error(got)
			}
		}, "CANCEL"},
		"a mistake": {func(r *rawClient, id uint32) { r.headers(id, true, ":status: x") }, func(u *testUp) {
			u.ask(newRequest("GET", nil, 0), 5*time.Second)
		}, "PROTOCOL_ERROR"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := make(chan string, 1)
			p := params()
			p.IdleTimeout = 300 * time.Millisecond
			u := upstream(t, p, func(r *rawClient) {
				r.WriteSettings()
				for {
					f, err := r.ReadFrame()
					if err != nil {
						if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
							t.Log(err)
						}
						return
					}
					switch f := f.(type) {
					case *http2.MetaHeadersFrame:
						test.answer(r, f.StreamID)
					case *http2.RSTStreamFrame:
						seen <- f.ErrCode.String()
					case *http2.PingFrame:
						if !f.IsAck() {
							r.WritePing(true, f.Data)
						}
					}
				}
			})
			test.do(u)
			select {
			case got := <-seen:
				if got != test.want {
					t.Errorf("got %s; want %s", got, test.want)
				}
			case <-time.After(5 * time.Second):
				t.Error("the upstream was told nothing")
			}
		})
	}
}

func TestAStoppedRequestIsNoFault(t *testing.T) {
	u := upstream(t, params(), func(r *rawClient) {
		r.WriteSettings()
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := f.(*http2.MetaHeadersFrame); ok {
				r.headers(h.StreamID, false, ":status: 200")
				r.WriteData(h.StreamID, true, []byte("enough"))
				r.WriteRSTStream(h.StreamID, http2.ErrCodeNo)
			}
		}
	})
	for range 3 {
		if got := u.ask(newRequest("POST", newCloser(), -1), 5*time.Second).outcome(); got != "200 enough" {
			t.Errorf("got %q", got)
		}
	}
}

// TestSilence: an upstream that answers pings lives, at growing distances; one
// that does not has died.
func TestSilence(t *testing.T) {
	for name, answers := range map[string]bool{"it answers": true, "it does not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := params()
			p.IdleTimeout = 200 * time.Millisecond
			var mu sync.Mutex
			pings := 0
			u := upstream(t, p, func(r *rawClient) {
				r.WriteSettings()
				for {
					f, err := r.ReadFrame()
					if err != nil {
						return
					}
					if p, ok := f.(*http2.PingFrame); ok && !p.IsAck() {
						mu.Lock()
						pings++
						mu.Unlock()
						if answers {
							r.WritePing(true, p.Data)
						}
					}
				}
			})
			a := u.ask(newRequest("GET", nil, 0), 1200*time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			want, most := errSilent, 1
			if answers {
				want, most = ErrTimeout, 3
			}
			if a.err != want || pings < 1 || pings > most {
				t.Errorf("got %v after %d pings; want %v", a.err, pings, want)
			}
		})
	}
}

func TestAnIdleConnectionSaysGoodbye(t *testing.T) {
	p := params()
	p.IdleTimeout = 100 * time.Millisecond
	said := make(chan string, 1)
	u := upstream(t, p, func(r *rawClient) {
		defer close(said)
		r.WriteSettings()
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				r.headers(f.StreamID, true, ":status: 204")
			case *http2.GoAwayFrame:
				said <- f.ErrCode.String()
				return
			}
		}
	})
	if got := u.ask(newRequest("GET", nil, 0), 5*time.Second).outcome(); got != "204" {
		t.Errorf("got %q", got)
	}
	if got := <-said; got != "NO_ERROR" {
		t.Errorf("got %q", got)
	}
	<-u.ended
	if b := u.ask(newRequest("GET", nil, 0), time.Second); b.err != ErrStale {
		t.Errorf("afterwards: %v", b.err)
	}
}

// TestAStaleConnectionReadsNoBody: the request is for another one.
func TestAStaleConnectionReadsNoBody(t *testing.T) {
	u := upstream(t, params(), func(r *rawClient) {
		r.WriteGoAway(0, 0, nil)
	})
	u.Drain()
	body := exchange.NewBytes([]byte("hello"))
	s := u.NewStream(func(bool) {})
	if _, err := s.Write(newRequest("POST", body, 5), false); err != ErrStale || body.Buffered() != 5 {
		t.Errorf("%v, %d bytes left", err, body.Buffered())
	}
	s.Recycle()
}

func TestDrainOfAConnection(t *testing.T) {
	release := make(chan struct{})
	u := upstream(t, params(), answering(func(r *rawClient, id uint32) {
		r.headers(id, false, ":status: 200")
		<-release
		r.WriteData(id, true, []byte("hello"))
	}))
	a := u.ask(newRequest("GET", nil, 0), 5*time.Second)
	u.Drain()
	if b := u.ask(newRequest("GET", nil, 0), time.Second); b.err != ErrStale {
		t.Errorf("a new one: %v", b.err)
	}
	close(release)
	if got := a.outcome(); got != "200 hello" {
		t.Errorf("got %q", got)
	}
	<-u.ended
}
