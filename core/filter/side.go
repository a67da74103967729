package filter

import (
	"errors"
	"io"

	"penstock.dev/penstock/core/exchange"
)

// side is one direction of an exchange's body. Positions count the filters in
// the order in which this direction passes them.
type side struct {
	run     *Run
	request bool
	pipes   []*pipe // kept from exchange to exchange
	used    int     // of pipes
	next    int     // the first position that is in no pipe yet
}

func (d *side) reset() {
	for _, p := range d.pipes {
		p.reset()
	}
	d.used, d.next = 0, 0
}

// settle waits for Reads on other goroutines; the run's lock is not held.
func (d *side) settle() {
	for _, p := range d.pipes[:d.used] {
		if p.ahead != nil {
			p.inner.Close() // ends the Read
			<-p.ahead.done
			p.ahead = nil
		}
	}
}

// slot returns the filter at a position.
func (d *side) slot(position int) *slot {
	if d.request {
		return d.run.slots[position]
	}
	return d.run.slots[d.run.reached-1-position]
}

// half is what a direction keeps of a slot.
func (d *side) half(s *slot) *half {
	if d.request {
		return &s.request
	}
	return &s.response
}

func (d *side) callbacks() (onBody, onTrailers Callbacks, resume Signal, phase exchange.Phase) {
	if d.request {
		return OnRequestBody, OnRequestTrailers, ResumeRequest, exchange.PhaseRequestBody
	}
	return OnResponseBody, OnResponseTrailers, ResumeResponse, exchange.PhaseResponseBody
}

// message returns the body of the direction and its length.
func (d *side) message() (body *exchange.Body, length *int64) {
	if d.request {
		return &d.run.x.Request.Body, &d.run.x.Request.ContentLength
	}
	return &d.run.x.Response.Body, &d.run.x.Response.ContentLength
}

// wrap puts the filters from next up to, not with, the position to around the
// body, if any of them looks at it. A short body passes at once. The run's lock
// is held.
func (d *side) wrap(to int) (*pipe, Outcome) {
	onBody, onTrailers, _, _ := d.callbacks()
	from := d.next
	d.next = max(d.next, to)
	body, length := d.message()
	if *body == nil {
		return nil, Passed
	}
	for k := from; k < to; k++ {
		if s := d.slot(k); !s.off && !s.failed && s.callback&(onBody|onTrailers) != 0 {
			p := d.pipe(from, to)
			return p, p.prefill(length)
		}
	}
	d.watch(body, from, to)
	return nil, Passed
}

// trailers returns those of the direction's message.
func (d *side) trailers() *exchange.Header {
	if d.request {
		return &d.run.x.Request.Trailer
	}
	return &d.run.x.Response.Trailer
}

// pipe puts the filters at these positions around the body.
func (d *side) pipe(from, to int) *pipe {
	if d.used == len(d.pipes) {
		d.pipes = append(d.pipes, &pipe{})
	}
	p := d.pipes[d.used]
	d.used++
	p.reset()
	body, _ := d.message()
	_, _, _, p.phase = d.callbacks()
	p.side, p.run, p.inner, p.from, p.to = d, d.run, *body, from, to
	*body = p
	return p
}

// headers makes the header callback.
func (d *side) headers(s *slot, end bool) (Verdict, error) {
	if d.request {
		return s.stream.RequestHeaders(end)
	}
	return s.stream.ResponseHeaders(end)
}

// lend readies the body for a filter at a position that takes bodies, has it
// called, and takes the body back.
func (d *side) lend(position int, s *slot, end bool) (v Verdict, out Outcome, err error) {
	body, length := d.message()
	if *body == nil {
		d.next = position + 1
		v, err = d.headers(s, end)
		return v, Passed, err
	}
	p, out := d.wrap(position)
	if out != Passed {
		return Continue, out, nil
	}
	inner, known := *body, *length
	untouched := p == nil
	if untouched { // it only gives the run's lock away while the filter waits for the body
		p = d.pipe(position, position)
	}
	d.next = position + 1
	d.watch(body, position, position+1)
	lent := *body
	p.nested = true
	v, err = d.headers(s, end)
	p.nested = false
	switch {
	case p.err == errAnswered:
		return v, Answered, err
	case p.err != nil && p.err != io.EOF && err != nil:
		return v, p.failed(), err
	case untouched && *body == lent && p.in == nil:
		if t, ok := lent.(*tee); ok {
			t.Body = inner
		} else {
			*body = inner
		}
		*length = known
		d.used--
	}
	return v, Passed, err
}

// convert has a filter's converter change the message, behind the filters before it.
func (d *side) convert(position int, c Converter) Outcome {
	if _, out := d.wrap(position); out != Passed {
		return out
	}
	d.next = position + 1
	if body, _ := d.message(); *body != nil {
		d.watch(body, position, position+1)
	}
	r := d.run
	r.mu.Unlock()
	err := c.Convert(r.x, d.request)
	r.mu.Lock()
	switch {
	case err == nil:
		return Passed
	case errors.Is(err, errAnswered):
		return Answered
	case r.err == nil: // else a filter before failed while the body was read
		_, _, _, phase := d.callbacks()
		r.err = bodyFault(phase, err)
	}
	return Failed
}

// RequestBody puts the body filters around the request's body, if there are
// any. A short body passes at once: the outcome may be Answered or Failed.
func (r *Run) RequestBody() Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, out := r.sides[0].wrap(r.reached)
	if out == Passed && r.follower != nil && r.x.Consumer.Object != "" && r.x.Consumer.Object != r.followed {
		return r.unfollowed(errLate) // who comes later than its headers is never served without them
	}
	return out
}

// ResponseBody puts the body filters around the response's body, as RequestBody.
func (r *Run) ResponseBody() Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, out := r.sides[1].wrap(r.reached)
	return out
}
