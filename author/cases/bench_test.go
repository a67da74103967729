package cases

import (
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/hosts/capability"
)

// caller is a filter that makes a call with each request, and waits for the answer.
type caller struct {
	calls *calls
	wait  bool
}

func (caller) Callbacks() filter.Callbacks { return filter.OnRequestHeaders | filter.OnRequestBody }

func (c caller) Begin(_ *exchange.Exchange, w *filter.Waker) (filter.Stream, error) {
	return &callingStream{c: c, w: w}, nil
}

type callingStream struct {
	filter.Stream
	c  caller
	w  *filter.Waker
	mu sync.Mutex // held to post: Done returns after that, as filter.Waker asks
}

func (s *callingStream) RequestHeaders(bool) (filter.Verdict, error) {
	if !s.c.wait {
		return filter.Continue, nil
	}
	_, err := s.c.calls.HTTPCall(&capability.HTTPCall{Upstream: "auth", Timeout: time.Second}, s.resume)
	return filter.Pause, err
}

func (s *callingStream) RequestBody(*filter.Buffer, bool) (filter.Verdict, error) {
	return filter.Continue, nil
}

func (s *callingStream) resume(*capability.HTTPAnswer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w.Post(filter.ResumeRequest)
}

func (s *callingStream) Done() {
	s.mu.Lock()
	defer s.mu.Unlock()
}

// loopOf is a loop over the first case of a file, without a plugin.
func loopOf(t *testing.T, text string, entries func(*calls) []filter.Entry) *loop {
	t.Helper()
	file, err := Parse("it.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	clock := newClock()
	tr := &trial{Bed: &Bed{clock: clock}, calls: newCalls(clock)}
	tr.calls.wake = make(chan struct{}, 1)
	tr.chain = filter.New(entries(tr.calls))
	l := &loop{t: tr}
	for i := range file.Cases[0].Exchanges {
		l.all = append(l.all, tr.under(&file.Cases[0].Exchanges[i]))
	}
	return l
}

// TestRoundAllocatesNothing: what is measured is the plugin.
func TestRoundAllocatesNothing(t *testing.T) {
	l := loopOf(t, `cases: [{name: a, exchanges: [
  {request: {method: POST, path: "/a?b=c", headers: {x-a: [b, c]}, chunks: [one, two], trailers: {x-t: u}}, upstream: {response: {status: 201, headers: {x-r: s}, body: hello}}},
  {advance: 1s, request: {path: /b}}]}]`, func(*calls) []filter.Entry { return nil })
	if n := testing.AllocsPerRun(100, l.round); n != 0 {
		t.Errorf("%v allocations a round; want 0", n)
	}
	if got, want := l.first, []outcome{{201, "upstream", ""}, {200, "upstream", ""}}; got[0] != want[0] || got[1] != want[1] || l.differs != 0 {
		t.Errorf("got %v; want %v", got, want)
	}
}

// TestRoundsAnswerCalls: an exchange that waits for a call goes on at once.
func TestRoundsAnswerCalls(t *testing.T) {
	l := loopOf(t, `cases: [{name: a, request: {}, calls: [{to: auth, after: 500ms, response: {status: 204}}]}]`, func(c *calls) []filter.Entry {
		return []filter.Entry{{Filter: caller{c, true}, ID: "service/a"}}
	})
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		l.pump(stop)
	}()
	began := time.Now()
	for range 200 {
		l.round()
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("200 rounds took %v", took)
	}
	close(stop)
	<-done
	if l.first[0] != (outcome{200, "upstream", ""}) || l.differs != 0 {
		t.Errorf("got %v, %d differ", l.first, l.differs)
	}
	if now := l.t.clock.Now().Sub(begin); now != 100*time.Second { // the answers take the time that the case says
		t.Errorf("%v have passed; want 100 s", now)
	}
}

// TestObserver: what is taken is what was seen since the last time.
func TestObserver(t *testing.T) {
	o := &observer{}
	o.Called("b", 5, time.Second)
	o.Called("a", 7, time.Second)
	o.Called("b", 1, time.Second)
	o.HostCalled("h")
	r := o.take()
	if len(r.functions) != 2 || r.functions[0].name != "b" || r.total() != 13 || r.largest() != 12 || r.host["h"] != 1 {
		t.Errorf("got %+v", r)
	}
	if again := o.take(); again.total() != 0 || again.host != nil {
		t.Errorf("it is taken twice: %+v", again)
	}
	var sum record
	sum.add(r)
	sum.add(r)
	if sum.total() != 26 || sum.functions[0].calls != 4 || sum.functions[0].took != 4*time.Second || sum.host["h"] != 2 {
		t.Errorf("got %+v", sum)
	}
}
