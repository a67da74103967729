package filter

import (
	"errors"
	"io"

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

// fill reads one part and passes it through the filters, or does what a signal
// asks for. The run's lock is held, but while it waits.
func (p *pipe) fill() {
	n, err, woken := p.part()
	if len(p.out) == 0 {
		p.store = p.store[:0]
	}
	if woken {
		p.signals()
		return
	}
	if err != nil && err != io.EOF {
		p.err = err
		return
	}
	eof := err == io.EOF
	p.pass(p.from, p.in[:n], eof, eof && p.trailer().Len() > 0)
	if eof && p.err == nil {
		p.err = io.EOF
	}
}

// part reads from inner. While a filter holds the request back the Read is
// another goroutine's, and a signal ends the waiting.
func (p *pipe) part() (n int, err error, woken bool) {
	if p.in == nil {
		p.in = make([]byte, window)
	}
	r := p.run
	holds := p.holds()
	if p.ahead == nil && (!p.side.request || !holds) {
		r.mu.Unlock()
		n, err = p.inner.Read(p.in)
		r.mu.Lock()
		return n, err, false
	}
	rung := r.bell.wait()
	if holds && p.called() {
		return 0, nil, true
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

// signals does what the wakers of holding filters say.
func (p *pipe) signals() {
	_, _, resume, _ := p.side.callbacks()
	for k := p.from; k < p.to && p.err == nil; k++ {
		s := p.side.slot(k)
		h := p.side.half(s)
		if s.waker == nil || !h.headers && !h.paused {
			continue
		}
		v, err := p.run.signalled(s, resume)
		switch {
		case v == Pause && err == nil:
			continue
		case p.concluded(s, v, err):
			return
		}
		h.headers, h.paused = false, false
		part := h.held.Data
		h.held.Data = nil
		if len(part) > 0 {
			p.pass(k+1, part, false, false)
		}
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

func (p *pipe) trailer() *exchange.Header {
	if p.side.request {
		return &p.run.x.Request.Trailer
	}
	return &p.run.x.Response.Trailer
}

// pass runs one part through the body callbacks from a position on, and the
// trailers after the last part.
func (p *pipe) pass(from int, part []byte, eof, trailer bool) {
	for k := from; k < p.to; k++ {
		s := p.side.slot(k)
		if s.off || s.failed {
			continue
		}
		var ended bool
		if part, ended = p.one(s, part, eof, trailer); ended || len(part) == 0 && !eof {
			return
		}
	}
	p.store = append(p.store, part...)
	p.out = p.store[len(p.store)-len(p.out)-len(part):]
}

// one makes the callbacks of one filter; it returns what the filter lets through.
func (p *pipe) one(s *slot, part []byte, eof, trailer bool) (through []byte, ended bool) {
	onBody, onTrailers, resume, _ := p.side.callbacks()
	h := p.side.half(s)
	if s.callback&onBody != 0 && (len(part) > 0 || eof) {
		if int64(len(h.held.Data)+len(part)) > s.entry.BodyBytes && len(h.held.Data) > 0 {
			return nil, p.concluded(s, Continue, ErrBodyLimit)
		}
		h.held.Data = append(h.held.Data, part...)
		v, err := Continue, p.run.begin(s)
		if err == nil {
			v, err = p.call(s, &h.held, eof && !trailer)
		}
		if h.paused = v == Pause && err == nil; h.paused {
			if !eof {
				if int64(len(h.held.Data)) > s.entry.BodyBytes {
					return nil, p.concluded(s, Continue, ErrBodyLimit)
				}
				return nil, false
			}
			if !trailer || s.callback&onTrailers == 0 {
				v, err = p.run.settle(s, v, err, resume)
			} else {
				v = Continue
			}
			h.paused = false
		}
		h.headers = false
		if p.concluded(s, v, err) {
			return nil, true
		}
		part = h.held.Data
		h.held.Data = nil
		if s.off {
			return part, false
		}
	}
	if trailer && s.callback&onTrailers != 0 {
		v, err := Continue, p.run.begin(s)
		if err == nil && p.side.request {
			v, err = s.stream.RequestTrailers()
		} else if err == nil {
			v, err = s.stream.ResponseTrailers()
		}
		v, err = p.run.settle(s, v, err, resume)
		if p.concluded(s, v, err) {
			return nil, true
		}
	}
	return part, false
}

func (p *pipe) call(s *slot, b *Buffer, end bool) (Verdict, error) {
	if p.side.request {
		return s.stream.RequestBody(b, end)
	}
	return s.stream.ResponseBody(b, end)
}

var _ exchange.Body = (*pipe)(nil)
