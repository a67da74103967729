package filter

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// script is a filter that does as its functions say, and notes what is called.
type script struct {
	name     string
	trace    *[]string
	onReq    func(*call) (Verdict, error)
	onResp   func(*call) (Verdict, error)
	onBody   func(*call, *Buffer, bool) (Verdict, error)
	onRBody  func(*call, *Buffer, bool) (Verdict, error)
	beginErr error
	trailers bool
	// onTrailers is called for those of the request.
	onTrailers func(*call) (Verdict, error)
}

type call struct {
	*script
	x *exchange.Exchange
	w *Waker
}

func (s *script) Callbacks() Callbacks {
	c := OnRequestHeaders | OnResponseHeaders
	if s.onBody != nil {
		c |= OnRequestBody
	}
	if s.onRBody != nil {
		c |= OnResponseBody
	}
	if s.trailers {
		c |= OnRequestTrailers | OnResponseTrailers
	}
	return c
}

func (s *script) Begin(x *exchange.Exchange, w *Waker) (Stream, error) {
	if s.beginErr != nil {
		return nil, s.beginErr
	}
	return &call{s, x, w}, nil
}

func (c *call) note(what string) { *c.trace = append(*c.trace, c.name+" "+what) }

func (c *call) RequestHeaders(bool) (Verdict, error) {
	c.note("request")
	if c.onReq != nil {
		return c.onReq(c)
	}
	return Continue, nil
}

func (c *call) ResponseHeaders(bool) (Verdict, error) {
	c.note("response")
	if c.onResp != nil {
		return c.onResp(c)
	}
	return Continue, nil
}

func (c *call) RequestBody(b *Buffer, end bool) (Verdict, error)  { return c.onBody(c, b, end) }
func (c *call) ResponseBody(b *Buffer, end bool) (Verdict, error) { return c.onRBody(c, b, end) }
func (c *call) RequestTrailers() (Verdict, error) {
	c.note("request trailers")
	if c.onTrailers != nil {
		return c.onTrailers(c)
	}
	return Continue, nil
}

func (c *call) ResponseTrailers() (Verdict, error) { c.note("response trailers"); return Continue, nil }
func (c *call) Done()                              { c.note("done") }
func (c *call) Answer() bool {
	c.x.Local.Status, c.x.Local.Body = 403, []byte("late")
	return true
}

// client is the client's side; gone is set while somebody watches.
type client struct{ gone func() }

func (*client) Inform(*exchange.Exchange, int, *exchange.Header) error { return nil }
func (*client) Send(*exchange.Exchange) error                          { return nil }
func (c *client) Watch(gone func()) func()                             { c.gone = gone; return func() {} }

// slowBody gives its parts one at a time.
type slowBody struct {
	parts   []string
	trailer func()
}

func (s *slowBody) Read(p []byte) (int, error) {
	if len(s.parts) == 0 {
		if s.trailer != nil {
			s.trailer()
		}
		return 0, io.EOF
	}
	n := copy(p, s.parts[0])
	if s.parts[0] = s.parts[0][n:]; s.parts[0] == "" {
		s.parts = s.parts[1:]
	}
	return n, nil
}
func (s *slowBody) Buffered() int { return 0 }
func (s *slowBody) Close()        {}

type bed struct {
	run   Run
	x     *exchange.Exchange
	c     *client
	trace []string
	chain *Chain
}

func newBed(onError config.OnError, scripts ...*script) *bed {
	b := &bed{c: &client{}}
	b.x = &exchange.Exchange{Client: b.c}
	b.x.Request.Method = []byte("GET")
	failures := telemetry.New().Counters("penstock_test_failures_total", "test", "name")
	var entries []Entry
	for _, s := range scripts {
		s.trace = &b.trace
		entries = append(entries, Entry{Filter: s, ID: "service/" + s.name, OnError: onError, BodyBytes: 64 << 10, Failures: failures.With(s.name)})
	}
	b.chain = New(entries)
	b.run.Start(b.x)
	b.run.Wait(time.Second)
	return b
}

func (b *bed) want(t *testing.T, calls ...string) {
	t.Helper()
	b.run.Done()
	if !slices.Equal(b.trace, calls) {
		t.Errorf("got calls\n  %s\nwant\n  %s", strings.Join(b.trace, "\n  "), strings.Join(calls, "\n  "))
	}
}

func answer(status int) func(*call) (Verdict, error) {
	return func(c *call) (Verdict, error) {
		c.x.Local.Status, c.x.Local.Body = status, []byte("no")
		return Respond, nil
	}
}

func TestRequestAndResponseGoOppositeWays(t *testing.T) {
	b := newBed(config.Reject, &script{name: "a"}, &script{name: "b"})
	if b.run.Request(b.chain, []byte("/")) != Passed || b.run.Response() != Passed {
		t.Error("want passed")
	}
	b.want(t, "a request", "b request", "b response", "a response", "b done", "a done")
}

func TestOnlyFiltersUpToTheAnswerSeeIt(t *testing.T) {
	b := newBed(config.Reject, &script{name: "a"}, &script{name: "b", onReq: answer(401)}, &script{name: "c"})
	if got := b.run.Request(b.chain, []byte("/")); got != Answered {
		t.Fatalf("got %v; want Answered", got)
	}
	b.run.Response()
	if b.x.Response.Status != 401 || b.x.AnsweredBy != "service/b" || b.x.Response.ContentLength != 2 {
		t.Errorf("got %d by %q, %d bytes; want 401 by service/b, 2 bytes", b.x.Response.Status, b.x.AnsweredBy, b.x.Response.ContentLength)
	}
	b.want(t, "a request", "b request", "b response", "a response", "b done", "a done")
}

func TestAnswerToAResponseIsSeenByEarlierFilters(t *testing.T) {
	b := newBed(config.Reject, &script{name: "a"}, &script{name: "b", onResp: answer(502)}, &script{name: "c"})
	b.run.Request(b.chain, []byte("/"))
	b.x.Response.Status = 200
	if b.run.Response() != Passed || b.x.Response.Status != 502 {
		t.Errorf("got %d; want 502", b.x.Response.Status)
	}
	b.want(t, "a request", "b request", "c request", "c response", "b response", "a response", "c done", "b done", "a done")
}

func TestFailureFollowsOnError(t *testing.T) {
	trap := func(*call) (Verdict, error) { return Continue, &Error{Cause: "trap", Err: errors.New("unreachable")} }
	b := newBed(config.Reject, &script{name: "a"}, &script{name: "b", onReq: trap}, &script{name: "c"})
	if b.run.Request(b.chain, []byte("/")) != Failed || b.run.Err().Status != 500 || b.run.Err().Reason != "plugin-trap" {
		t.Errorf("got %v; want plugin-trap, 500", b.run.Err())
	}
	b.run.Response()
	b.want(t, "a request", "b request", "a response", "b done", "a done")

	b = newBed(config.Skip, &script{name: "a", beginErr: &Error{Cause: "unavailable", Err: errors.New("back-off")}}, &script{name: "b", onReq: trap}, &script{name: "c"})
	if b.run.Request(b.chain, []byte("/")) != Passed {
		t.Errorf("got %v; want both left out", b.run.Err())
	}
	b.run.Response()
	b.want(t, "b request", "c request", "c response", "c done", "b done")
}

func TestExceptionsSkip(t *testing.T) {
	b := newBed(config.Reject, &script{name: "a"})
	b.chain.entries[0].Except = []config.Match{{PathType: config.PathPrefix, Path: "/healthz", Method: "GET"}}
	b.run.Request(b.chain, []byte("/healthz/live"))
	b.run.Response()
	b.want(t)
}

func TestPauseWaitsForASignal(t *testing.T) {
	pause := func(*call) (Verdict, error) { return Pause, nil }
	tests := map[string]struct {
		then func(b *bed, w *Waker)
		want Outcome
		err  string
	}{
		"resume":                {func(_ *bed, w *Waker) { w.Post(ResumeRequest) }, Passed, ""},
		"another way's resume":  {func(_ *bed, w *Waker) { w.Post(ResumeResponse) }, Failed, "plugin-wait"},
		"a late answer":         {func(_ *bed, w *Waker) { w.Post(Answer) }, Answered, ""},
		"abort":                 {func(_ *bed, w *Waker) { w.Post(Abort) }, Failed, "plugin-reset"},
		"the instance died":     {func(_ *bed, w *Waker) { w.Post(Fail) }, Failed, "plugin-trap"},
		"nothing":               {func(*bed, *Waker) {}, Failed, "plugin-wait"},
		"the client went away":  {func(b *bed, _ *Waker) { b.c.gone() }, Failed, "client-gone"},
		"abort wins over other": {func(_ *bed, w *Waker) { w.Post(ResumeRequest); w.Post(Abort) }, Failed, "plugin-reset"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				waker := make(chan *Waker, 1)
				b := newBed(config.Reject, &script{name: "a", onReq: func(c *call) (Verdict, error) { waker <- c.w; return pause(c) }})
				got := make(chan Outcome)
				go func() { got <- b.run.Request(b.chain, []byte("/")) }()
				w := <-waker
				synctest.Wait()
				test.then(b, w)
				if out := <-got; out != test.want {
					t.Errorf("got %v; want %v", out, test.want)
				}
				if err := b.run.Err(); test.err != "" && (err == nil || err.Reason != test.err) {
					t.Errorf("got %v; want %s", err, test.err)
				}
			})
		})
	}
}

func upper(_ *call, b *Buffer, _ bool) (Verdict, error) {
	b.Data = bytes.ToUpper(b.Data)
	return Continue, nil
}

func whole(change func(string) string) func(*call, *Buffer, bool) (Verdict, error) {
	return func(_ *call, b *Buffer, end bool) (Verdict, error) {
		if !end {
			return Pause, nil
		}
		b.Data = []byte(change(string(b.Data)))
		return Continue, nil
	}
}

func TestBodyPassesTheFilters(t *testing.T) {
	reverse := func(s string) string { r := []byte(s); slices.Reverse(r); return string(r) }
	tests := map[string]struct {
		filters []*script
		length  int64
		want    string
		wantLen int64
	}{
		"in order":                 {[]*script{{name: "a", onBody: whole(reverse)}, {name: "b", onBody: upper}}, -1, "FEDCBA", -1},
		"of known length, at once": {[]*script{{name: "a", onBody: whole(func(s string) string { return s + s })}}, 6, "abcdefabcdef", 12},
		"swallowed":                {[]*script{{name: "a", onBody: whole(func(string) string { return "" })}, {name: "b", onBody: upper}}, 6, "", 0},
		"made at the end": {[]*script{{name: "a", onBody: func(_ *call, b *Buffer, end bool) (Verdict, error) {
			b.Data = nil
			if end {
				b.Data = []byte("new")
			}
			return Continue, nil
		}}}, -1, "new", -1},
		"nobody looks at it, as it comes": {[]*script{{name: "a"}}, 6, "abcdef", 6},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBed(config.Reject, test.filters...)
			b.x.Request.Body, b.x.Request.ContentLength = &slowBody{parts: []string{"abc", "de", "f"}}, test.length
			b.run.Request(b.chain, []byte("/"))
			if out := b.run.RequestBody(); out != Passed {
				t.Fatalf("got %v, %v; want passed", out, b.run.Err())
			}
			got, err := io.ReadAll(b.x.Request.Body)
			if string(got) != test.want || err != nil || b.x.Request.ContentLength != test.wantLen {
				t.Errorf("got %q, %v, length %d; want %q, length %d", got, err, b.x.Request.ContentLength, test.want, test.wantLen)
			}
			b.run.Done()
		})
	}
}

func TestBodyLimits(t *testing.T) {
	hold := func(*call, *Buffer, bool) (Verdict, error) { return Pause, nil }
	long := strings.Repeat("x", 10)
	b := newBed(config.Reject, &script{name: "a", onBody: hold, onRBody: hold})
	b.chain.entries[0].BodyBytes = 15
	b.x.Request.Body, b.x.Request.ContentLength = &slowBody{parts: []string{long, long}}, 20
	b.run.Request(b.chain, []byte("/"))
	if out := b.run.RequestBody(); out != Failed || b.run.Err().Status != 413 {
		t.Errorf("got %v, %v; want 413", out, b.run.Err())
	}
	b = newBed(config.Reject, &script{name: "a", onRBody: hold})
	b.chain.entries[0].BodyBytes = 15
	b.run.Request(b.chain, []byte("/"))
	b.x.Response.Body, b.x.Response.ContentLength = &slowBody{parts: []string{long, long}}, 20
	b.run.Response()
	if out := b.run.ResponseBody(); out != Failed || b.run.Err().Status != 502 {
		t.Errorf("got %v, %v; want 502", out, b.run.Err())
	}
}

func TestTrailersComeAfterTheBody(t *testing.T) {
	var ends []bool
	see := func(_ *call, _ *Buffer, end bool) (Verdict, error) { ends = append(ends, end); return Continue, nil }
	b := newBed(config.Reject, &script{name: "a", onBody: see, trailers: true})
	b.x.Request.Body, b.x.Request.ContentLength = &slowBody{parts: []string{"abc"}, trailer: func() {
		b.x.Request.Trailer.Add([]byte("t"), []byte("1"))
	}}, -1
	b.run.Request(b.chain, []byte("/"))
	b.run.RequestBody()
	if _, err := io.ReadAll(b.x.Request.Body); err != nil {
		t.Error(err)
	}
	if slices.Contains(ends, true) {
		t.Error("a body part was the last though trailers follow")
	}
	b.want(t, "a request", "a request trailers", "a done")
}

// TestTrailersDecideOnTheBody: what a filter holds of the body is there until its trailers'
// callback has ended, which may change it, hold it for longer, or answer.
func TestTrailersDecideOnTheBody(t *testing.T) {
	var held *Buffer
	hold := func(_ *call, p *Buffer, _ bool) (Verdict, error) { held = p; return Pause, nil }
	shout := func(*call) (Verdict, error) { held.Data = bytes.ToUpper(held.Data); return Continue, nil }
	tests := map[string]struct {
		onTrailers func(*call) (Verdict, error)
		want       string // empty: the body ends with an error
	}{
		"changed": {shout, "ABCDEF!"},
		"held for longer": {func(c *call) (Verdict, error) {
			_, _ = shout(c)
			go c.w.Post(ResumeRequest)
			return Pause, nil
		}, "ABCDEF!"},
		"answered": {answer(403), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			after := func(_ *call, p *Buffer, end bool) (Verdict, error) {
				if len(p.Data) > 0 {
					p.Data = append(p.Data, '!')
				}
				return Continue, nil
			}
			b := newBed(config.Reject, &script{name: "a", onBody: hold, trailers: true, onTrailers: test.onTrailers}, &script{name: "b", onBody: after})
			b.x.Request.Body, b.x.Request.ContentLength = &slowBody{parts: []string{"abc", "def"}, trailer: func() {
				b.x.Request.Trailer.Add([]byte("t"), []byte("1"))
			}}, -1
			if out := b.run.Request(b.chain, []byte("/")); out != Passed {
				t.Fatal(out)
			}
			if out := b.run.RequestBody(); out != Passed {
				t.Fatal(b.run.Err())
			}
			if got, err := io.ReadAll(b.x.Request.Body); string(got) != test.want || (err == nil) != (test.want != "") {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestAnswerDuringTheBody(t *testing.T) {
	b := newBed(config.Reject, &script{name: "a", onBody: func(c *call, _ *Buffer, _ bool) (Verdict, error) { return answer(403)(c) }}, &script{name: "b"})
	b.x.Request.Body, b.x.Request.ContentLength = &slowBody{parts: []string{"abc"}}, 3
	b.run.Request(b.chain, []byte("/"))
	if out := b.run.RequestBody(); out != Answered || b.x.Response.Status != 403 {
		t.Errorf("got %v, %d; want Answered, 403", out, b.x.Response.Status)
	}
	b.run.Response()
	b.want(t, "a request", "b request", "a response", "b done", "a done")
}

func TestTurnLiesBetweenChains(t *testing.T) {
	b := newBed(config.Reject, &script{name: "a"}, &script{name: "b"})
	outer, inner := New(b.chain.entries[:1]), New(b.chain.entries[1:])
	b.run.Request(outer, []byte("/"))
	b.run.Turn(func(*exchange.Exchange, *config.Step) { b.trace = append(b.trace, "turn") }, nil)
	b.run.Request(inner, []byte("/"))
	b.run.Response()
	b.want(t, "a request", "b request", "b response", "turn", "a response", "b done", "a done")
}

func TestAnEmptyChainAllocatesNothing(t *testing.T) {
	b := newBed(config.Reject)
	if n := testing.AllocsPerRun(100, func() {
		b.run.Start(b.x)
		b.run.Request(b.chain, nil)
		b.run.RequestBody()
		b.run.Response()
		b.run.ResponseBody()
		b.run.Done()
	}); n != 0 {
		t.Errorf("%v allocations; want 0", n)
	}
}
