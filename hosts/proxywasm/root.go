package proxywasm

import (
	"fmt"
	"sync"
	"time"

	"penstock.dev/penstock/core/sandbox"
)

// firstRoot is the number of an instance's first root context, by convention.
const firstRoot = 1

// root is a root context: one filter on one instance. Used under the
// instance's lock.
type root struct {
	f  *Filter
	v  *vm
	id uint32

	starting  bool // until configured
	doneAsked bool // proxy_on_done returned false
	released  bool // proxy_done was called since
	closed    bool
	busy      bool // ticks, or waits for a queue
	calls     int  // under way
	callBytes int  // of their bodies
	status    struct {
		code    uint32
		message string
	}
	budget *sandbox.Budget // of the callback that runs

	expressions  expressions
	keys         keys
	redisTimeout time.Duration // 0: that of the parameters
	loop         rootLoop
}

// add makes the root context of a filter and configures it, within the steps left.
func (v *vm) add(f *Filter, left *int64) (*root, error) {
	r := &root{f: f, v: v, id: v.newID(), starting: true}
	r.loop.init(f.abi.o.Clock)
	v.roots[f] = r
	v.r, v.current, v.effective = r, nil, nil
	err := r.configure(left)
	r.starting = false
	if err != nil {
		if v.i.Alive() {
			r.close()
			delete(v.roots, f)
		}
		return nil, err
	}
	return r, nil
}

func (r *root) configure(left *int64) error {
	v := r.v
	first := v.early
	v.early = false
	if _, err := v.startCall(left, "proxy_on_context_create", uint64(r.id), 0); err != nil {
		return err
	}
	if first { // the instance's first filter starts it for all
		v.vmStart = true
		ok, err := v.startCall(left, "proxy_on_vm_start", uint64(r.id), uint64(len(r.f.config.VMConfig)))
		v.vmStart = false
		if err != nil || ok == 0 {
			v.early = true
			return refused("proxy_on_vm_start", err)
		}
	}
	ok, err := v.startCall(left, "proxy_on_configure", uint64(r.id), uint64(len(r.f.config.Config)))
	if err != nil || ok == 0 {
		return refused("proxy_on_configure", err)
	}
	return nil
}

func refused(name string, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%s returned false: %w", name, ErrConfigRefused)
}

// startCall makes one call of a start; without such an export it returns 1.
func (v *vm) startCall(left *int64, name string, a, b uint64) (uint32, error) {
	f := v.i.Func(name)
	if f == nil {
		return 1, nil
	}
	v.stack[0], v.stack[1] = a, b
	budget := sandbox.Budget{Call: *left, Exchange: left, Usage: v.r.f.usage}
	err := v.invoke(f, &budget)
	budget.Settle()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return uint32(v.stack[0]), nil
}

// hold keeps the instance, and the filter, from being closed in an orderly way.
func (r *root) hold() {
	r.v.i.Hold()
	r.f.holds.Add(1)
}

// drop undoes a hold of a call out.
func (r *root) drop() {
	r.v.i.Drop()
	r.f.holds.Add(-1)
}

// release undoes a hold of a stream; the instance is not locked.
func (r *root) release() {
	r.v.i.Drop()
	if r.stranded() {
		r.f.depart()
	}
	r.f.holds.Add(-1)
}

// run runs an event; b nil: within the limit of one call.
func (r *root) run(b *sandbox.Budget, event func(*vm) error) error {
	v := r.v
	if b == nil {
		b = &sandbox.Budget{Call: sandbox.Steps(r.f.config.Limits.CPUTime), Usage: r.f.usage}
	}
	v.r, v.current, v.effective = r, nil, nil
	r.budget = b
	err := event(v)
	if b.Exchange == nil {
		b.Settle()
	}
	v.arrived = incoming{}
	v.effective = nil
	return err
}

// callRoot calls a function of the current root context within an event.
func (v *vm) callRoot(fn *sandbox.Func, args ...uint64) error {
	if fn == nil {
		return nil
	}
	v.stack[0] = uint64(v.r.id)
	copy(v.stack[1:], args)
	return v.invoke(fn, v.r.budget)
}

// on runs an event on a goroutine that is no exchange's; a failure ends the
// instance, which its streams learn.
func (r *root) on(name string, event func(*vm) error) {
	if err := r.run(nil, event); err != nil {
		r.f.log.Failure(name, err)
	}
}

// askDone tells the root context that its end is near; done is false while the
// plugin wants to go on until it calls proxy_done.
func (r *root) askDone() (done bool) {
	v := r.v
	switch {
	case v.fn.done == nil || r.stranded():
		return true
	case r.doneAsked:
		return r.released
	}
	err := r.run(nil, func(v *vm) error { return v.callRoot(v.fn.done) })
	r.doneAsked = true
	r.released = r.released || err != nil || uint32(v.stack[0]) != 0
	return r.released
}

// end makes the last callbacks and forgets the root context. The instance may
// be dead afterwards.
func (r *root) end() {
	v := r.v
	for v.i.Alive() && len(v.ended) > 0 && !r.stranded() {
		_ = r.run(nil, func(v *vm) error { // it is closed all the same
			v.stack[0] = uint64(v.nextEnded())
			return v.invoke(v.fn.remove, r.budget)
		})
	}
	r.askDone()
	if v.i.Alive() && v.fn.remove != nil && !r.stranded() {
		_ = r.run(nil, func(v *vm) error { return v.callRoot(v.fn.remove) }) // it is closed all the same
	}
	if v.i.Alive() {
		r.close()
		delete(v.roots, r.f)
		for _, s := range v.streams {
			if s.r == r {
				s.wakeUp()
			}
		}
	}
}

// close stops the goroutine and gives up calls.
func (r *root) close() {
	if r.closed {
		return
	}
	r.closed = true
	r.loop.stop()
	r.f.shared.leave(r)
	for _, c := range r.v.calls {
		if c.r == r {
			r.v.drop(c)
		}
	}
}

// inUse says whether a stream has the root context.
func (r *root) inUse() bool {
	for _, s := range r.v.streams {
		if s.r == r {
			return true
		}
	}
	return false
}

// stranded says that the root context's filter has left, or is to leave, the
// instances that it shared: it gets no callback of its own any more, which might
// do harm there again.
func (r *root) stranded() bool { return r.v.in.key != "" && r.f.alone.Load() }

// rootLoop makes the callbacks that time and other instances cause, one after
// another: ticks, queues.
type rootLoop struct {
	once  sync.Once
	timer sandbox.Timer // of ticks
	kick  chan struct{} // capacity 1
	done  chan struct{}

	mu     sync.Mutex
	period time.Duration // of ticks; 0: none
	ready  []uint32      // queues that something was put into
}

func (l *rootLoop) init(c sandbox.Clock) {
	l.timer, l.kick, l.done = c.NewTimer(), make(chan struct{}, 1), make(chan struct{})
}

func (l *rootLoop) stop() { close(l.done) }

// tick arms the timer anew.
func (l *rootLoop) tick(period time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.period = period
	l.arm()
}

func (l *rootLoop) arm() {
	if l.period == 0 {
		l.timer.Stop()
	} else {
		l.timer.Reset(l.period)
	}
}

// setTick arms the ticker; 0 stops it.
func (r *root) setTick(d time.Duration) {
	if r.closed || r.v.fn.tick == nil {
		return
	}
	if d > 0 {
		d = max(d, minTick)
	}
	r.loop.tick(d)
	r.work()
}

// work starts the root's goroutine.
func (r *root) work() {
	r.busy = true
	r.loop.once.Do(func() { r.f.group.Go(r.serve) })
}

// maxReady bounds the notifications that a root context has not looked at.
const maxReady = 1024

// notify has proxy_on_queue_ready called. Any goroutine may call it.
func (r *root) notify(queue uint32) {
	l := &r.loop
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

// serve runs until the root context is closed.
func (r *root) serve() {
	l := &r.loop
	defer l.timer.Stop()
	for {
		select {
		case <-l.done:
			return
		case <-l.timer.C():
			r.v.i.Pace(l.done)
			r.locked(func() {
				r.on("proxy_on_tick", func(v *vm) error { return v.callRoot(v.fn.tick) })
			})
			l.mu.Lock()
			l.arm()
			l.mu.Unlock()
			l.timer.Handled()
		case <-l.kick:
			l.mu.Lock()
			ready := l.ready
			l.ready = nil
			l.mu.Unlock()
			for _, queue := range ready {
				r.v.i.Pace(l.done)
				r.locked(func() {
					r.on("proxy_on_queue_ready", func(v *vm) error { return v.callRoot(v.fn.queueReady, uint64(queue)) })
				})
			}
		}
	}
}

// locked runs f with the instance's lock, unless the root context is closed or
// stranded.
func (r *root) locked(f func()) {
	if r.v.i.Lock() != nil {
		return
	}
	defer r.v.i.Unlock()
	if r.closed || r.stranded() {
		return
	}
	f()
}
