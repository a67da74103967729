package filter

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/exchange"
)

// Outcome is how a pass through the chain ended.
type Outcome uint8

// The outcomes.
const (
	// Passed: every filter let it through.
	Passed Outcome = iota
	// Answered: a filter responded; exchange.Response is what it said, and the
	// filters before it are still to see it: call Run.Response.
	Answered
	// Failed: the exchange ends with Run.Err.
	Failed
)

// Run is the filters of one exchange. It is made with Start, and driven by the
// exchange's goroutine: Request for each chain, then the request body is read
// through it, then Response, then the response body, then Done. A request body
// that is read by another goroutine is guarded by a lock.
type Run struct {
	x       *exchange.Exchange
	wait    time.Duration
	bell    bell
	gone    atomic.Bool // the client disconnected while the run waited
	stopped atomic.Bool // the request's body is not wanted any more

	// mu is held during filter calls, never while waiting for network or
	// signals: the request's body may pass on another goroutine than the response.
	mu      sync.Mutex
	slots   []*slot
	spare   []*slot // kept from exchange to exchange
	turns   []turn
	reached int // slots that the request has come to; only they see the response
	err     *exchange.Error
	sending bool
	late    bool
	skip    int // entries that are still to be left out

	detacher Detacher
	follower Follower
	followed string // the Consumer object whose filters have a place
	follows  int

	sides [2]side // of the request's body, of the response's
	local exchange.Bytes
}

// slot is one filter in this exchange.
type slot struct {
	entry    *Entry
	stream   Stream // nil: not begun
	waker    *Waker
	off      bool // excepted or skipped after a failure
	failed   bool // no call but Done
	followed bool // it is of the exchange's consumer, not of a chain
	callback Callbacks
	request  half
	response half

	own    held    // what the stream itself holds back
	said   [2]said // in each direction
	live   *Canary // entry is this one's; nil: none
	shadow *record // for the shadow that is shown a copy; nil: none
}

// half is one direction of a filter in this exchange.
type half struct {
	held    Buffer // what it holds back of the body
	headers bool   // it holds the headers back while parts come
	paused  bool   // it holds the body back
	counted held   // what of held is counted

	converter Converter // asked for by the header callback; nil: none
}

func (s *slot) unpark(request bool) {
	if p, ok := s.stream.(Parker); ok {
		p.Unpark(request)
	}
}

const defaultWait = 60 * time.Second

// ErrBodyLimit is what a filter that takes bodies fails with when it would
// hold back more than its limit: 413 on the request, 502 on the response.
var ErrBodyLimit = errors.New("a filter holds back more of the body than its limit")

var (
	errAnswered  = errors.New("a filter answered while the body was read")
	errWait      = errors.New("a filter held the exchange for too long")
	errGone      = errors.New("client disconnected")
	errReset     = errors.New("a filter ended the exchange")
	errBadStatus = errors.New("a filter answered with a status that cannot be sent")
)

// Start readies r for an exchange. A zero Run may be started; a used one after Done.
func (r *Run) Start(x *exchange.Exchange) {
	r.sides[0].run, r.sides[0].request = r, true
	r.sides[1].run = r
	r.x, r.wait = x, defaultWait
	r.gone.Store(false)
	r.stopped.Store(false)
	r.slots, r.turns, r.reached, r.err = r.slots[:0], r.turns[:0], 0, nil
	r.sending, r.late = false, false
	r.skip, r.detacher = 0, nil
	r.follower, r.followed, r.follows = nil, "", 0
}

// Wait bounds how long a filter may hold the exchange with Pause; beyond it
// 504. Default 60 s.
func (r *Run) Wait(d time.Duration) { r.wait = d }

// Err returns why the run Failed.
func (r *Run) Err() *exchange.Error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Request runs c's request header callbacks; path is normalised. To be called
// for the Gateway's chain, then for the route's. c may be nil.
func (r *Run) Request(c *Chain, path []byte) Outcome {
	if c == nil || len(c.entries) == 0 {
		return Passed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	entries := c.entries
	if r.skip > 0 {
		n := min(r.skip, len(entries))
		r.skip, entries = r.skip-n, entries[n:]
	}
	first := len(r.slots)
	for i := range entries {
		e := &entries[i]
		r.slots = append(r.slots, r.slot(e, path))
	}
	end := r.x.Request.Body == nil
	for i := first; i < len(r.slots); i++ {
		r.reached = i + 1
		s := r.slots[i]
		if s.shadow != nil {
			s.shadow.open(r.x, path)
		}
		if s.off || s.callback&OnRequestHeaders == 0 {
			continue
		}
		if out := r.headers(&r.sides[0], i, s, end); out != Passed {
			return out
		}
		if out := r.follow(i, path); out != Passed {
			return out
		}
	}
	return Passed
}

// slot returns a filter's place in this exchange.
func (r *Run) slot(e *Entry, path []byte) *slot {
	var s *slot
	if n := len(r.spare); n > 0 {
		s, r.spare = r.spare[n-1], r.spare[:n-1]
	} else {
		s = &slot{waker: &Waker{}}
	}
	s.waker.pending.Store(0)
	s.waker.refused.Store(false)
	*s = slot{waker: s.waker, entry: e, callback: e.Filter.Callbacks(), off: e.excepted(r.x, path)}
	if e.Canary != nil && !s.off {
		e.Canary.choose(s)
	}
	return s
}

// headers makes the header callback of one filter in one direction.
func (r *Run) headers(d *side, position int, s *slot, end bool) Outcome {
	phase, resume, h := exchange.PhaseRequest, ResumeRequest, d.half(s)
	if !d.request {
		phase, resume = exchange.PhaseResponse, ResumeResponse
	}
	err := r.begin(s)
	verdict := Continue
	switch {
	case err != nil:
	case s.callback&TakesBodies != 0:
		var out Outcome
		if verdict, out, err = d.lend(position, s, end); out != Passed {
			return out
		}
	default:
		verdict, err = d.headers(s, end)
	}
	if verdict == Hold && err == nil {
		onBody, _, _, _ := d.callbacks()
		if body, _ := d.message(); *body != nil && s.callback&onBody != 0 && h.converter == nil {
			h.headers = true
			if p, out := d.wrap(position + 1); out != Passed {
				return out
			} else if out := p.pump(s); out != Passed {
				return out
			}
			return Passed
		}
		verdict = Pause
	}
	verdict, err = r.settle(s, verdict, err, resume)
	out := r.conclude(s, verdict, err, phase)
	c := h.converter
	if h.converter = nil; c == nil || out != Passed || err != nil {
		return out
	}
	return d.convert(position, c)
}

// begin makes the stream if there is none.
func (r *Run) begin(s *slot) error {
	if s.stream != nil {
		return nil
	}
	s.waker.bell, s.waker.run, s.waker.slot = &r.bell, r, s
	if s.live != nil {
		s.live.Count(CanaryRan)
	}
	stream, err := s.entry.Filter.Begin(r.x, s.waker)
	s.stream = stream
	return err
}

// settle waits out a Pause: it returns another verdict or an error.
func (r *Run) settle(s *slot, v Verdict, err error, resume Signal) (Verdict, error) {
	if err != nil || v != Pause {
		return v, err
	}
	defer s.unpark(resume == ResumeRequest)
	if !r.sending || resume == ResumeResponse { // else the upstream watches
		stop := r.x.Client.Watch(r.clientGone)
		defer stop()
	}
	timer := time.NewTimer(r.wait)
	defer timer.Stop()
	for {
		rung := r.bell.wait()
		if v, err = r.signalled(s, resume); v != Pause || err != nil {
			return v, err
		}
		if r.gone.Load() || resume == ResumeRequest && r.stopped.Load() {
			return Continue, errGone
		}
		r.mu.Unlock()
		var late bool
		select {
		case <-rung:
		case <-timer.C:
			late = true
		}
		r.mu.Lock()
		if late {
			return Continue, errWait
		}
	}
}

// signalled does what the waker of a filter that waits says; Pause: nothing.
func (r *Run) signalled(s *slot, resume Signal) (Verdict, error) {
	for s.waker.Take(Deliver) != 0 {
		if d, ok := s.stream.(Deliverer); ok {
			if err := d.Deliver(); err != nil {
				return Continue, err
			}
		}
	}
	switch signals := s.waker.Take(resume | Answer | lasting); {
	case signals&Fail != 0:
		return Continue, &Error{Cause: "trap", Err: errors.New("the instance died while the exchange was paused")}
	case signals&Gone != 0:
		return Continue, &Error{Cause: "unavailable", Err: errors.New("the instance was taken away while the exchange was paused")}
	case signals&Abort != 0:
		return Reset, nil
	case signals&Answer != 0:
		if a, ok := s.stream.(Answerer); ok && a.Answer() {
			return Respond, nil
		}
		fallthrough
	default:
		if signals&resume != 0 {
			return Continue, nil
		}
	}
	return Pause, nil
}

func (r *Run) clientGone() {
	r.gone.Store(true)
	r.bell.ring()
}

// Sending says that the request is handed to an upstream: from now on its body
// may be read, and pass the filters, on another goroutine.
func (r *Run) Sending() {
	r.mu.Lock()
	r.sending = true
	r.mu.Unlock()
}

// Response runs the response header callbacks of the filters that the request
// came to, in reverse, over exchange.Response. A filter may answer in its place.
func (r *Run) Response() Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := r.reached - 1; i >= 0; i-- {
		r.passTurns(i + 1)
		s := r.slots[i]
		if s.shadow != nil && !s.off && !s.failed {
			s.shadow.respond(r.x)
		}
		if s.off || s.failed || s.callback&OnResponseHeaders == 0 {
			continue
		}
		switch r.headers(&r.sides[1], r.reached-1-i, s, r.x.Response.Body == nil) {
		case Failed:
			return Failed
		case Answered: // the filters before s see the new response
			r.reached = i
		}
	}
	r.passTurns(0)
	return Passed
}

// Done ends every filter that was begun, last first, and forgets the exchange.
func (r *Run) Done() {
	r.sides[0].settle()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.slots) - 1; i >= 0; i-- {
		s := r.slots[i]
		if s.stream != nil {
			s.stream.Done()
		}
		if s.shadow != nil {
			s.shadow.finish(s)
		}
		s.free()
		*s = slot{waker: s.waker} // nobody posts to it any more
	}
	r.spare = append(r.spare, r.slots...)
	clear(r.slots)
	r.slots = r.slots[:0]
	r.x, r.err, r.detacher, r.follower = nil, nil, nil, nil
	r.sides[0].reset()
	r.sides[1].reset()
	r.local.Close()
}
