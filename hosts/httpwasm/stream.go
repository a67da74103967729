package httpwasm

import (
	"errors"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
)

// phase is how far a stream has come.
type phase uint8

const (
	phaseNone     phase = iota
	phaseRequest        // handle_request runs
	phaseAnswered       // it answered
	phaseNext           // the next handler's turn
	phaseResponse       // handle_response runs
	phaseGone           // handle_response runs though there is no response
	phaseOver
)

// stream is the plugin's part in one exchange; used by the exchange's goroutine
// only.
type stream struct {
	f *Filter
	i *sandbox.Instance // nil: none is taken
	v *vm
	x *exchange.Exchange
	w *filter.Waker

	budget   sandbox.Budget
	left     int64 // of the exchange
	phase    phase
	features uint32
	context  uint32 // handle_request's, for handle_response
	copied   int    // bytes of the guest that the exchange keeps
	cut      error  // why the host ended the call

	request, response body
	answer            answer
}

// answer is what the guest says before the next handler: its own response, or
// fields and the body's beginning for the next one's, whose status counts.
type answer struct {
	status          int // 0: not set
	header, trailer exchange.Header
	body            []byte
}

// code returns the status.
func (a *answer) code() int {
	if a.status == 0 {
		return 200
	}
	return a.status
}

var _ filter.Stream = (*stream)(nil)

// reset forgets the exchange and keeps memory.
func (s *stream) reset() {
	s.i, s.v, s.x, s.w = nil, nil, nil, nil
	s.budget.Settle()
	s.budget, s.left = sandbox.Budget{}, 0
	s.phase, s.features, s.context, s.copied, s.cut = phaseNone, 0, 0, 0, nil
	s.request.reset()
	s.response.reset()
	s.answer.header.Reset()
	s.answer.trailer.Reset()
	s.answer.status, s.answer.body = 0, reusable(s.answer.body)
}

// convert makes a sandbox's failure the chain's.
func convert(err error) error {
	var f *sandbox.Failure
	if errors.As(err, &f) {
		busy := errors.Is(f.Err, sandbox.ErrBusy) || errors.Is(f.Err, sandbox.ErrCrowded)
		return &filter.Error{Cause: f.Cause, Err: f.Err, Busy: busy}
	}
	return &filter.Error{Cause: sandbox.CauseABI, Err: err}
}

// call makes one guest call; a and b are its arguments, the result is what it
// returns.
func (s *stream) call(fn *sandbox.Func, a, b uint64) (uint64, error) {
	if err := s.i.Lock(); err != nil { // the filter was closed: nobody else has called the guest
		return 0, &filter.Error{Cause: sandbox.CauseUnavailable, Err: err}
	}
	defer s.i.Unlock()
	v := s.v
	v.s = s
	v.stack[0], v.stack[1] = a, b
	err := s.i.Call(fn, &s.budget, v.stack[:])
	v.s = nil
	switch {
	case s.cut != nil:
		return 0, s.cut
	case err != nil:
		return 0, convert(err)
	}
	return v.stack[0], nil
}

// release gives the instance back.
func (s *stream) release() {
	if s.i != nil {
		s.f.pool.Give(s.i)
		s.i, s.v = nil, nil
	}
}

// RequestHeaders implements filter.Stream.
func (s *stream) RequestHeaders(bool) (filter.Verdict, error) {
	i, err := s.f.pool.Take(takeWait)
	if err != nil {
		s.phase = phaseOver
		return filter.Continue, convert(err)
	}
	q := &s.x.Request
	s.i, s.v = i, i.Data.(*vm)
	s.phase, s.features = phaseRequest, s.v.features
	s.request.inner = q.Body
	next, err := s.call(s.v.request, 0, 0)
	s.request.settle(&q.Body, &q.ContentLength, &q.Header, &q.Trailer, err != nil)
	switch {
	case err != nil:
		s.phase = phaseOver
		s.release()
		return filter.Continue, err
	case uint32(next) == 0:
		s.phase = phaseAnswered
		s.release()
		s.respond()
		return filter.Respond, nil
	}
	s.phase, s.context = phaseNext, uint32(next>>32)
	return filter.Continue, nil
}

// respond makes the guest's answer the exchange's local response.
func (s *stream) respond() {
	a, l := &s.answer, &s.x.Local
	l.Header.Reset()
	l.Status, l.Details, l.Body, l.GRPCStatus = a.code(), "", a.body, -1
	if bodyless(l.Status) {
		l.Body = nil
	}
	for _, f := range a.header.Fields() {
		l.Header.Add(f.Name, f.Value)
	}
}

// ResponseHeaders implements filter.Stream.
func (s *stream) ResponseHeaders(bool) (filter.Verdict, error) {
	if s.phase != phaseAnswered && s.phase != phaseNext {
		return filter.Continue, nil
	}
	p := &s.x.Response
	b := &s.response
	b.inner = p.Body
	if s.phase == phaseNext && !bodyless(p.Status) {
		b.begin(&s.answer.body)
	}
	if err := s.addTrailers(); err != nil {
		s.release()
		s.phase = phaseOver
		return filter.Continue, err
	}
	var err error
	if s.phase == phaseNext {
		for _, f := range s.answer.header.Fields() {
			p.Header.Add(f.Name, f.Value)
		}
		s.phase = phaseResponse
		_, err = s.call(s.v.response, uint64(s.context), flag(s.x.Err != nil))
		s.release()
	}
	s.phase = phaseOver
	b.settle(&p.Body, &p.ContentLength, &p.Header, &p.Trailer, err != nil)
	return filter.Continue, err
}

// addTrailers adds what the guest wrote before the next handler. The response's
// own are known when its body was read.
func (s *stream) addTrailers() error {
	if s.answer.trailer.Len() == 0 || bodyless(s.x.Response.Status) {
		return nil
	}
	if err := s.drain(&s.response); err != nil {
		return err
	}
	for _, f := range s.answer.trailer.Fields() {
		s.x.Response.Trailer.Add(f.Name, f.Value)
	}
	s.response.trailers = true
	return nil
}

// The other callbacks are never made: TakesBodies.

// RequestBody implements filter.Stream.
func (s *stream) RequestBody(*filter.Buffer, bool) (filter.Verdict, error) {
	return filter.Continue, nil
}

// RequestTrailers implements filter.Stream.
func (s *stream) RequestTrailers() (filter.Verdict, error) { return filter.Continue, nil }

// ResponseBody implements filter.Stream.
func (s *stream) ResponseBody(*filter.Buffer, bool) (filter.Verdict, error) {
	return filter.Continue, nil
}

// ResponseTrailers implements filter.Stream.
func (s *stream) ResponseTrailers() (filter.Verdict, error) { return filter.Continue, nil }

// Done implements filter.Stream. A guest that has called the next handler is
// told of its end, even if no response came this way.
func (s *stream) Done() {
	if s.phase == phaseNext {
		s.phase = phaseGone
		if _, err := s.call(s.v.response, uint64(s.context), 1); err != nil {
			s.f.log.Failure("handle_response", err)
		}
	}
	s.release()
	f := s.f
	s.reset()
	f.streams.Put(s)
}
