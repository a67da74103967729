package filter

import (
	"errors"
	"io"
	"time"

	"penstock.dev/penstock/core/exchange"
)

// window is how much of a body is read and passed through the filters at once;
// a body that fits is passed whole before its headers are sent, so that its
// length is known.
const window = 32 << 10

// pipe is a body as it comes out of the filters at the positions from to to.
type pipe struct {
	side     *side
	run      *Run
	inner    exchange.Body
	phase    exchange.Phase
	from, to int
	// nested: whoever reads holds the run's lock, as a filter that takes bodies.
	nested bool

	in    []byte // window bytes, made when first needed
	out   []byte // what the filters have let through and nobody has read
	store []byte // backs out
	err   error  // after out is read; io.EOF at the end
	ahead *ahead // a Read of inner that runs on another goroutine; nil: none
	// whole says that inner was read to its end, trailer that trailers follow;
	// a filter that holds the last part keeps the pipe from ending.
	whole, trailer bool
}

// ahead is a Read under way while a filter holds the body, so that a signal
// can let it go before more of it comes.
type ahead struct {
	done chan struct{}
	n    int
	err  error
}

// reset keeps the memory unless it grew large.
func (p *pipe) reset() {
	store := p.store[:0]
	if cap(store) > 4*window {
		store = nil
	}
	*p = pipe{in: p.in, store: store}
}

// prefill passes what is there, or all of a body that is known to be short,
// and sets length to what will come out, -1 if that is not known.
func (p *pipe) prefill(length *int64) Outcome {
	short := *length >= 0 && *length <= window
	*length = -1
	for p.err == nil && len(p.out) < window && (short || p.ready()) {
		p.fill()
	}
	return p.ended(length)
}

// ready reports whether a part can be had without waiting.
func (p *pipe) ready() bool { return p.ahead == nil && p.inner.Buffered() > 0 }

// ended turns the pipe's end, if it has come, into an outcome.
func (p *pipe) ended(length *int64) Outcome {
	switch p.err {
	case nil:
		return Passed
	case io.EOF:
		*length = int64(len(p.out))
		return Passed
	case errAnswered:
		return Answered
	}
	return p.failed()
}

// failed makes sure that the run knows why: an error of the body itself is the
// sender's.
func (p *pipe) failed() Outcome {
	if p.run.err == nil {
		p.run.err = bodyFault(p.phase, p.err)
	}
	return Failed
}

// bodyFault says whose fault it is that a body ended early.
func bodyFault(phase exchange.Phase, err error) *exchange.Error {
	var cause *exchange.Error
	if errors.As(err, &cause) {
		return cause
	}
	side, status, reason := exchange.SideClient, 400, "request-body"
	if phase == exchange.PhaseResponseBody {
		side, status, reason = exchange.SideUpstream, 502, "response-body"
	}
	return &exchange.Error{Phase: phase, Side: side, Status: status, Reason: reason, Err: err}
}

// pump passes parts until s has let its headers go.
func (p *pipe) pump(s *slot) Outcome {
	h := p.side.half(s)
	for h.headers && p.err == nil {
		p.fill()
	}
	_, length := p.side.message()
	return p.ended(length)
}

// Read implements exchange.Body.
func (p *pipe) Read(b []byte) (int, error) {
	if !p.nested {
		p.run.mu.Lock()
		defer p.run.mu.Unlock()
	}
	for len(p.out) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		p.fill()
	}
	n := copy(b, p.out)
	p.out = p.out[n:]
	return n, nil
}

// Buffered implements exchange.Body.
func (p *pipe) Buffered() int { return len(p.out) }

// Close implements exchange.Body.
func (p *pipe) Close() {
	if p.inner != nil {
		p.inner.Close()
	}
	p.out = nil
	if p.err == nil {
		p.err = io.ErrClosedPipe
	}
}

// Stop makes whoever waits for a filter in Read give up. Any goroutine may
// call it: the request's body is not wanted any more.
func (p *pipe) Stop() {
	p.run.stopped.Store(true)
	p.run.bell.ring()
}

// fill reads one part and passes it through the filters, or does what a signal
// asks for. The run's lock is held, but while it waits.
func (p *pipe) fill() {
	n, err, woken := p.part()
	if len(p.out) == 0 {
		p.store = p.store[:0]
	}
	if woken {
		p.signals(err)
		return
	}
	if err != nil && err != io.EOF {
		p.err = err
		return
	}
	if err == io.EOF {
		p.whole = true
		p.trailer = p.trailers().Len() > 0
	}
	p.pass(p.from, p.in[:n], p.whole)
}

// part reads from inner. While a filter holds the request back the Read is
// another goroutine's, and a signal ends the waiting.
func (p *pipe) part() (n int, err error, woken bool) {
	if p.in == nil {
		p.in = make([]byte, window)
	}
	r := p.run
	holds := p.holds()
	if !p.whole && p.ahead == nil && (!p.side.request || !holds) {
		r.mu.Unlock()
		n, err = p.inner.Read(p.in)
		r.mu.Lock()
		return n, err, false
	}
	rung := r.bell.wait()
	if holds && p.called() {
		return 0, nil, true
	}
	if p.whole {
		return 0, p.await(rung), true
	}
	if p.ahead == nil {
		a, inner, in := &ahead{done: make(chan struct{})}, p.inner, p.in
		p.ahead = a
		go func() {
			defer close(a.done)
			a.n, a.err = inner.Read(in)
		}()
	}
	r.mu.Unlock()
	select {
	case <-p.ahead.done:
	case <-rung:
		woken = true
	}
	r.mu.Lock()
	if woken {
		return 0, nil, true
	}
	n, err = p.ahead.n, p.ahead.err
	p.ahead = nil
	return n, err, false
}

// await waits for a signal while a filter holds the end of the body.
func (p *pipe) await(rung <-chan struct{}) error {
	r := p.run
	if !r.sending || !p.side.request { // else the upstream watches
		stop := r.x.Client.Watch(r.clientGone)
		defer stop()
	}
	if r.gone.Load() || p.side.request && r.stopped.Load() {
		return errGone
	}
	r.mu.Unlock()
	defer r.mu.Lock()
	timer := time.NewTimer(r.wait)
	defer timer.Stop()
	select {
	case <-rung:
		return nil
	case <-timer.C:
		return errWait
	}
}

// called reports whether a signal waits for a filter that holds something.
func (p *pipe) called() bool {
	_, _, resume, _ := p.side.callbacks()
	for k := p.from; k < p.to; k++ {
		s := p.side.slot(k)
		if h := p.side.half(s); (h.headers || h.paused) && s.waker != nil && s.waker.pending.Load()&uint32(resume|Answer|Deliver|lasting) != 0 {
			return true
		}
	}
	return false
}

// holds reports whether a filter holds back headers or a part of the body.
func (p *pipe) holds() bool {
	for k := p.from; k < p.to; k++ {
		if h := p.side.half(p.side.slot(k)); h.headers || h.paused {
			return true
		}
	}
	return false
}

// signals does what the wakers of holding filters say. why is the reason to
// wait no longer; nil: none.
func (p *pipe) signals(why error) {
	_, _, resume, _ := p.side.callbacks()
	for k := p.from; k < p.to && p.err == nil; k++ {
		s := p.side.slot(k)
		h := p.side.half(s)
		if s.waker == nil || !h.headers && !h.paused {
			continue
		}
		v, err := p.run.signalled(s, resume)
		if v == Pause && err == nil {
			err = why
		}
		if v == Pause && err == nil {
			p.through(h, k)
			continue
		}
		s.unpark(p.side.request)
		if p.concluded(s, v, err) {
			return
		}
		part, last := h.let(), p.whole && h.paused
		_ = p.run.charge(s, &h.counted, 0) // giving back cannot fail
		h.headers, h.paused = false, false
		if len(part) > 0 || last {
			p.rest(k, part, last)
		}
	}
}

// let takes what a filter lets go of.
func (h *half) let() []byte {
	part := h.held.Data
	if len(h.held.Through) > 0 {
		part = append(h.held.Through, part...)
	}
	if h.held.Ended {
		part = h.held.Through
	}
	h.held.Data, h.held.Through = nil, nil
	return part
}

// through passes on what a filter that pauses wants to go at once.
func (p *pipe) through(h *half, k int) {
	part, ended := h.held.Through, h.held.Ended
	h.held.Through = nil
	if ended {
		h.held.Data, h.headers, h.paused = nil, false, false
		p.end()
	}
	if len(part) > 0 || ended {
		p.pass(k+1, part, ended)
	}
}

// end gives up what is still to come of the body.
func (p *pipe) end() {
	p.whole = true
	p.inner.Close()
	if p.ahead != nil {
		<-p.ahead.done
		p.ahead = nil
	}
}

// concluded ends the pipe unless the verdict is to go on.
func (p *pipe) concluded(s *slot, v Verdict, err error) bool {
	switch p.run.conclude(s, v, err, p.phase) {
	case Answered:
		p.err = errAnswered
	case Failed:
		p.err = p.run.err
	default:
		return false
	}
	return true
}

func (p *pipe) trailers() *exchange.Header { return p.side.trailers() }

// pass runs one part through the body callbacks from a position on, and the
// trailers after the last part.
func (p *pipe) pass(from int, part []byte, eof bool) {
	for k := from; k < p.to; k++ {
		s := p.side.slot(k)
		if s.off || s.failed {
			continue
		}
		if s.shadow != nil {
			s.shadow.part(p.side.request, part, eof, p.trailers())
		}
		var more bool
		if part, more = p.one(k, s, part, eof); !more || len(part) == 0 && !eof {
			return
		}
	}
	p.store = append(p.store, part...)
	p.out = p.store[len(p.store)-len(p.out)-len(part):]
	if eof && p.err == nil {
		p.err = io.EOF
	}
}

// rest goes on after the body callback of the filter at k: its trailers, then
// the filters after it.
func (p *pipe) rest(k int, part []byte, eof bool) {
	if !eof || p.trailersOf(p.side.slot(k)) {
		p.pass(k+1, part, eof)
	}
}

// one makes the callbacks of the filter at k; it returns what the filter lets
// through. more is false if the filter keeps the rest, or ended the pipe.
func (p *pipe) one(k int, s *slot, part []byte, eof bool) (through []byte, more bool) {
	onBody, _, _, _ := p.side.callbacks()
	h := p.side.half(s)
	if s.callback&onBody != 0 && (len(part) > 0 || eof) {
		size := int64(len(h.held.Data) + len(part))
		if size > s.entry.BodyBytes && len(h.held.Data) > 0 {
			p.concluded(s, Continue, ErrBodyLimit)
			return nil, false
		}
		h.held.Data = append(h.held.Data, part...)
		v, err := Continue, p.run.begin(s)
		if err == nil {
			v, err = p.call(s, &h.held, eof && !p.trailer)
		}
		if _, onTrailers, _, _ := p.side.callbacks(); eof && p.trailer && v == Pause && err == nil && s.callback&onTrailers != 0 {
			return p.untilTrailers(s, h)
		}
		h.paused = v == Pause && err == nil
		if h.paused {
			if !eof && size > s.entry.BodyBytes && len(h.held.Data) > 0 {
				p.concluded(s, Continue, ErrBodyLimit)
				return nil, false
			}
			p.through(h, k)
			if err := p.run.charge(s, &h.counted, len(h.held.Data)); err != nil {
				p.concluded(s, Continue, err)
			}
			return nil, false
		}
		h.headers = false
		if p.concluded(s, v, err) {
			return nil, false
		}
		_ = p.run.charge(s, &h.counted, 0)
		if part = h.let(); h.held.Ended {
			p.end()
			h.held.Ended = false
			p.pass(k+1, part, true)
			return nil, false
		}
		if s.off {
			return part, true
		}
	}
	return part, !eof || p.trailersOf(s)
}

// untilTrailers has the trailer callback of a filter decide on what it holds of the body,
// which it can change until then.
func (p *pipe) untilTrailers(s *slot, h *half) (through []byte, more bool) {
	if err := p.run.charge(s, &h.counted, len(h.held.Data)); err != nil {
		p.concluded(s, Continue, err)
		return nil, false
	}
	more = p.trailersOf(s)
	_ = p.run.charge(s, &h.counted, 0) // giving back cannot fail
	h.headers, h.paused = false, false
	return h.let(), more
}

// trailersOf makes the trailer callback of a filter, if it has one and there
// are any; false: it ended the pipe.
func (p *pipe) trailersOf(s *slot) bool {
	_, onTrailers, resume, _ := p.side.callbacks()
	if !p.trailer || s.callback&onTrailers == 0 || s.off || s.failed {
		return true
	}
	v, err := Continue, p.run.begin(s)
	if err == nil && p.side.request {
		v, err = s.stream.RequestTrailers()
	} else if err == nil {
		v, err = s.stream.ResponseTrailers()
	}
	v, err = p.run.settle(s, v, err, resume)
	return !p.concluded(s, v, err)
}

func (p *pipe) call(s *slot, b *Buffer, end bool) (Verdict, error) {
	if p.side.request {
		return s.stream.RequestBody(b, end)
	}
	return s.stream.ResponseBody(b, end)
}

var _ exchange.Body = (*pipe)(nil)
