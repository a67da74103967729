package proxywasm

import (
	"errors"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/hosts/capability"
)

// stage is how far one direction of a stream is: its last callback.
type stage uint8

const (
	stageNone stage = iota
	stageHeaders
	stageBody
	stageTrailers
)

// Directions of a stream; of a raw connection: from the client, from the upstream.
const (
	wayRequest  = 0
	wayResponse = 1
	wayNone     = 2 // no callback of the stream runs
)

// way is one direction of a stream.
type way struct {
	stage  stage
	end    bool // the callback saw the end of stream
	buffer *filter.Buffer
	// parked: the goroutine that this direction passes on waits, until Unpark.
	// What other goroutines may touch meanwhile is open's to say.
	parked bool
	// held: a part of the body, or the headers while parts come, is held back.
	// The exchange's goroutine will come by.
	held bool
	// kept: what is held back of the body is there in the trailers' callback too.
	kept bool
	// headers: the headers have not gone on, so that they can still be changed.
	headers bool
	resumed bool // within the callback
}

func (w *way) waits() bool { return w.parked || w.held }

// stream is a stream context: the plugin's part in one exchange, or in one raw
// connection (then x is nil). Its members are used under the instance's lock,
// or by the exchange's goroutine between callbacks.
type stream struct {
	f    *Filter
	i    *sandbox.Instance
	v    *vm
	r    *root
	id   uint32
	x    *exchange.Exchange
	conn *exchange.Conn
	w    *filter.Waker

	budget sandbox.Budget
	left   int64 // of the exchange
	ways   [2]way
	now    uint8 // whose callback runs
	done   bool  // the last callbacks run
	failed bool
	// opened: penstock_on_request_headers has made the context. kept: the guest may wait for
	// something with it. gone: the guest has deleted it, and no callback follows.
	opened, kept, gone bool
	grown              int // bytes put into maps
	// fields are what the response's head is to have (penstock.set_response_headers).
	fields []pair
	// steered: the filter has steered the cache; before is what was said before it.
	steered bool
	before  *exchange.CacheSteer
	found   exchange.Consumer // that the filter found last; without a name: none
	// recodings are those of the bodies that the filter has encoded or decoded.
	recodings [2]capability.Recoding
	// delivering: an answer is handed over on the exchange's goroutine.
	delivering bool
	deliveries []func(*vm) error
	// what the callback that runs asked for
	reset  bool
	answer *answer
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
	_ filter.Stream    = (*stream)(nil)
	_ filter.Answerer  = (*stream)(nil)
	_ filter.Parker    = (*stream)(nil)
	_ filter.Deliverer = (*stream)(nil)
)

// Begin implements filter.Filter. The instance is chosen at the first callback.
func (f *Filter) Begin(x *exchange.Exchange, w *filter.Waker) (filter.Stream, error) {
	return f.stream(x, x.Conn, w), nil
}

func (f *Filter) stream(x *exchange.Exchange, c *exchange.Conn, w *filter.Waker) *stream {
	s := f.streams.Get().(*stream)
	*s = stream{f: f, x: x, conn: c, w: w, now: wayNone, left: sandbox.Steps(f.config.Limits.CPUTimeExchange), deliveries: s.deliveries[:0], fields: s.fields[:0]}
	s.budget = sandbox.Budget{Call: sandbox.Steps(f.config.Limits.CPUTime), Exchange: &s.left, Usage: f.usage}
	return s
}

// enter takes the instance, and makes the context on it if this is the first call, unless
// that call makes it itself.
func (s *stream) enter(cb *callback) error {
	if s.i != nil {
		return s.lock()
	}
	r, err := s.f.acquire()
	if err != nil {
		s.failed = true
		return convert(err)
	}
	v, i := r.v, r.v.i
	s.i, s.v, s.r, s.id = i, v, r, v.newID()
	r.hold()
	v.streams[s.id] = s
	if s.opened = cb.opening != nil && cb.opening(v) != nil; s.opened || v.fn.contextCreate == nil {
		return nil
	}
	v.r, v.current, v.effective = r, s, s
	v.stack[0], v.stack[1] = uint64(s.id), uint64(r.id)
	if err := v.invoke(v.fn.contextCreate, &s.budget); err != nil {
		s.failed = true
		i.Unlock()
		return convert(err)
	}
	return nil
}

// lock takes the stream's instance.
func (s *stream) lock() error {
	err := s.i.Lock()
	if err == nil && s.r.closed {
		s.i.Unlock()
		err = sandbox.ErrClosed
	}
	if err == nil {
		return nil
	}
	s.failed = true
	if s.v.killer == s.f {
		return &filter.Error{Cause: sandbox.CauseTrap, Err: err}
	}
	return &filter.Error{Cause: sandbox.CauseUnavailable, Err: err} // the filter's own calls did no harm
}

// convert makes a sandbox's failure the chain's.
func convert(err error) error {
	var f *sandbox.Failure
	if errors.As(err, &f) {
		return &filter.Error{Cause: f.Cause, Err: f.Err, Busy: errors.Is(f.Err, sandbox.ErrCrowded)}
	}
	return &filter.Error{Cause: sandbox.CauseABI, Err: err}
}

// callback is one callback to be made.
type callback struct {
	of func(*vm) *sandbox.Func
	// opening is made in its place, with the root context's number before the other
	// arguments, if it is the first one of a stream; nil, or it returns nil: there is none.
	opening func(*vm) *sandbox.Func

	way   uint8
	stage stage
	end   bool
}

// contextGone is a bit of what penstock_on_request_headers returns: with CONTINUE it says
// that the guest keeps no context for the stream.
const contextGone = 1 << 8

// call makes one callback, with b and c after the context's number.
func (s *stream) call(cb callback, b, c uint64) (filter.Verdict, error) {
	if s.gone {
		return filter.Continue, nil
	}
	first := s.i == nil
	if err := s.enter(&cb); err != nil {
		return filter.Continue, err
	}
	defer s.i.Unlock()
	v, w := s.v, &s.ways[cb.way]
	opening := first && s.opened
	fn := cb.of(v)
	if opening {
		fn = cb.opening(v)
	}
	if fn == nil {
		w.headers, w.held, w.parked = false, false, false
		return filter.Continue, nil
	}
	if s.answer != nil { // made by another context's callback since the last one
		s.fill()
		return filter.Respond, nil
	}
	s.begin(w, &cb)
	if opening {
		v.stack[0], v.stack[1], v.stack[2], v.stack[3], v.stack[4] = uint64(s.r.id), uint64(s.id), b, c, uint64(v.nextEnded())
	} else {
		v.stack[0], v.stack[1], v.stack[2] = uint64(s.id), b, c
	}
	err := s.run(fn)
	s.now = wayNone
	if err != nil {
		return filter.Continue, err
	}
	action := uint32(v.stack[0])
	gone := opening && action&contextGone != 0
	if gone {
		action &^= contextGone
	}
	verdict, err := s.verdict(w, &cb, action)
	switch {
	case err != nil:
	case verdict == filter.Continue && gone:
		s.gone = true
		delete(v.streams, s.id)
	case verdict != filter.Continue && verdict != filter.Respond:
		s.kept = true
	}
	return verdict, err
}

// begin readies the stream for a callback.
func (s *stream) begin(w *way, cb *callback) {
	if !w.waits() { // what undid an earlier pause must not undo the next one
		s.w.Take(resumeOf(cb.way))
	}
	if cb.stage == stageHeaders {
		w.headers = true
		s.recoded(cb.way) // of a response that another one replaces
	}
	w.stage, w.end, w.parked, w.resumed = cb.stage, cb.end, false, false
	s.now, s.reset = cb.way, false
}

// run calls the guest as this stream.
func (s *stream) run(fn *sandbox.Func) error {
	v := s.v
	v.r, v.current, v.effective = s.r, s, s
	err := v.invoke(fn, &s.budget)
	v.current, v.effective = nil, nil
	if err != nil {
		s.failed = true
		return convert(err)
	}
	return nil
}

// verdict turns what the guest returned, and what it asked for, into a verdict.
func (s *stream) verdict(w *way, cb *callback, action uint32) (filter.Verdict, error) {
	switch {
	case s.answer != nil:
		s.fill()
		return filter.Respond, nil
	case s.reset:
		return filter.Reset, nil
	}
	v := filter.Continue
	if !w.resumed {
		v = s.f.action(action, cb.stage, s, cb.way)
	}
	held := v == filter.Pause && cb.stage == stageBody || v == filter.Hold && !cb.end
	w.kept = v != filter.Continue && (cb.stage == stageBody || w.kept)
	w.held, w.parked = held, v != filter.Continue && !held
	if v == filter.Continue && cb.stage != stageTrailers {
		w.headers = false
	}
	if !w.waits() && !s.ways[1-cb.way].waits() { // nobody will come by for them
		if err := s.deliver(); err != nil {
			return filter.Continue, err
		}
		if s.answer != nil {
			s.fill()
			return filter.Respond, nil
		}
	}
	return v, nil
}

// Actions of the 0.2.100 dialect: Envoy's FilterHeadersStatus and FilterDataStatus.
const (
	headersStop            = 1
	headersContinueAndEnd  = 2
	dataStopWithoutBuffer  = 3
	actionPause            = 1
	firstUnknownHeaders    = 5
	firstUnknownDataStatus = 4
)

// action turns a callback's result into a verdict.
func (f *Filter) action(n uint32, at stage, s *stream, way uint8) filter.Verdict {
	if n == 0 {
		return filter.Continue
	}
	stop := filter.Pause
	if f.headerStop == config.HeaderStopHeaders {
		stop = filter.Hold
	}
	if at != stageHeaders {
		if f.raw && at == stageBody && n == dataStopWithoutBuffer {
			s.ways[way].buffer.Data = nil // the plugin keeps what it wants of it
		}
		return filter.Pause
	}
	if !f.raw || n == headersStop || n >= firstUnknownHeaders {
		return stop
	}
	if n == headersContinueAndEnd {
		s.endBody(way)
		return filter.Continue
	}
	return filter.Pause // StopAllIteration, with buffer or watermark
}

// endBody drops a message's body and trailers.
func (s *stream) endBody(way uint8) {
	if s.x == nil {
		return
	}
	body, length, trailer := &s.x.Request.Body, &s.x.Request.ContentLength, &s.x.Request.Trailer
	if way == wayResponse {
		body, length, trailer = &s.x.Response.Body, &s.x.Response.ContentLength, &s.x.Response.Trailer
	}
	if *body != nil {
		(*body).Close()
		*body, *length = nil, 0
	}
	trailer.Reset()
}

// Deliver implements filter.Deliverer: answers to calls out, on the exchange's
// goroutine, so that the guest can change what it holds.
func (s *stream) Deliver() error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.i.Unlock()
	return s.deliver()
}

// deliver makes the callbacks that wait for the stream; the instance is locked.
func (s *stream) deliver() error {
	for n := 0; n < len(s.deliveries); n++ {
		event := s.deliveries[n]
		s.deliveries[n] = nil
		s.delivering = true
		err := s.r.run(&s.budget, event)
		s.delivering = false
		if err != nil {
			s.failed = true
			return convert(err)
		}
	}
	s.deliveries = s.deliveries[:0]
	return nil
}

// Unpark implements filter.Parker.
func (s *stream) Unpark(request bool) {
	w := &s.ways[wayResponse]
	if request {
		w = &s.ways[wayRequest]
	}
	if s.i.Lock() == nil {
		defer s.i.Unlock()
	} // else the instance is dead: no guest can reach it
	w.parked, w.held, w.headers, w.kept = false, false, false, false
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
