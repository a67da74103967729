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

// pipe is a body as it comes out of the filters of one direction.
type pipe struct {
	run   *Run
	inner exchange.Body
	phase exchange.Phase
	in    []byte // window bytes, made when first needed
	out   []byte // what the filters have let through and nobody has read
	store []byte // backs out
	err   error  // after out is read; io.EOF at the end
}

// reset keeps the memory unless it grew large.
func (p *pipe) reset() {
	store := p.store[:0]
	if cap(store) > 4*window {
		store = nil
	}
	*p = pipe{in: p.in, store: store}
}

// RequestBody puts the body filters around the request's body, if there are
// any. A short body passes at once: the outcome may be Answered or Failed.
func (r *Run) RequestBody() Outcome {
	x := r.x
	if x.Request.Body == nil || !r.has(OnRequestBody|OnRequestTrailers) {
		return Passed
	}
	r.request.reset()
	r.request.run, r.request.inner, r.request.phase = r, x.Request.Body, exchange.PhaseRequestBody
	x.Request.Body = &r.request
	return r.request.prefill(&x.Request.ContentLength)
}

// ResponseBody puts the body filters around the response's body, as RequestBody.
func (r *Run) ResponseBody() Outcome {
	x := r.x
	if x.Response.Body == nil || !r.has(OnResponseBody|OnResponseTrailers) {
		return Passed
	}
	r.response.reset()
	r.response.run, r.response.inner, r.response.phase = r, x.Response.Body, exchange.PhaseResponseBody
	x.Response.Body = &r.response
	return r.response.prefill(&x.Response.ContentLength)
}

func (r *Run) has(callbacks Callbacks) bool {
	for i := range r.reached {
		if s := &r.slots[i]; !s.off && !s.failed && s.callback&callbacks != 0 {
			return true
		}
	}
	return false
}

// prefill passes what is there, or all of a body that is known to be short,
// and sets length to what will come out, -1 if that is not known.
func (p *pipe) prefill(length *int64) Outcome {
	short := *length >= 0 && *length <= window
	*length = -1
	for p.err == nil && len(p.out) < window && (short || p.inner.Buffered() > 0) {
		p.fill()
	}
	switch {
	case p.err == io.EOF:
		*length = int64(len(p.out))
	case p.err == errAnswered:
		return Answered
	case p.err != nil:
		return p.failed()
	}
	return Passed
}

// failed makes sure that the run knows why: an error of the body itself is the
// sender's.
func (p *pipe) failed() Outcome {
	p.run.mu.Lock()
	defer p.run.mu.Unlock()
	if p.run.err != nil {
		return Failed
	}
	side, status, reason := exchange.SideClient, 400, "request-body"
	if p.phase == exchange.PhaseResponseBody {
		side, status, reason = exchange.SideUpstream, 502, "response-body"
	}
	var cause *exchange.Error
	if errors.As(p.err, &cause) {
		p.run.err = cause
	} else {
		p.run.err = &exchange.Error{Phase: p.phase, Side: side, Status: status, Reason: reason, Err: p.err}
	}
	return Failed
}

// Read implements exchange.Body.
func (p *pipe) Read(b []byte) (int, error) {
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

// fill reads one part and passes it through the filters.
func (p *pipe) fill() {
	if p.in == nil {
		p.in = make([]byte, window)
	}
	n, err := p.inner.Read(p.in)
	if err != nil && err != io.EOF {
		p.err = err
		return
	}
	r := p.run
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(p.out) == 0 {
		p.store = p.store[:0]
	}
	eof := err == io.EOF
	trailer := eof && p.trailer().Len() > 0
	p.pass(p.in[:n], eof, trailer)
	if eof && p.err == nil {
		p.err = io.EOF
	}
}

func (p *pipe) trailer() *exchange.Header {
	if p.phase == exchange.PhaseRequestBody {
		return &p.run.x.Request.Trailer
	}
	return &p.run.x.Response.Trailer
}

// pass runs one part through the body callbacks, and the trailers after the last.
func (p *pipe) pass(part []byte, eof, trailer bool) {
	r := p.run
	for k := range r.reached {
		i := k
		if p.phase == exchange.PhaseResponseBody {
			i = r.reached - 1 - k
		}
		s := &r.slots[i]
		if s.off || s.failed {
			continue
		}
		var out Outcome
		part, out = p.one(s, part, eof, trailer)
		if out == Answered {
			p.err = errAnswered
			return
		}
		if out == Failed {
			p.err = r.err
			return
		}
		if len(part) == 0 && !eof {
			return
		}
	}
	p.store = append(p.store, part...)
	p.out = p.store[len(p.store)-len(p.out)-len(part):]
}

// one makes the callbacks of one filter; it returns what the filter lets through.
func (p *pipe) one(s *slot, part []byte, eof, trailer bool) ([]byte, Outcome) {
	r := p.run
	request := p.phase == exchange.PhaseRequestBody
	onBody, onTrailers, resume, held := OnRequestBody, OnRequestTrailers, ResumeRequest, &s.reqHeld
	if !request {
		onBody, onTrailers, resume, held = OnResponseBody, OnResponseTrailers, ResumeResponse, &s.respHeld
	}
	if s.callback&onBody != 0 && (len(part) > 0 || eof) {
		if int64(len(held.Data)+len(part)) > s.entry.BodyBytes && len(held.Data) > 0 {
			return nil, r.conclude(s, Continue, errBodyLimit, p.phase)
		}
		held.Data = append(held.Data, part...)
		v, err := r.begin(s)
		if err == nil {
			v, err = p.call(s, held, eof && !trailer)
		}
		if v == Pause && err == nil {
			if !eof {
				if int64(len(held.Data)) > s.entry.BodyBytes {
					return nil, r.conclude(s, Continue, errBodyLimit, p.phase)
				}
				return nil, Passed
			}
			if !trailer || s.callback&onTrailers == 0 {
				v, err = r.settle(s, v, err, resume)
			} else {
				v = Continue
			}
		}
		if out := r.conclude(s, v, err, p.phase); out != Passed {
			return nil, out
		}
		part = held.Data
		held.Data = nil
		if s.off {
			return part, Passed
		}
	}
	if trailer && s.callback&onTrailers != 0 {
		v, err := r.begin(s)
		if err == nil && request {
			v, err = s.stream.RequestTrailers()
		} else if err == nil {
			v, err = s.stream.ResponseTrailers()
		}
		v, err = r.settle(s, v, err, resume)
		if out := r.conclude(s, v, err, p.phase); out != Passed {
			return nil, out
		}
	}
	return part, Passed
}

func (p *pipe) call(s *slot, b *Buffer, end bool) (Verdict, error) {
	if p.phase == exchange.PhaseRequestBody {
		return s.stream.RequestBody(b, end)
	}
	return s.stream.ResponseBody(b, end)
}

var _ exchange.Body = (*pipe)(nil)
