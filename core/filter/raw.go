package filter

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// NotRaw returns the first filter that raw connections cannot pass; empty: there
// is none.
func (c *Chain) NotRaw() string {
	for i := range c.entries {
		if f := c.entries[i].Filter; f.Callbacks()&OnConnection == 0 {
			return c.entries[i].ID
		}
	}
	return ""
}

// RawRun is the filters of one raw connection: NewConnection, then Data and Resume
// for each direction on a goroutine of its own, then Done. Canaries have no part.
type RawRun struct {
	wait    time.Duration
	service string
	bell    bell

	// mu is held during filter calls, never while waiting for network or signals.
	mu    sync.Mutex
	slots []*rawSlot
	by    string // the filter that ended it
}

// rawSlot is one filter in this connection.
type rawSlot struct {
	entry  *Entry
	stream ConnStream // nil: not begun
	waker  *Waker
	off    bool // left out after a failure
	failed bool // no call but Done
	ways   [2]rawWay
}

// rawWay is one direction of a filter in this connection.
type rawWay struct {
	held    Buffer
	end     bool // what is held is the last of the direction
	paused  bool
	counted held
}

var errEnded = errors.New("the proxy ended while a filter held the connection")

// The directions.
const (
	fromClient   = 0
	fromUpstream = 1
)

func directionOf(downstream bool) int {
	if downstream {
		return fromClient
	}
	return fromUpstream
}

// NewRawRun returns the run of these chains' filters, outermost first. All of them
// take raw connections. wake is called, by any goroutine, when Resume may have
// something; service is the one that was chosen; wait bounds how long a filter may
// hold a new connection.
func NewRawRun(chains []*Chain, service string, wait time.Duration, wake func()) *RawRun {
	r := &RawRun{wait: wait, service: service}
	r.bell.hook = wake
	for _, c := range chains {
		for i := range c.entries {
			r.slots = append(r.slots, &rawSlot{entry: &c.entries[i], waker: &Waker{bell: &r.bell}})
		}
	}
	return r
}

// By returns the filter that ended the connection; empty: none did.
func (r *RawRun) By() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.by
}

// NewConnection shows each filter the connection; the error says that one of them
// refuses it, or that ctx was done while one held it.
func (r *RawRun) NewConnection(ctx context.Context, c *exchange.Conn) *exchange.Error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.slots {
		f, ok := s.entry.Filter.(ConnFilter)
		if !ok {
			panic("BUG: a filter without raw connections")
		}
		stream, err := f.BeginConn(c, s.waker)
		s.stream = stream
		v := Continue
		if err == nil {
			v, err = stream.NewConnection()
		}
		if err == nil && v == Pause {
			v, err = r.settle(ctx, s)
		}
		if end := r.conclude(s, v, err); end != nil {
			return end
		}
	}
	return nil
}

// settle waits out the Pause of a new connection. mu is held.
func (r *RawRun) settle(ctx context.Context, s *rawSlot) (Verdict, error) {
	defer s.unpark(fromClient)
	timer := time.NewTimer(r.wait)
	defer timer.Stop()
	for {
		rung := r.bell.wait()
		v, err := s.signalled(ResumeRequest)
		if v != Pause || err != nil {
			return v, err
		}
		r.mu.Unlock()
		late := false
		select {
		case <-rung:
		case <-timer.C:
			late = true
		case <-ctx.Done():
		}
		r.mu.Lock()
		if late {
			return Continue, errWait
		}
		if ctx.Err() != nil {
			return Continue, errEnded
		}
	}
}

func (s *rawSlot) unpark(direction int) {
	if p, ok := s.stream.(Parker); ok {
		p.Unpark(direction == fromClient)
	}
}

// signalled does what the waker says; Pause: nothing.
func (s *rawSlot) signalled(resume Signal) (Verdict, error) {
	for s.waker.Take(Deliver) != 0 {
		if d, ok := s.stream.(Deliverer); ok {
			if err := d.Deliver(); err != nil {
				return Continue, err
			}
		}
	}
	switch signals := s.waker.Take(resume | lasting); {
	case signals&Fail != 0:
		return Continue, &Error{Cause: "trap", Err: errors.New("the instance died while the connection was open")}
	case signals&Gone != 0:
		return Continue, &Error{Cause: "unavailable", Err: errors.New("the instance was taken away while the connection was open")}
	case signals&Abort != 0:
		return Reset, nil
	case signals&resume != 0:
		return Continue, nil
	}
	return Pause, nil
}

// Data shows the filters bytes of one direction; end: they are its last. out is
// what goes on, which is b or new memory; ended: it is the last of the direction. b
// may be used again once out was written. downstream: they come from the client.
func (r *RawRun) Data(downstream bool, b []byte, end bool) (out []byte, ended bool, err *exchange.Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pass(directionOf(downstream), 0, b, end)
}

// at returns the filter at a place, as the direction passes them.
func (r *RawRun) at(direction, place int) *rawSlot {
	if direction == fromClient {
		return r.slots[place]
	}
	return r.slots[len(r.slots)-1-place]
}

// pass shows bytes to the filters from a place on. mu is held.
func (r *RawRun) pass(direction, place int, b []byte, end bool) (out []byte, ended bool, _ *exchange.Error) {
	for ; place < len(r.slots); place++ {
		s := r.at(direction, place)
		w := &s.ways[direction]
		if s.off {
			continue
		}
		if len(b) == 0 && !end {
			return nil, false, nil
		}
		borrowed := !w.paused
		if w.paused { // it sees all that it holds
			s.unpark(direction)
			w.held.Data = append(w.held.Data, b...)
		} else {
			w.held.Data = b
		}
		v, err := s.stream.Data(direction == fromClient, &w.held, end)
		if err == nil && v == Pause {
			if err = r.hold(s, w, borrowed, end); err == nil {
				return nil, false, nil
			}
		}
		if failed := r.conclude(s, v, err); failed != nil {
			return nil, false, failed
		}
		b = w.release(s)
	}
	return b, end, nil
}

// hold keeps what a filter holds back. mu is held.
func (r *RawRun) hold(s *rawSlot, w *rawWay, borrowed, end bool) error {
	if int64(len(w.held.Data)) > s.entry.BodyBytes {
		return ErrBodyLimit
	}
	if w.counted.bytes == 0 {
		if w.counted.namespace = s.entry.Tenant; w.counted.namespace == "" {
			w.counted.namespace, _, _ = strings.Cut(r.service, "/")
		}
	}
	if !s.entry.Bodies.change(w.counted.namespace, int64(len(w.held.Data))-w.counted.bytes) {
		return ErrBodyBudget
	}
	w.counted.bytes = int64(len(w.held.Data))
	if borrowed {
		w.held.Data = bytes.Clone(w.held.Data)
	}
	w.paused, w.end = true, end
	return nil
}

// release takes what a filter held back.
func (w *rawWay) release(s *rawSlot) []byte {
	b := w.held.Data
	s.entry.Bodies.change(w.counted.namespace, -w.counted.bytes)
	*w = rawWay{}
	return b
}

// Resume returns what filters let go of one direction since it was last called, as
// Data does. To be called by the direction's goroutine after wake.
func (r *RawRun) Resume(downstream bool) (out []byte, ended bool, _ *exchange.Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	direction, resume := directionOf(downstream), ResumeRequest
	if direction == fromUpstream {
		resume = ResumeResponse
	}
	for place := len(r.slots) - 1; place >= 0; place-- { // what is nearer to the end came before
		s := r.at(direction, place)
		if s.off {
			continue
		}
		v, err := s.signalled(resume)
		w := &s.ways[direction]
		if err == nil && (v == Pause || v == Continue && !w.paused) {
			continue
		}
		held, end := w.paused, w.end
		if held {
			s.unpark(direction)
		}
		if failed := r.conclude(s, v, err); failed != nil {
			return nil, false, failed
		}
		if !held {
			continue
		}
		more, last, failed := r.pass(direction, place+1, w.release(s), end)
		if failed != nil {
			return nil, false, failed
		}
		out, ended = append(out, more...), ended || last
	}
	return out, ended, nil
}

// Wait returns when Resume may have something, or the time is over: false.
func (r *RawRun) Wait(rung <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-rung:
		return true
	case <-timer.C:
		return false
	}
}

// Rung returns what Wait waits for; to be called before Resume.
func (r *RawRun) Rung() <-chan struct{} { return r.bell.wait() }

// Wake makes Wait return.
func (r *RawRun) Wake() { r.bell.ring() }

// conclude says what a verdict or an error means for the connection; nil: it goes
// on. mu is held.
func (r *RawRun) conclude(s *rawSlot, v Verdict, err error) *exchange.Error {
	phase := exchange.PhaseRequest
	end := func(reason string, err error) *exchange.Error {
		r.by = s.entry.ID
		return &exchange.Error{Phase: phase, Side: exchange.SidePlugin, Status: 500, Reason: reason, Err: err}
	}
	switch {
	case err == nil && v == Continue:
		return nil
	case err == nil:
		return end("plugin-reset", errReset)
	case errors.Is(err, errWait):
		return end("plugin-wait", err)
	case errors.Is(err, errEnded):
		return &exchange.Error{Phase: phase, Side: exchange.SideProxy, Status: 503, Reason: "drained", Err: err}
	case errors.Is(err, ErrBodyLimit):
		return end("body-limit", err)
	case errors.Is(err, ErrBodyBudget):
		return end("body-budget", err)
	}
	var failure *Error
	if !errors.As(err, &failure) {
		failure = &Error{Cause: "abi", Err: err}
	}
	s.failed = true
	s.entry.Failures.Inc()
	if s.entry.Failed != nil {
		s.entry.Failed(failure)
	}
	if s.entry.OnError == config.Skip {
		s.off = true
		return nil
	}
	if failure.Busy {
		return end("plugin-busy", failure)
	}
	return end("plugin-"+failure.Cause, failure)
}

// Done tells each filter that both sides are closed, whether by the peer, and ends
// it, the last first.
func (r *RawRun) Done(clientRemote, upstreamRemote bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.slots) - 1; i >= 0; i-- {
		s := r.slots[i]
		for d := range s.ways {
			s.ways[d].release(s)
		}
		if s.stream == nil {
			continue
		}
		for _, side := range []struct{ downstream, remote bool }{{true, clientRemote}, {false, upstreamRemote}} {
			if s.failed {
				break
			}
			if err := s.stream.Closed(side.downstream, side.remote); err != nil {
				_ = r.conclude(s, Continue, err) // it has ended anyway
			}
		}
		s.stream.Done()
	}
}
