package proxywasm

import (
	"errors"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
)

// phase is which callback a stream is in, or was in last.
type phase uint8

const (
	phaseNone phase = iota
	phaseRequestHeaders
	phaseRequestBody
	phaseRequestTrailers
	phaseResponseHeaders
	phaseResponseBody
	phaseResponseTrailers
	phaseDone
)

// stream is a stream context: the plugin's part in one exchange. Its members
// are used under the instance's lock, or by the exchange's goroutine between
// callbacks.
type stream struct {
	f  *Filter
	i  *sandbox.Instance
	v  *vm
	id uint32
	x  *exchange.Exchange
	w  *filter.Waker

	budget sandbox.Budget
	left   int64 // of the exchange
	phase  phase
	end    bool // the callback saw the end of stream
	buffer *filter.Buffer
	failed bool
	parked bool
	// what the callback that runs asked for
	resumed bool
	reset   bool
	answer  *answer
}

// answer is a local response that the guest made.
type answer struct {
	status  int
	details string
	body    []byte
	pairs   []pair
	grpc    int32
}

var (
	_ filter.Stream   = (*stream)(nil)
	_ filter.Answerer = (*stream)(nil)
	_ filter.Parker   = (*stream)(nil)
)

// Begin implements filter.Filter. The instance is chosen at the first callback.
func (f *Filter) Begin(x *exchange.Exchange, w *filter.Waker) (filter.Stream, error) {
	s := f.streams.Get().(*stream)
	*s = stream{f: f, x: x, w: w, left: sandbox.Steps(f.config.Limits.CPUTimeExchange)}
	s.budget = sandbox.Budget{Call: sandbox.Steps(f.config.Limits.CPUTime), Exchange: &s.left}
	return s, nil
}

// enter takes the instance, and makes the context on it if this is the first call.
func (s *stream) enter() error {
	if s.i != nil {
		if err := s.i.Lock(); err != nil {
			s.failed = true
			return &filter.Error{Cause: sandbox.CauseTrap, Err: err}
		}
		return nil
	}
	i, err := s.f.pool.Acquire()
	if err != nil {
		s.failed = true
		return convert(err)
	}
	v := i.Data.(*vm)
	s.i, s.v, s.id = i, v, v.nextID
	v.nextID++
	i.Hold()
	v.streams[s.id] = s
	if v.fn.contextCreate == nil {
		return nil
	}
	v.current, v.effective = s, s
	v.stack[0], v.stack[1] = uint64(s.id), rootID
	if err := i.Call(v.fn.contextCreate, &s.budget, v.stack[:]); err != nil {
		s.failed = true
		i.Unlock()
		return convert(err)
	}
	return nil
}

// convert makes a sandbox's failure the chain's.
func convert(err error) error {
	var f *sandbox.Failure
	if errors.As(err, &f) {
		return &filter.Error{Cause: f.Cause, Err: f.Err}
	}
	return &filter.Error{Cause: sandbox.CauseABI, Err: err}
}

// call makes one callback; it returns the guest's action.
func (s *stream) call(choose func(*vm) *sandbox.Func, p phase, b, c uint64) (filter.Verdict, error) {
	if err := s.enter(); err != nil {
		return filter.Continue, err
	}
	defer s.i.Unlock()
	v := s.v
	fn := choose(v)
	if fn == nil {
		return filter.Continue, nil
	}
	v.current, v.effective = s, s
	s.phase, s.end = p, c != 0
	s.resumed, s.reset, s.answer = false, false, nil
	v.stack[0], v.stack[1], v.stack[2] = uint64(s.id), b, c
	start := time.Now()
	err := s.i.Call(fn, &s.budget, v.stack[:])
	s.f.pool.Seconds().Observe(time.Since(start).Seconds())
	v.current, v.effective = nil, nil
	if err != nil {
		s.failed = true
		return filter.Continue, convert(err)
	}
	switch {
	case s.answer != nil:
		s.fill()
		return filter.Respond, nil
	case s.reset:
		return filter.Reset, nil
	case uint32(v.stack[0]) != 0 && !s.resumed:
		// A body part that is not the last is only held back: nobody waits.
		s.parked = s.end || p != phaseRequestBody && p != phaseResponseBody
		return filter.Pause, nil
	}
	return filter.Continue, nil
}

// Unpark implements filter.Parker.
func (s *stream) Unpark(bool) {
	if s.i.Lock() == nil {
		s.parked = false
		s.i.Unlock()
		return
	}
	s.parked = false // the instance is dead: no guest can reach it
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func requestHeadersOf(v *vm) *sandbox.Func   { return v.fn.requestHeaders }
func requestBodyOf(v *vm) *sandbox.Func      { return v.fn.requestBody }
func requestTrailersOf(v *vm) *sandbox.Func  { return v.fn.requestTrailers }
func responseHeadersOf(v *vm) *sandbox.Func  { return v.fn.responseHeaders }
func responseBodyOf(v *vm) *sandbox.Func     { return v.fn.responseBody }
func responseTrailersOf(v *vm) *sandbox.Func { return v.fn.responseTrailers }

// RequestHeaders implements filter.Stream.
func (s *stream) RequestHeaders(end bool) (filter.Verdict, error) {
	return s.call(requestHeadersOf, phaseRequestHeaders, uint64(s.x.Request.Header.Len()+requestPseudo), flag(end))
}

// RequestBody implements filter.Stream.
func (s *stream) RequestBody(b *filter.Buffer, end bool) (filter.Verdict, error) {
	s.buffer = b
	return s.call(requestBodyOf, phaseRequestBody, uint64(len(b.Data)), flag(end))
}

// RequestTrailers implements filter.Stream.
func (s *stream) RequestTrailers() (filter.Verdict, error) {
	return s.call(requestTrailersOf, phaseRequestTrailers, uint64(s.x.Request.Trailer.Len()), 0)
}

// ResponseHeaders implements filter.Stream.
func (s *stream) ResponseHeaders(end bool) (filter.Verdict, error) {
	return s.call(responseHeadersOf, phaseResponseHeaders, uint64(s.x.Response.Header.Len()+responsePseudo), flag(end))
}

// ResponseBody implements filter.Stream.
func (s *stream) ResponseBody(b *filter.Buffer, end bool) (filter.Verdict, error) {
	s.buffer = b
	return s.call(responseBodyOf, phaseResponseBody, uint64(len(b.Data)), flag(end))
}

// ResponseTrailers implements filter.Stream.
func (s *stream) ResponseTrailers() (filter.Verdict, error) {
	return s.call(responseTrailersOf, phaseResponseTrailers, uint64(s.x.Response.Trailer.Len()), 0)
}

// Answer implements filter.Answerer: a tick answered for this paused stream.
func (s *stream) Answer() {
	if s.i.Lock() == nil {
		defer s.i.Unlock()
	}
	if s.answer != nil {
		s.fill()
	}
}

// fill makes the guest's answer the exchange's local response.
func (s *stream) fill() {
	a, l := s.answer, &s.x.Local
	l.Header.Reset()
	l.Status, l.Details, l.Body, l.GRPCStatus = a.status, a.details, a.body, a.grpc
	for _, p := range a.pairs {
		if len(p.name) > 0 && p.name[0] == ':' { // a status in the map must not become a second one
			continue
		}
		l.Header.Add(p.name, p.value)
	}
}

// Done implements filter.Stream: done, log, delete.
func (s *stream) Done() {
	if s.i != nil {
		if s.i.Lock() == nil {
			if !s.failed {
				s.finish()
			}
			delete(s.v.streams, s.id)
			s.i.Unlock()
		}
		s.i.Drop()
	}
	f := s.f
	*s = stream{}
	s.f = f
	f.streams.Put(s)
}

// finish makes the last callbacks; a failure ends the instance, not the exchange.
func (s *stream) finish() {
	v := s.v
	s.phase, s.buffer = phaseDone, nil
	for _, fn := range [...]*sandbox.Func{v.fn.done, v.fn.log, v.fn.remove} {
		if fn == nil || s.f.quiet && fn != v.fn.remove {
			continue
		}
		v.current, v.effective = s, s
		v.stack[0] = uint64(s.id)
		if err := s.i.Call(fn, &s.budget, v.stack[:]); err != nil {
			s.f.log.failure("the end of a stream", err)
			return
		}
	}
	v.current, v.effective = nil, nil
}
