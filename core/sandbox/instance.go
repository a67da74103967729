package sandbox

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero/api"

	"penstock.dev/penstock/core/sandbox/meter"
)

const (
	// slowSteps is what a call may spend before it needs a slow-guest token, and
	// then between two looks at the clock while host functions spend.
	slowSteps = 200 * meter.StepsPerMicrosecond
	// slice is how many steps a slow guest runs between two yields.
	slice = 20 * meter.StepsPerMicrosecond
	// stuckFactor times its limit is how long a call may take by the clock.
	stuckFactor = 50
	// crowdedAfter is how long the waits of a call for slow-guest tokens may take
	// together; or as long as the call itself by the clock, if that is longer. A
	// start holds a token too, for seconds: what waits for it is not to blame.
	crowdedAfter = 10 * time.Second
)

// Steps converts a limit in time to steps, at the fixed rate.
func Steps(d time.Duration) int64 { return d.Microseconds() * meter.StepsPerMicrosecond }

// Budget is what a call may spend, in steps, and what calls have spent on it.
type Budget struct {
	Call     int64
	Exchange *int64 // of all calls of one filter in one exchange; reduced by what the call spends; nil: no bound
	Usage    *Usage // who pays; nil: the pool's

	calls, steps int64
	took         time.Duration
}

// Settle counts what was spent on the budget since the last time. Calls of one
// exchange are counted together, which is cheaper than each alone.
func (b *Budget) Settle() {
	if b.calls > 0 && b.Usage != nil {
		b.Usage.add(b.calls, b.steps, b.took)
	}
	b.calls, b.steps, b.took = 0, 0, 0
}

// clock is the time since the process began: cheaper to read than time.Now.
func clock() time.Duration { return time.Since(processStart) }

var processStart = time.Now()

// Func is an exported function of an instance. Its handle, which costs more
// than 10 KiB, is made when it is first called.
type Func struct {
	name string
	f    api.Function
	runs bool
}

// errReentered ends a call of a function that runs: a handle has one native
// stack, and the second call would overwrite the frames of the first.
var errReentered = errors.New("a function was called again while it ran")

func (f *Func) call(i *Instance, stack []uint64) error {
	if f.runs {
		i.Abort(&Failure{CauseABI, errReentered})
	}
	f.runs = true
	defer func() { f.runs = false }()
	if f.f == nil {
		f.f = i.module.ExportedFunction(f.name)
	}
	return f.f.CallWithStack(i, stack)
}

// Instance is one running copy of a module. Everything but Lock, Alive, Hold
// and Drop is for whoever holds its lock. It is the context.Context of the
// guest's calls, through which host functions find it.
type Instance struct {
	context.Context
	// Data is the ABI host's.
	Data any

	pool  *Pool
	mu    sync.Mutex
	dead  atomic.Bool // set under mu
	holds atomic.Int32
	used  atomic.Int64 // seconds by clock, of the last call or Take

	module api.Module
	memory api.Memory
	steps  api.MutableGlobal
	funcs  map[string]*Func

	startTime time.Duration

	// of the call that runs
	depth   int
	left    int64 // steps not yet handed to the guest
	charged int64 // by host functions since it last made way for others
	total   int64
	started time.Time
	waited  time.Duration
	queued  time.Duration // of waited: for tokens
	idle    time.Duration // of waited: for what is not the guest
	payer   *Usage
	token   bool
	failure *Failure
}

// Lock takes the instance for a stream that lives on it. ErrDead: it is dead,
// and not locked.
func (i *Instance) Lock() error {
	i.mu.Lock()
	if i.dead.Load() {
		i.mu.Unlock()
		return ErrDead
	}
	return nil
}

// Unlock gives the instance back.
func (i *Instance) Unlock() { i.mu.Unlock() }

// Alive reports whether the instance is usable. Any goroutine may ask.
func (i *Instance) Alive() bool { return !i.dead.Load() }

// Hold says that a stream was made on the instance, which keeps it from being
// closed in an orderly way until Drop.
func (i *Instance) Hold() { i.holds.Add(1) }

// Drop undoes one Hold.
func (i *Instance) Drop() { i.holds.Add(-1) }

// Memory returns the guest's memory. A view of it is valid until the guest
// runs again.
func (i *Instance) Memory() api.Memory { return i.memory }

// Func returns the exported function of that name; nil if there is none.
func (i *Instance) Func(name string) *Func {
	if f, ok := i.funcs[name]; ok {
		return f
	}
	var f *Func
	if _, ok := i.pool.module.exports[name]; ok {
		f = &Func{name: name}
	}
	i.funcs[name] = f
	return f
}

// Call runs f. stack holds its arguments, then its results; it is long enough
// for both. The error is a *Failure, and the instance dead. A host function may
// Call another function with a nil budget: it spends the outer call's.
func (i *Instance) Call(f *Func, b *Budget, stack []uint64) error {
	if i.depth > 0 {
		return i.nested(f, stack)
	}
	total := b.Call
	i.payer = b.Usage
	if b.Exchange != nil {
		total = min(total, *b.Exchange)
	}
	start := clock()
	i.used.Store(int64(start / time.Second))
	i.begin(total)
	err := f.call(i, stack)
	spent := i.end()
	i.pool.tenant.spend(spent)
	took := clock() - start - i.idle
	b.calls++
	b.steps += spent
	b.took += took
	if o := i.pool.engine.o.Observer; o != nil {
		o.Called(f.name, spent, took)
	}
	if b.Exchange != nil {
		*b.Exchange -= spent
	}
	if err == nil && i.failure == nil {
		if spent <= total {
			return nil
		}
		i.failure = &Failure{CauseCPU, ErrCPU} // it returned between two checks
	}
	return i.died(err)
}

// nested is a call from within a host function.
func (i *Instance) nested(f *Func, stack []uint64) error {
	i.depth++
	err := f.call(i, stack)
	i.depth--
	if err != nil {
		if i.failure == nil {
			i.failure = classify(err)
		}
		panic(errAbort) // the outer call ends with the same failure
	}
	return nil
}

// begin hands out the first steps.
func (i *Instance) begin(total int64) {
	i.depth, i.total, i.charged, i.failure, i.waited, i.queued, i.idle = 1, total, 0, nil, 0, 0, 0
	first := min(total, slowSteps)
	i.left = total - first
	i.started = time.Time{} // the clock is read when the first steps are spent
	if i.steps != nil {
		i.steps.Set(uint64(first))
	}
}

// end returns what was spent.
func (i *Instance) end() int64 {
	i.depth = 0
	if i.token {
		i.token = false
		<-i.pool.engine.slow
	}
	if i.steps == nil {
		return 0
	}
	return i.total - i.left - int64(i.steps.Get())
}

// Spend charges the call that runs for what a host function does for it, in
// steps; it ends the call if that is more than it has, or took too long by the
// clock. It may wait: no lock is to be held but the instance's. For host
// functions only.
func (i *Instance) Spend(steps int64) {
	i.left -= steps
	if i.charged += steps; i.left < 0 || i.charged >= slowSteps {
		i.overdrawn() // apart, so that the rest is inlined
	}
}

func (i *Instance) overdrawn() {
	if i.left < 0 && i.steps != nil && i.left+int64(i.steps.Get()) < 0 {
		i.steps.Set(0)
		i.left = 0
		i.Abort(&Failure{CauseCPU, ErrCPU})
	}
	if i.charged >= slowSteps {
		i.makeWay()
	}
}

// refuel is called by the guest when its steps have run out.
func (i *Instance) refuel(m api.Module) {
	steps := m.ExportedGlobal(meter.GlobalSteps).(api.MutableGlobal)
	if i.steps == nil { // the start function of the module runs
		i.steps = steps
	}
	i.left += int64(steps.Get()) // below zero: what it overdrew
	if i.left <= 0 {
		steps.Set(0)
		i.Abort(&Failure{CauseCPU, ErrCPU})
	}
	i.makeWay()
	more := min(i.left, slice)
	i.left -= more
	steps.Set(uint64(more))
}

// makeWay keeps a slow guest from having every processor: it takes a token,
// yields, and ends the call that took far too long by the clock.
func (i *Instance) makeWay() {
	i.charged = 0
	if i.started.IsZero() {
		i.started = time.Now()
	}
	limit := max(time.Duration(i.total/meter.StepsPerMicrosecond)*time.Microsecond*stuckFactor, time.Second)
	if !i.token {
		i.takeToken(max(limit, crowdedAfter))
	}
	runtime.Gosched()
	if time.Since(i.started)-i.waited > limit {
		i.Abort(&Failure{CauseStuck, ErrStuck})
	}
}

// takeToken waits for a slow-guest token. most bounds all waits of the call
// together: the instance is locked meanwhile.
func (i *Instance) takeToken(most time.Duration) {
	slow := i.pool.engine.slow
	select {
	case slow <- struct{}{}:
		i.token = true
		return
	default:
	}
	before := time.Now()
	timer := time.NewTimer(most - i.queued)
	defer timer.Stop()
	select {
	case slow <- struct{}{}:
		i.token = true
	case <-timer.C:
	}
	took := time.Since(before)
	i.queued += took
	i.waited += took
	if !i.token {
		i.Abort(&Failure{CauseUnavailable, ErrCrowded})
	}
}

// Abort ends the running call from within a host function.
func (i *Instance) Abort(f *Failure) {
	i.failure = f
	panic(errAbort)
}

// usage is who pays for the call.
func (i *Instance) usage() *Usage {
	if i.payer != nil {
		return i.payer
	}
	return i.pool.usage
}

// died marks the instance dead and frees it.
func (i *Instance) died(err error) *Failure {
	f := i.failure
	if f == nil {
		f = classify(err)
	}
	i.pool.bury(i, f)
	return f
}
