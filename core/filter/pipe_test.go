package filter

import (
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// TestHeldHeadersSeeTheBody: a filter that holds headers sees the body before
// any later filter sees the headers.
func TestHeldHeadersSeeTheBody(t *testing.T) {
	hold := func(*call) (Verdict, error) { return Hold, nil }
	see := func(enough int) func(*call, *Buffer, bool) (Verdict, error) {
		return func(c *call, b *Buffer, end bool) (Verdict, error) {
			if len(b.Data) < enough && !end {
				return Pause, nil
			}
			c.note("body " + string(b.Data))
			return Continue, nil
		}
	}
	tests := map[string]struct {
		filters []*script
		calls   []string
		want    string
	}{
		"until it has seen enough": {
			[]*script{{name: "a", onReq: hold, onBody: see(4)}, {name: "b", onBody: upper}},
			[]string{"a request", "a body abcde", "b request", "a body f"}, "ABCDEF",
		},
		"to the end": {
			[]*script{{name: "a", onBody: upper}, {name: "b", onReq: hold, onBody: see(100)}, {name: "c"}},
			[]string{"a request", "b request", "b body ABCDEF", "c request"}, "ABCDEF",
		},
		"twice": {
			[]*script{{name: "a", onReq: hold, onBody: see(100)}, {name: "b", onReq: hold, onBody: see(2)}},
			[]string{"a request", "a body abcdef", "b request", "b body abcdef", "b body "}, "abcdef",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBed(config.Reject, test.filters...)
			b.x.Request.Body, b.x.Request.ContentLength = &slowBody{parts: []string{"abc", "de", "f"}}, -1
			if out := b.run.Request(b.chain, []byte("/")); out != Passed {
				t.Fatalf("got %v, %v; want passed", out, b.run.Err())
			}
			b.run.RequestBody()
			if got, err := io.ReadAll(b.x.Request.Body); string(got) != test.want || err != nil {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
			if !slices.Equal(b.trace, test.calls) {
				t.Errorf("got calls %q; want %q", b.trace, test.calls)
			}
			b.run.Done()
		})
	}
}

func TestHeldResponseHeadersSeeTheBody(t *testing.T) {
	last := &script{name: "b", onResp: func(*call) (Verdict, error) { return Hold, nil }}
	last.onRBody = func(c *call, b *Buffer, end bool) (Verdict, error) {
		if !end {
			return Pause, nil
		}
		c.x.Response.Status = 500 + len(b.Data)
		return Continue, nil
	}
	b := newBed(config.Reject, &script{name: "a", onRBody: upper}, last)
	b.run.Request(b.chain, []byte("/"))
	b.x.Response.Status, b.x.Response.Body, b.x.Response.ContentLength = 200, &slowBody{parts: []string{"abc", "de"}}, -1
	if b.run.Response() != Passed || b.run.ResponseBody() != Passed || b.x.Response.Status != 505 {
		t.Errorf("got %d, %v; want 505", b.x.Response.Status, b.run.Err())
	}
	if got, err := io.ReadAll(b.x.Response.Body); string(got) != "ABCDE" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	b.want(t, "a request", "b request", "b response", "a response", "b done", "a done")
}

// stalled gives its first part, then waits until it is closed or fed.
type stalled struct {
	first string
	more  chan string
}

func (s *stalled) Read(p []byte) (int, error) {
	if s.first != "" {
		n := copy(p, s.first)
		s.first = s.first[n:]
		return n, nil
	}
	text, ok := <-s.more
	if !ok {
		return 0, io.EOF
	}
	return copy(p, text), nil
}
func (s *stalled) Buffered() int { return len(s.first) }
func (s *stalled) Close()        { close(s.more) }

// TestASignalReachesAHeldBody: the client sends no more for now, and whoever
// holds what came lets it go.
func TestASignalReachesAHeldBody(t *testing.T) {
	pause := func(*call, *Buffer, bool) (Verdict, error) { return Pause, nil }
	tests := map[string]struct {
		onReq  func(*call) (Verdict, error)
		signal Signal
		want   Outcome
	}{
		"headers and body": {func(*call) (Verdict, error) { return Hold, nil }, ResumeRequest, Passed},
		"body":             {nil, ResumeRequest, Passed},
		"answered":         {func(*call) (Verdict, error) { return Hold, nil }, Answer, Answered},
		"aborted":          {func(*call) (Verdict, error) { return Hold, nil }, Abort, Failed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var w *Waker
				b := newBed(config.Reject, &script{name: "a", onReq: func(c *call) (Verdict, error) {
					w = c.w
					if test.onReq == nil {
						return Continue, nil
					}
					return test.onReq(c)
				}, onBody: pause}, &script{name: "b"})
				body := &stalled{first: "abc", more: make(chan string)}
				b.x.Request.Body, b.x.Request.ContentLength = body, -1
				got := make(chan string)
				go func() {
					out := b.run.Request(b.chain, []byte("/"))
					if out == Passed {
						out = b.run.RequestBody()
					}
					if out != test.want {
						t.Errorf("got %v, %v; want %v", out, b.run.Err(), test.want)
					}
					if out == Passed {
						var part [10]byte
						n, _ := b.x.Request.Body.Read(part[:])
						got <- string(part[:n])
					}
					b.run.Done()
					close(got)
				}()
				synctest.Wait()
				w.Post(test.signal)
				if part := <-got; test.want == Passed && part != "abc" {
					t.Errorf("got %q; want what was held", part)
				}
				for range got {
				}
			})
		})
	}
}

// taker is a filter that takes bodies.
type taker struct {
	script
	read int
	made string // in place of the body
}

func (k *taker) Callbacks() Callbacks { return OnRequestHeaders | OnResponseHeaders | TakesBodies }

func (k *taker) Begin(x *exchange.Exchange, w *Waker) (Stream, error) {
	return &takerStream{call{&k.script, x, w}, k}, nil
}

type takerStream struct {
	call
	k *taker
}

func (s *takerStream) RequestHeaders(end bool) (Verdict, error) {
	return s.take(&s.x.Request.Body, &s.x.Request.ContentLength)
}

func (s *takerStream) ResponseHeaders(end bool) (Verdict, error) {
	return s.take(&s.x.Response.Body, &s.x.Response.ContentLength)
}

func (s *takerStream) take(body *exchange.Body, length *int64) (Verdict, error) {
	text := make([]byte, s.k.read)
	n, err := io.ReadFull(struct{ io.Reader }{*body}, text)
	s.note("took " + string(text[:n]))
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return Continue, err
	}
	if s.k.made != "" {
		*body, *length = exchange.NewBytes([]byte(s.k.made)), int64(len(s.k.made))
	}
	return Continue, nil
}

func TestAFilterThatTakesBodies(t *testing.T) {
	tests := map[string]struct {
		read   int
		made   string
		took   string
		want   string
		length int64
	}{
		"in part":         {2, "", "took AB", "CDEF!!!", -1},
		"and replaces it": {2, "new", "took AB", "new!!!", -1},
		"not at all":      {0, "", "took ", "ABCDEF!!!", -1},
		"whole":           {100, "x", "took ABCDEF", "x!!!", -1},
	}
	after := func(_ *call, b *Buffer, end bool) (Verdict, error) {
		if end {
			b.Data = append(b.Data, "!!!"...)
		}
		return Continue, nil
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			k := &taker{script: script{name: "k"}, read: test.read, made: test.made}
			b := newBed(config.Reject, &script{name: "a", onBody: upper, onRBody: after}, k.entry(), &script{name: "z", onBody: after, onRBody: upper})
			k.trace = &b.trace
			b.chain.entries[1].Filter = k
			b.x.Request.Body, b.x.Request.ContentLength = &slowBody{parts: []string{"abc", "de", "f"}}, -1
			if b.run.Request(b.chain, []byte("/")) != Passed || b.run.RequestBody() != Passed {
				t.Fatal(b.run.Err())
			}
			if got, err := io.ReadAll(b.x.Request.Body); string(got) != test.want || err != nil {
				t.Errorf("request: got %q, %v; want %q", got, err, test.want)
			}
			b.x.Response.Body, b.x.Response.ContentLength = &slowBody{parts: []string{"abc", "de", "f"}}, -1
			if b.run.Response() != Passed || b.run.ResponseBody() != Passed {
				t.Fatal(b.run.Err())
			}
			if got, err := io.ReadAll(b.x.Response.Body); string(got) != test.want || err != nil {
				t.Errorf("response: got %q, %v; want %q", got, err, test.want)
			}
			b.want(t, "a request", "k "+test.took, "z request", "z response", "k "+test.took, "a response", "z done", "k done", "a done")
		})
	}
}

func (k *taker) entry() *script { return &k.script }

// TestWhatATakerReadsMayFail: the failure of a filter before it is the
// exchange's, not the taker's.
func TestWhatATakerReadsMayFail(t *testing.T) {
	k := &taker{script: script{name: "k"}, read: 100}
	long := strings.Repeat("x", 40<<10)
	b := newBed(config.Reject, &script{name: "a", onBody: func(*call, *Buffer, bool) (Verdict, error) { return Pause, nil }}, k.entry())
	k.trace = &b.trace
	b.chain.entries[1].Filter = k
	b.x.Request.Body, b.x.Request.ContentLength = &slowBody{parts: []string{long, long, long}}, -1
	if out := b.run.Request(b.chain, []byte("/")); out != Failed || b.run.Err().Status != 413 {
		t.Errorf("got %v, %v; want 413", out, b.run.Err())
	}
	b.run.Done()
}

func TestAFilterPassesPartsOnWhileItPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *Waker
		parts := 0
		b := newBed(config.Reject, &script{name: "a", onRBody: upper}, &script{name: "b", onResp: func(c *call) (Verdict, error) { w = c.w; return Continue, nil },
			onRBody: func(_ *call, b *Buffer, end bool) (Verdict, error) {
				parts++
				b.Through, b.Data = append(b.Through, 'x'), nil
				return Pause, nil
			}})
		b.run.Request(b.chain, []byte("/"))
		b.x.Response.Body, b.x.Response.ContentLength = &slowBody{parts: []string{"abc", "de"}}, -1
		b.run.Response()
		b.run.ResponseBody()
		go func() {
			synctest.Wait() // for the reader, who waits for the end
			w.Post(ResumeResponse)
		}()
		if got, err := io.ReadAll(b.x.Response.Body); string(got) != "XXX" || err != nil || parts != 3 {
			t.Errorf("got %q, %v after %d parts; want XXX", got, err, parts)
		}
		b.run.Done()
	})
}

func TestStopEndsAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(config.Reject, &script{name: "a", onBody: func(*call, *Buffer, bool) (Verdict, error) { return Pause, nil }})
		b.x.Request.Body, b.x.Request.ContentLength = &slowBody{parts: []string{"abc"}}, -1
		b.run.Request(b.chain, []byte("/"))
		b.run.RequestBody()
		b.run.Sending()
		go func() {
			synctest.Wait()
			b.x.Request.Body.(interface{ Stop() }).Stop()
		}()
		if _, err := io.ReadAll(b.x.Request.Body); err == nil || b.run.Err().Reason != "client-gone" {
			t.Errorf("got %v, %v; want client-gone", err, b.run.Err())
		}
		b.run.Done()
	})
}

// TestStopEndsNoWaitOfTheResponse: the upstream has answered before it had all of
// the request.
func TestStopEndsNoWaitOfTheResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *Waker
		b := newBed(config.Reject, &script{name: "a",
			onBody: func(*call, *Buffer, bool) (Verdict, error) { return Continue, nil },
			onResp: func(c *call) (Verdict, error) { w = c.w; return Pause, nil },
		})
		b.x.Request.Body, b.x.Request.ContentLength = &slowBody{parts: []string{"abc"}}, -1
		b.run.Request(b.chain, []byte("/"))
		b.run.RequestBody()
		b.run.Sending()
		b.x.Request.Body.(interface{ Stop() }).Stop()
		go func() {
			synctest.Wait()
			w.Post(ResumeResponse)
		}()
		if out := b.run.Response(); out != Passed {
			t.Errorf("got %v, %v; want passed", out, b.run.Err())
		}
		b.run.Done()
	})
}
