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
	fn    struct {
		contextCreate, done, log, remove, tick                     *sandbox.Func
		requestHeaders, requestBody, requestTrailers               *sandbox.Func
		responseHeaders, responseBody, responseTrailers, configure *sandbox.Func
	}
	stack      [4]uint64
	allocStack [2]uint64
	scratch    []byte
	nextID     uint32
	streams    map[uint32]*stream
	current    *stream // whose callback runs; nil: the root's
	effective  *stream // nil: the root
	starting   bool
	consumers  map[string]exchange.Consumer // by the JSON that named them

	tickOnce sync.Once
	period   chan time.Duration // capacity 1
	done     chan struct{}
	closed   bool
}

// start readies a new instance (Proxy-Wasm, life cycle).
func (f *Filter) start(i *sandbox.Instance) error {
	v := &vm{f: f, i: i, nextID: rootID + 1, streams: map[uint32]*stream{}, consumers: map[string]exchange.Consumer{}, starting: true,
		period: make(chan time.Duration, 1), done: make(chan struct{})}
	i.Data = v
	if v.alloc = i.Func("proxy_on_memory_allocate"); v.alloc == nil {
		v.alloc = i.Func("malloc")
	}
	fn := &v.fn
	fn.contextCreate, fn.done, fn.log, fn.remove, fn.tick = i.Func("proxy_on_context_create"), i.Func("proxy_on_done"), i.Func("proxy_on_log"), i.Func("proxy_on_delete"), i.Func("proxy_on_tick")
	fn.requestHeaders, fn.requestBody, fn.requestTrailers = i.Func("proxy_on_request_headers"), i.Func("proxy_on_request_body"), i.Func("proxy_on_request_trailers")
	fn.responseHeaders, fn.responseBody, fn.responseTrailers = i.Func("proxy_on_response_headers"), i.Func("proxy_on_response_body"), i.Func("proxy_on_response_trailers")
	err := v.life()
	v.starting = false
	if err != nil {
		v.close()
	}
	return err
}

// life makes the calls of a start, all within one budget.
func (v *vm) life() error {
	left := sandbox.Steps(v.f.config.Limits.CPUTimeStart)
	call := func(name string, args ...uint64) (uint32, error) {
		f := v.i.Func(name)
		if f == nil {
			return 1, nil
		}
		n := copy(v.stack[:], args)
		_ = n
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
	if _, err := call("proxy_on_context_create", rootID, 0); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		size int
	}{{"proxy_on_vm_start", 0}, {"proxy_on_configure", len(v.f.config.Config)}} {
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

// closing ends the root context before an orderly close.
func (f *Filter) closing(i *sandbox.Instance) {
	v, ok := i.Data.(*vm)
	if !ok {
		return
	}
	v.current, v.effective = nil, nil
	for _, fn := range []*sandbox.Func{v.fn.done, v.fn.remove} {
		if fn == nil || !i.Alive() {
			continue
		}
		v.stack[0] = rootID
		if err := i.Call(fn, &sandbox.Budget{Call: sandbox.Steps(f.config.Limits.CPUTime)}, v.stack[:]); err != nil {
			break // it is closed all the same
		}
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
		if s.parked {
			s.w.Post(filter.Fail)
		}
	}
}

// close stops the ticker; the instance's lock is held.
func (v *vm) close() {
	if !v.closed {
		v.closed = true
		close(v.done)
	}
}

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
	case <-v.period:
	default:
	}
	v.period <- d
	v.tickOnce.Do(func() { v.f.ticks.Go(v.tickLoop) })
}

// tickLoop calls the guest's tick until the instance is closed.
func (v *vm) tickLoop() {
	var period time.Duration
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if period == 0 {
			timer.Reset(time.Hour)
		} else {
			timer.Reset(period)
		}
		select {
		case <-v.done:
			return
		case period = <-v.period:
			continue
		case <-timer.C:
		}
		if period == 0 {
			continue
		}
		if v.i.Lock() != nil {
			return
		}
		if !v.closed {
			v.tick()
		}
		v.i.Unlock()
	}
}

// tick makes one call on the root context; a failure ends the instance, which
// its streams learn.
func (v *vm) tick() {
	v.current, v.effective = nil, nil
	v.stack[0] = rootID
	start := time.Now()
	if err := v.i.Call(v.fn.tick, &sandbox.Budget{Call: sandbox.Steps(v.f.config.Limits.CPUTime)}, v.stack[:]); err != nil {
		v.f.log.failure("proxy_on_tick", err)
	}
	v.effective = nil
	v.f.pool.Seconds().Observe(time.Since(start).Seconds())
}
