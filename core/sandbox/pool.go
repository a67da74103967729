package sandbox

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/sandbox/meter"
	"penstock.dev/penstock/core/telemetry"
)

const (
	// maxInstances bounds a pool, beside GOMAXPROCS.
	maxInstances = 4
	// idleAfter is when a pool shrinks to one instance.
	idleAfter = time.Minute
	// The first deaths in calmAfter are replaced at once, the others with back-off.
	// They are as many as make a filter count as failing (annotations.md, section 5):
	// a back-off before would only put its roll-back off.
	freeDeaths   = 10
	firstBackOff = 10 * time.Millisecond
	lastBackOff  = 30 * time.Second
	calmAfter    = time.Minute
)

// PoolOptions say how a filter runtime's instances are made.
type PoolOptions struct {
	Owner, Filter string // of metrics and log
	Tenant        string // namespace whose totals count; empty: none
	MemoryBytes   int64  // linear memory of one instance
	StartSteps    int64  // budget of instantiation, and of Init
	Most          int    // instances of a pool that is used with Take
	Env           []config.EnvVar
	// Import returns the function for an import; nil: it is not known, and gets
	// a stub that answers 12.
	Import func(Import) HostFunc
	// Init readies a new instance, which is locked: it calls its start
	// functions and sets Data.
	Init func(*Instance) error
	// Closing is called before an instance is closed in an orderly way, locked.
	Closing func(*Instance)
	// Died is called once for an instance that died. Its lock is held, the
	// guest cannot be called.
	Died func(*Instance)
	// Idle says that an instance does nothing on its own, so that the last one may
	// go too once nobody has used it for a while; nil: the last one stays.
	Idle func(*Instance) bool
	// Patient: instances that died are replaced at once, for whoever ends one does
	// not come back. A start that fails is tried again with back-off all the same.
	Patient bool
	// Lazy: the first instance is made when it is first needed.
	Lazy bool
	// Line gets each line that a guest writes, without its end; not kept.
	Line func(i *Instance, stderr bool, line []byte)
}

// Pool is the instances of one filter runtime, or of several that share them.
type Pool struct {
	engine  *Engine
	module  *Module
	o       PoolOptions
	imports []HostFunc // in the order of the module's
	memory  atomic.Int64
	tenant  *Tenant

	usage     *Usage // of calls whose budget names no other
	instances telemetry.Gauge
	bytes     telemetry.Gauge

	// list is the live instances; replaced under mu, read by any goroutine.
	list atomic.Pointer[[]*Instance]
	next atomic.Uint32

	// create is held while an instance is made: one at a time.
	create sync.Mutex
	group  sync.WaitGroup // growing goroutines

	exclusive exclusive

	mu       sync.Mutex
	closed   bool
	growing  bool
	deaths   int
	lastDied time.Time
	retryAt  time.Time
}

// NewPool makes a pool with one instance, whose error is returned: the trial.
// With Lazy it makes none.
func (m *Module) NewPool(ctx context.Context, o PoolOptions) (*Pool, error) {
	if !m.memory { // nor is it known how large it is
		return nil, errNoMemory
	}
	if least := m.least; least > uint64(max(o.MemoryBytes, 0)) {
		return nil, fmt.Errorf("%w: it starts with %d KiB of memory, and its limit is %d KiB: raise limits.memory", meter.ErrModule, least>>10, o.MemoryBytes>>10)
	}
	e := m.engine
	p := &Pool{engine: e, module: m, o: o,
		usage:     e.usageOf(o.Owner, o.Filter),
		instances: e.metrics.instances.With(o.Owner, o.Filter),
		bytes:     e.metrics.memory.With(o.Owner, o.Filter),
	}
	p.list.Store(&[]*Instance{})
	e.mu.Lock()
	p.tenant = e.tenant(o.Tenant)
	p.tenant.hold(1) // before somebody can forget it
	m.refs++
	e.mu.Unlock()
	p.serve()
	m.link.Do(func() { m.linked = m.linkImports(context.Background()) })
	if m.linked != nil {
		p.free()
		return nil, fmt.Errorf("%w: %w", meter.ErrModule, m.linked)
	}
	e.mu.Lock()
	e.pools[p] = struct{}{}
	e.mu.Unlock()
	if o.Lazy {
		return p, nil
	}
	p.create.Lock()
	_, err := p.make()
	p.create.Unlock()
	if err != nil {
		p.Close(ctx)
		return nil, err
	}
	return p, nil
}

// Usage returns the counters of calls whose budget names none.
func (p *Pool) Usage() *Usage { return p.usage }

// make adds an instance; create is held.
func (p *Pool) make() (*Instance, error) {
	i := &Instance{pool: p, funcs: map[string]*Func{}}
	a, err := p.allocate(p.module.least)
	if err != nil {
		return nil, err
	}
	memory := a.m
	i.Context = experimental.WithMemoryAllocator(context.Background(), a)
	i.mu.Lock()
	defer i.mu.Unlock()
	begun := time.Now()
	defer func() { i.startTime = time.Since(begun) }()
	i.begin(p.o.StartSteps)
	i.left = p.o.StartSteps // a start function asks for its first steps
	module, err := p.module.runtime.InstantiateModule(i, p.module.code.CompiledModule, i.moduleConfig())
	p.tenant.spend(i.end())
	a.release()
	if err != nil {
		i.dead.Store(true)
		if i.failure != nil {
			err = i.failure
		}
		return nil, p.starved(memory, fmt.Errorf("instantiate: %w", err))
	}
	i.module, i.memory = module, module.Memory()
	i.steps = module.ExportedGlobal(meter.GlobalSteps).(api.MutableGlobal)
	i.Context = context.Background() // the allocator is needed only above
	i.used.Store(nowSeconds())
	if p.o.Init != nil {
		if err := p.o.Init(i); err != nil {
			if !i.dead.Load() {
				p.remove(i)
				i.dead.Store(true)
				p.closeModule(i)
			}
			return nil, p.starved(memory, err)
		}
	}
	if !p.add(i) {
		p.retire(i) // what Init has begun ends too
		return nil, &Failure{CauseUnavailable, ErrClosed}
	}
	return i, nil
}

// add puts a new instance into the list; false: the pool is closed.
func (p *Pool) add(i *Instance) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	list := append(slices.Clone(*p.list.Load()), i)
	p.list.Store(&list)
	p.instances.Add(1)
	p.usage.starts.Inc()
	return true
}

// starved says of a failed start that the tenant's memory ran out, if it did.
func (p *Pool) starved(m *memory, err error) error {
	if !m.starved.Load() {
		return err
	}
	return fmt.Errorf("%w: %w", p.tenant.memoryError(p.module.least), err)
}

var errNoMemory = errors.New("the module exports no memory")

// Acquire returns a live instance, locked: a free one, else the pool grows
// while the caller waits for one. The error is a *Failure: in back-off, or
// closed.
func (p *Pool) Acquire() (*Instance, error) {
	for {
		list := *p.list.Load()
		if len(list) == 0 {
			if err := p.replace(); err != nil {
				return nil, err
			}
			continue
		}
		start := int(p.next.Load())
		for n := range list {
			i := list[(start+n)%len(list)]
			if i.mu.TryLock() {
				if !i.dead.Load() {
					return i, nil
				}
				i.mu.Unlock()
			}
		}
		if len(list) < min(runtime.GOMAXPROCS(0), maxInstances) {
			p.grow()
		}
		i := list[int(p.next.Add(1))%len(list)]
		if i.Lock() == nil {
			return i, nil
		}
	}
}

func nowSeconds() int64 { return int64(clock() / time.Second) }

// grow makes one more instance on a goroutine of its own.
func (p *Pool) grow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.growing || p.closed || time.Now().Before(p.retryAt) {
		return
	}
	p.growing = true
	p.group.Go(func() {
		p.create.Lock()
		_, err := p.make()
		p.create.Unlock()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.growing = false
		if err != nil { // do not try on each exchange
			p.retryAt = time.Now().Add(firstBackOff)
		}
	})
}

// replace makes the only instance, unless the back-off forbids it.
func (p *Pool) replace() error {
	p.create.Lock()
	defer p.create.Unlock()
	if len(*p.list.Load()) > 0 {
		return nil
	}
	p.mu.Lock()
	closed, wait := p.closed, time.Now().Before(p.retryAt)
	p.mu.Unlock()
	if closed {
		return &Failure{CauseUnavailable, ErrClosed}
	}
	if wait {
		return &Failure{CauseUnavailable, ErrBackOff}
	}
	if _, err := p.make(); err != nil {
		p.mu.Lock()
		p.died()
		p.mu.Unlock()
		return &Failure{CauseUnavailable, fmt.Errorf("start a new instance: %w", err)}
	}
	return nil
}

// died counts a death and sets the back-off; mu is held.
func (p *Pool) died() {
	now := time.Now()
	if now.Sub(p.lastDied) > calmAfter {
		p.deaths = 0
	}
	p.deaths++
	p.lastDied = now
	if p.deaths > freeDeaths {
		p.retryAt = now.Add(min(firstBackOff<<min(p.deaths-freeDeaths-1, 20), lastBackOff))
	}
}

// bury takes a dead instance out and frees it; its lock is held.
func (p *Pool) bury(i *Instance, f *Failure) {
	if i.dead.Swap(true) {
		return
	}
	if !f.blameless() {
		if !p.o.Patient {
			p.mu.Lock()
			p.died()
			p.mu.Unlock()
		}
		i.usage().died(f.Cause)
	}
	if p.o.Died != nil {
		p.o.Died(i)
	}
	p.remove(i)
	p.closeModule(i)
}

func (p *Pool) remove(i *Instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := *p.list.Load()
	list := slices.DeleteFunc(slices.Clone(old), func(o *Instance) bool { return o == i })
	p.list.Store(&list)
	p.instances.Add(float64(len(list) - len(old)))
}

// closeModule returns the instance's memory.
func (p *Pool) closeModule(i *Instance) {
	_ = i.module.Close(context.Background()) // says only that it was closed before, by proc_exit
}

// retire closes an instance in an orderly way; its lock is held.
func (p *Pool) retire(i *Instance) {
	if p.o.Closing != nil && !i.dead.Load() {
		p.o.Closing(i)
	}
	p.remove(i)
	if !i.dead.Swap(true) {
		p.closeModule(i)
	}
}

// dearStart is how long a start may take for the last instance to be let go: the
// next exchange waits for a new one.
const dearStart = 100 * time.Millisecond

// shrink closes instances that have been idle for a minute; the last one only
// if it does nothing on its own, and another is made quickly. It returns how
// many it closed.
func (p *Pool) shrink() (closed int) {
	list := *p.list.Load()
	for n := len(list) - 1; n >= 0; n-- {
		i := list[n]
		if nowSeconds()-i.used.Load() < int64(idleAfter.Seconds()) || !i.mu.TryLock() {
			continue
		}
		last := n == 0 && (p.o.Idle == nil || i.startTime > dearStart || !p.o.Idle(i))
		if !last && i.holds.Load() == 0 && !i.dead.Load() {
			p.retire(i)
			closed++
		}
		i.mu.Unlock()
	}
	return closed
}

// Each calls f with every live instance, locked.
func (p *Pool) Each(f func(*Instance)) {
	for _, i := range *p.list.Load() {
		if i.Lock() == nil {
			f(i)
			i.Unlock()
		}
	}
}

// Close ends the pool: no instance is handed out any more; those that hold no
// stream are closed, the others when they do not, or when ctx is done. All
// memory has been returned when it returns.
func (p *Pool) Close(ctx context.Context) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	p.mu.Unlock()
	p.group.Wait()
	// Whoever makes an instance just now ends first; the next one finds the pool closed.
	p.create.Lock()
	p.create.Unlock() //nolint:staticcheck // an empty section is the point: it waits
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for _, i := range *p.list.Load() {
		for i.holds.Load() > 0 && i.Alive() && ctx.Err() == nil {
			select {
			case <-t.C:
			case <-ctx.Done():
			}
		}
		i.mu.Lock()
		p.retire(i)
		i.mu.Unlock()
	}
	p.free()
	p.engine.mu.Lock()
	delete(p.engine.pools, p)
	p.engine.mu.Unlock()
}

// free lets go of the module and forgets the metrics.
func (p *Pool) free() {
	p.module.release()
	p.usage.Close()
	p.engine.mu.Lock()
	p.tenant.hold(-1)
	p.engine.mu.Unlock()
}
