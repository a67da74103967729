package proxywasm

import (
	"fmt"
	"sync"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
)

// vm is the state of one instance; used under its lock.
type vm struct {
	f     *Filter
	i     *sandbox.Instance
	alloc *sandbox.Func
	fn    functions

	stack      [8]uint64
	allocStack [2]uint64
	scratch    []byte
	lastID     uint32
	streams    map[uint32]*stream
	current    *stream                      // whose callback runs; nil: the root's
	effective  *stream                      // nil: the root
	starting   bool                         // until configured
	early      bool                         // before proxy_on_vm_start: nothing but the log works
	vmStart    bool                         // within proxy_on_vm_start
	doneAsked  bool                         // proxy_on_done of the root returned false
	released   bool                         // proxy_done was called since
	consumers  map[string]exchange.Consumer // by the JSON that named them

	calls    map[uint32]*call // under way, by their number
	lastCall uint32
	in       incoming
	status   struct {
		code    uint32
		message string
	}

	loop   rootLoop
	closed bool
}

// functions are the guest's callbacks; nil: not exported.
type functions struct {
	contextCreate, done, log, remove                   *sandbox.Func
	tick, queueReady, httpCallResponse, foreign, redis *sandbox.Func
	requestHeaders, requestBody, requestTrailers       *sandbox.Func
	responseHeaders, responseBody, responseTrailers    *sandbox.Func
	grpcInitial, grpcReceive, grpcTrailing, grpcClose  *sandbox.Func
	newConnection, downstreamData, upstreamData        *sandbox.Func
	downstreamClose, upstreamClose                     *sandbox.Func
}

func (fn *functions) find(i *sandbox.Instance) {
	for name, f := range map[string]**sandbox.Func{
		"proxy_on_context_create": &fn.contextCreate, "proxy_on_done": &fn.done, "proxy_on_log": &fn.log, "proxy_on_delete": &fn.remove,
		"proxy_on_tick": &fn.tick, "proxy_on_queue_ready": &fn.queueReady, "proxy_on_http_call_response": &fn.httpCallResponse,
		"proxy_on_foreign_function": &fn.foreign, "proxy_on_redis_call_response": &fn.redis,
		"proxy_on_request_headers": &fn.requestHeaders, "proxy_on_request_body": &fn.requestBody, "proxy_on_request_trailers": &fn.requestTrailers,
		"proxy_on_response_headers": &fn.responseHeaders, "proxy_on_response_body": &fn.responseBody, "proxy_on_response_trailers": &fn.responseTrailers,
		"proxy_on_grpc_receive_initial_metadata": &fn.grpcInitial, "proxy_on_grpc_receive": &fn.grpcReceive, "proxy_on_grpc_close": &fn.grpcClose,
		"proxy_on_grpc_receive_trailing_metadata": &fn.grpcTrailing,
		"proxy_on_new_connection":                 &fn.newConnection, "proxy_on_downstream_data": &fn.downstreamData, "proxy_on_upstream_data": &fn.upstreamData,
		"proxy_on_downstream_connection_close": &fn.downstreamClose, "proxy_on_upstream_connection_close": &fn.upstreamClose,
	} {
		*f = i.Func(name)
	}
	if fn.grpcTrailing == nil { // the AssemblyScript SDK's name for it
		fn.grpcTrailing = i.Func("proxy_on_grpc_trailing_metadata")
	}
}

// incoming is what map and buffer functions show within a root callback.
type incoming struct {
	headers, trailers             *exchange.Header // of an answer to an HTTP call
	initial, trailing             *exchange.Header // of a gRPC call
	body, message, foreign, redis []byte
}

// start readies a new instance (Proxy-Wasm, life cycle).
func (f *Filter) start(i *sandbox.Instance) error {
	v := &vm{f: f, i: i, lastID: rootID, streams: map[uint32]*stream{}, calls: map[uint32]*call{}, consumers: map[string]exchange.Consumer{}, starting: true, early: true}
	v.loop.init()
	i.Data = v
	if v.alloc = i.Func("proxy_on_memory_allocate"); v.alloc == nil {
		v.alloc = i.Func("malloc")
	}
	v.fn.find(i)
	err := v.life()
	v.starting, v.early = false, false
	if err != nil {
		v.close()
	}
	return err
}

// newID returns a context number that no other context of the instance has.
func (v *vm) newID() uint32 {
	for {
		v.lastID++
		if v.lastID <= rootID { // after four billion contexts
			v.lastID = rootID + 1
		}
		if v.streams[v.lastID] == nil {
			return v.lastID
		}
	}
}

// life makes the calls of a start, all within one budget.
func (v *vm) life() error {
	left := sandbox.Steps(v.f.config.Limits.CPUTimeStart)
	call := func(name string, args ...uint64) (uint32, error) {
		f := v.i.Func(name)
		if f == nil {
			return 1, nil
		}
		copy(v.stack[:], args)
		if err := v.i.Call(f, &sandbox.Budget{Call: left, Exchange: &left}, v.stack[:]); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		return uint32(v.stack[0]), nil
	}
	if v.i.Func("_initialize") != nil {
		if _, err := call("_initialize"); err != nil {
			return err
		}
		if v.i.Func("main") != nil {
			if _, err := call("main", 0, 0); err != nil {
				return err
			}
		} else if _, err := call("__main_void"); err != nil {
			return err
		}
	} else if _, err := call("_start"); err != nil {
		return err
	}
	v.early = false
	if _, err := call("proxy_on_context_create", rootID, 0); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		size int
	}{{"proxy_on_vm_start", len(v.f.config.VMConfig)}, {"proxy_on_configure", len(v.f.config.Config)}} {
		v.vmStart = step.name == "proxy_on_vm_start"
		ok, err := call(step.name, rootID, uint64(step.size))
		if err != nil {
			return err
		}
		if ok == 0 {
			return fmt.Errorf("%s returned false: %w", step.name, ErrConfigRefused)
		}
	}
	return nil
}

// root runs a callback of the root context; b nil: within the limit of one call.
func (v *vm) root(b *sandbox.Budget, event func(*vm) error) error {
	if b == nil {
		b = &sandbox.Budget{Call: sandbox.Steps(v.f.config.Limits.CPUTime)}
	}
	v.current, v.effective = nil, nil
	v.loop.budget = b
	err := event(v)
	v.in = incoming{}
	v.effective = nil
	return err
}

// callRoot calls a function of the root context within an event.
func (v *vm) callRoot(fn *sandbox.Func, args ...uint64) error {
	if fn == nil {
		return nil
	}
	v.stack[0] = rootID
	copy(v.stack[1:], args)
	return v.i.Call(fn, v.loop.budget, v.stack[:])
}

// onRoot runs an event of the root context on a goroutine that is no exchange's; a
// failure ends the instance, which its streams learn.
func (v *vm) onRoot(name string, event func(*vm) error) {
	if err := v.root(nil, event); err != nil {
		v.f.log.failure(name, err)
	}
}

// askDone tells the root context that its end is near; done is false while the
// plugin wants to go on until it calls proxy_done.
func (v *vm) askDone() (done bool) {
	if v.fn.done == nil || v.doneAsked {
		return !v.doneAsked || v.released
	}
	err := v.root(nil, func(v *vm) error { return v.callRoot(v.fn.done) })
	v.doneAsked = true
	v.released = v.released || err != nil || uint32(v.stack[0]) != 0
	return v.released
}

// closing ends the root context before an orderly close.
func (f *Filter) closing(i *sandbox.Instance) {
	v, ok := i.Data.(*vm)
	if !ok {
		return
	}
	v.askDone()
	if i.Alive() && v.fn.remove != nil {
		_ = v.root(nil, func(v *vm) error { return v.callRoot(v.fn.remove) }) // it is closed all the same
	}
	v.close()
	v.wakeAll()
}

// died tells the streams of a dead instance.
func (f *Filter) died(i *sandbox.Instance) {
	if v, ok := i.Data.(*vm); ok {
		v.close()
		v.wakeAll()
	}
}

func (v *vm) wakeAll() {
	for _, s := range v.streams {
		if s.ways[0].waits() || s.ways[1].waits() {
			s.w.Post(filter.Fail)
		}
	}
}

// close stops the root's goroutine and gives up calls; the instance's lock is held.
func (v *vm) close() {
	if v.closed {
		return
	}
	v.closed = true
	v.loop.stop()
	v.f.shared.leave(v)
	for _, c := range v.calls {
		v.drop(c)
	}
}

// rootLoop makes the callbacks that time and other instances cause, one after
// another: ticks, queues.
type rootLoop struct {
	once   sync.Once
	period chan time.Duration // capacity 1
	kick   chan struct{}      // capacity 1
	done   chan struct{}
	budget *sandbox.Budget // of the root callback that runs

	mu    sync.Mutex
	ready []uint32 // queues that something was put into
}

func (l *rootLoop) init() {
	l.period, l.kick, l.done = make(chan time.Duration, 1), make(chan struct{}, 1), make(chan struct{})
}

func (l *rootLoop) stop() { close(l.done) }

// minTick keeps a guest from ticking all the time.
const minTick = 10 * time.Millisecond

// setTick arms the ticker; 0 stops it.
func (v *vm) setTick(d time.Duration) {
	if v.closed || v.fn.tick == nil {
		return
	}
	if d > 0 {
		d = max(d, minTick)
	}
	select {
	case <-v.loop.period:
	default:
	}
	v.loop.period <- d
	v.run()
}

// run starts the root's goroutine.
func (v *vm) run() {
	v.loop.once.Do(func() { v.f.group.Go(v.serve) })
}

// maxReady bounds the notifications that an instance has not looked at.
const maxReady = 1024

// notify has proxy_on_queue_ready called. Any goroutine may call it.
func (v *vm) notify(queue uint32) {
	l := &v.loop
	l.mu.Lock()
	if len(l.ready) < maxReady {
		l.ready = append(l.ready, queue)
	}
	l.mu.Unlock()
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// serve runs until the instance is closed.
func (v *vm) serve() {
	l := &v.loop
	var period time.Duration
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-l.done:
			return
		case period = <-l.period:
			timer.Reset(max(period, minTick))
			if period == 0 {
				timer.Stop()
			}
		case <-timer.C:
			if period == 0 {
				continue
			}
			v.locked(func() {
				v.onRoot("proxy_on_tick", func(v *vm) error { return v.callRoot(v.fn.tick) })
			})
			timer.Reset(period)
		case <-l.kick:
			l.mu.Lock()
			ready := l.ready
			l.ready = nil
			l.mu.Unlock()
			for _, queue := range ready {
				v.locked(func() {
					v.onRoot("proxy_on_queue_ready", func(v *vm) error { return v.callRoot(v.fn.queueReady, uint64(queue)) })
				})
			}
		}
	}
}

// locked runs f with the instance's lock, unless it is closed.
func (v *vm) locked(f func()) {
	if v.i.Lock() != nil {
		return
	}
	defer v.i.Unlock()
	if !v.closed {
		f()
	}
}
