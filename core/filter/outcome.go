package filter

import (
	"errors"
	"slices"

	"penstock.dev/penstock/core/codec/grpc"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// conclude turns a verdict or an error into the pass's outcome.
func (r *Run) conclude(s *slot, v Verdict, err error, phase exchange.Phase) Outcome {
	if v == Respond && err == nil && s.waker.refused.Load() {
		err = ErrBodyBudget
	}
	s.note(v, err, phase, &r.x.Local)
	if err != nil {
		return r.fail(s, err, phase)
	}
	switch v {
	case Respond:
		return r.respond(s, phase)
	case Reset:
		r.err = &exchange.Error{Phase: phase, Side: exchange.SidePlugin, Status: 500, Reason: "plugin-reset", Err: errReset}
		r.x.AnsweredBy = s.entry.ID
		return Failed
	}
	return Passed
}

func (r *Run) index(s *slot) int {
	if i := slices.Index(r.slots, s); i >= 0 {
		return i
	}
	panic("BUG: a filter that is not of this run")
}

// fail decides what a failure does: left out, or the end of the exchange, of
// which only the filters before s see the answer.
func (r *Run) fail(s *slot, err error, phase exchange.Phase) Outcome {
	out := r.failure(s, err, phase)
	if out == Failed {
		r.reached = min(r.reached, r.index(s))
	}
	return out
}

func (r *Run) failure(s *slot, err error, phase exchange.Phase) Outcome {
	r.x.AnsweredBy = s.entry.ID
	switch {
	case errors.Is(err, errGone):
		r.err = &exchange.Error{Phase: phase, Side: exchange.SideClient, Status: 499, Reason: "client-gone", Err: err}
		return Failed
	case errors.Is(err, errWait):
		r.err = &exchange.Error{Phase: phase, Side: exchange.SidePlugin, Status: 504, Reason: "plugin-wait", Err: err}
		return Failed
	case errors.Is(err, ErrBodyLimit):
		status := 413
		if phase == exchange.PhaseResponseBody || phase == exchange.PhaseResponse {
			status = 502
		}
		r.err = &exchange.Error{Phase: phase, Side: exchange.SidePlugin, Status: status, Reason: "body-limit", Err: err}
		return Failed
	case errors.Is(err, ErrBodyBudget):
		r.err = &exchange.Error{Phase: phase, Side: exchange.SidePlugin, Status: 503, Reason: "body-budget", Err: err}
		return Failed
	}
	var failure *Error
	if !errors.As(err, &failure) {
		var body *exchange.Error
		if errors.As(err, &body) { // of a body that a filter took
			r.err = body
			return Failed
		}
		failure = &Error{Cause: "abi", Err: err}
	}
	s.failed = true
	s.entry.Failures.Inc()
	if s.entry.Failed != nil {
		s.entry.Failed(failure)
	}
	if s.live != nil {
		s.live.Count(CanaryFailed)
	}
	if s.entry.OnError == config.Skip {
		s.off = true
		r.x.AnsweredBy = ""
		return Passed
	}
	r.err = &exchange.Error{Phase: phase, Side: exchange.SidePlugin, Status: 500, Reason: "plugin-" + failure.Cause, Err: failure}
	if failure.Busy {
		r.err.Status, r.err.Reason = 503, "plugin-busy"
	}
	return Failed
}

// respond makes exchange.Local the exchange's response. The filters up to and
// with s still see it.
func (r *Run) respond(s *slot, phase exchange.Phase) Outcome {
	local := &r.x.Local
	r.x.AnsweredBy, r.x.Details = s.entry.ID, local.Details
	if local.Status < 200 || local.Status > 599 {
		return r.fail(s, &Error{Cause: "abi", Err: errBadStatus}, phase)
	}
	r.reached = min(r.reached, r.index(s)+1)
	if r.sending && phase == exchange.PhaseRequestBody {
		r.late = true // the response is not this goroutine's: see Late
		return Answered
	}
	r.Replace(local)
	return Answered
}

// Late reports whether a filter answered while the upstream read the request's
// body, and makes that the response. To be asked when sending has failed.
func (r *Run) Late() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.late {
		r.Replace(&r.x.Local)
	}
	return r.late
}

// Replace makes l the exchange's response, in gRPC's form if the request is gRPC's;
// an earlier one is given up. Also for the proxy's own answers. l.Body and its
// fields are kept, not copied.
func (r *Run) Replace(l *exchange.Local) {
	if asked, ok := r.x.Request.Header.Get("content-type"); ok && !r.x.Request.Connect() { // a 200 would open a tunnel
		grpc.Answer(l, asked)
	}
	p := &r.x.Response
	p.Abandon()
	p.Header.Reset()
	p.Trailer.Reset()
	r.sides[1].used, r.sides[1].next = 0, 0
	for _, s := range r.slots {
		s.entry.Bodies.change(s.response.counted.namespace, -s.response.counted.bytes)
		s.response = half{}
	}
	for _, f := range l.Header.Fields() {
		p.Header.Add(f.Name, f.Value)
	}
	p.Status, p.Version, p.Body, p.ContentLength = l.Status, exchange.HTTP11, nil, int64(len(l.Body))
	switch {
	case l.Content != nil:
		p.Body, p.ContentLength = l.Content, l.Length
		l.Content, l.Length = nil, 0
	case len(l.Body) > 0:
		r.local.Reset(l.Body)
		p.Body = &r.local
	case l.Length != 0:
		p.ContentLength, l.Length = l.Length, 0
	}
}
