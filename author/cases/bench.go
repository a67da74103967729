package cases

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/core/telemetry"
)

// warmUp is how many times a case's exchanges are made before they are measured.
const warmUp = 20

// maxObserved bounds the rounds in which steps and calls are counted.
const maxObserved = 1000

// BenchOptions say how long a case is measured.
type BenchOptions struct {
	Count int           // rounds of a case's exchanges; 0: as many as Time allows
	Time  time.Duration // for one case
}

// Cost is what a plugin's case takes.
type Cost struct {
	Case string `json:"case"`
	// Skipped is why nothing was measured; the rest is zero then.
	Skipped string `json:"skipped,omitempty"`
	// Start is how long the first instance took, its code being compiled, and
	// StartSteps what its calls took of limits.cpuTimeStart.
	Start           time.Duration `json:"startNs,omitempty"`
	StartSteps      int64         `json:"startSteps,omitempty"`
	StartLimitSteps int64         `json:"startLimitSteps,omitempty"`

	Exchanges int `json:"exchanges,omitempty"` // that were timed
	// Time is that of an exchange from the first filter to the last, on the mean.
	Time time.Duration `json:"nsPerExchange,omitempty"`
	// Steps of an exchange: on the median, the most, and the limit.
	Steps      int64 `json:"stepsPerExchange,omitempty"`
	MostSteps  int64 `json:"mostSteps,omitempty"`
	LimitSteps int64 `json:"limitSteps,omitempty"` // limits.cpuTimeExchange
	HostCalls  int64 `json:"hostCallsPerExchange,omitempty"`
	// Callbacks by function, in the order of their first call.
	Callbacks      []Callback       `json:"callbacks,omitempty"`
	CallLimitSteps int64            `json:"callLimitSteps,omitempty"` // limits.cpuTime
	Functions      map[string]int64 `json:"hostFunctions,omitempty"`  // calls of one round by name
	// Memory of the instances at the end, and of one instance the limit, in bytes.
	Instances   int   `json:"instances,omitempty"`
	Memory      int64 `json:"memoryBytes,omitempty"`
	MemoryLimit int64 `json:"memoryLimitBytes,omitempty"`
	// Differs counts the rounds that ended in another way than the first: what the
	// plugin keeps from exchange to exchange has changed its mind.
	Differs int `json:"differs,omitempty"`
}

// Callback is what one function of the guest takes.
type Callback struct {
	Function  string        `json:"function"`
	Calls     float64       `json:"callsPerExchange"`
	Time      time.Duration `json:"nsPerCall"`    // on the mean, with what the host did for it
	Steps     int64         `json:"stepsPerCall"` // on the mean
	MostSteps int64         `json:"mostSteps"`
}

// Compiled is what a module takes before anything runs.
type Compiled struct {
	Bytes int           `json:"bytes"`
	Cold  time.Duration `json:"compileNs"` // the first time
	Warm  time.Duration `json:"loadNs"`    // from the compile cache
}

// Compile measures what the module takes to compile, and to be loaded again.
func Compile(ctx context.Context, o Options) (c Compiled, err error) {
	dir, err := os.MkdirTemp("", "penstock-compiled")
	if err != nil {
		return c, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	c.Bytes = len(o.Plugin.Module)
	for _, took := range []*time.Duration{&c.Cold, &c.Warm} {
		e, err := sandbox.New(sandbox.Options{Dir: filepath.Join(dir, "compiled"), Compiler: o.Compiler}, zap.NewNop(), telemetry.New())
		if err != nil {
			return c, err
		}
		began := time.Now()
		m, err := e.Load(ctx, o.Plugin.Module)
		*took = time.Since(began)
		if err == nil {
			m.Close()
		}
		if err := errors.Join(err, e.Close()); err != nil {
			return c, err
		}
	}
	return c, nil
}

// Bench measures a case of file on two runtimes: on one steps and calls are counted, the
// other is as the proxy has it, and is timed. What guests see is the case's time, which
// stands still. The error is for what is no fault of the plugin's.
func (b *Bed) Bench(ctx context.Context, file *File, c *Case, o BenchOptions) (*Cost, error) {
	cost := &Cost{Case: c.Name}
	if c.Refused != "" {
		cost.Skipped = "it has no exchange"
		return cost, nil
	}
	r, err := b.Run(ctx, file, c)
	if err != nil {
		return nil, err
	}
	if len(r.Faults) > 0 {
		cost.Skipped = "it fails: " + r.Faults[0]
		return cost, nil
	}
	if len(c.Exchanges) == 0 {
		cost.Skipped = "it has no exchange"
		return cost, nil
	}
	seen := &observer{}
	observing := *b
	b.clock.reset() // an engine's time begins with it
	if observing.engine, err = sandbox.New(sandbox.Options{Dir: b.o.CacheDir, Compiler: b.o.Compiler, Clock: b.clock, Observer: seen}, zap.NewNop(), telemetry.New()); err != nil {
		return nil, err
	}
	defer func() { _ = observing.engine.Close() }()
	if err := observing.measure(ctx, file, c, func(l *loop) { l.count(seen, cost, o) }); err != nil || cost.Skipped != "" {
		return cost, err
	}
	return cost, b.measure(ctx, file, c, func(l *loop) { l.time(cost, o) })
}

// measure starts the plugin for a case, and calls do with its exchanges.
func (b *Bed) measure(ctx context.Context, file *File, c *Case, do func(*loop)) error {
	t := b.trial(file, c)
	t.calls.wake = make(chan struct{}, 1)
	module, err := b.engine.Load(ctx, b.o.Plugin.Module) // so that the start finds it compiled
	if err != nil {
		return err
	}
	defer module.Close()
	began := time.Now()
	manager := t.manager(zap.NewNop())
	defer manager.Close()
	r := manager.Acquire(t.f)
	defer r.Release()
	state, err := t.started(ctx, manager, r)
	if err == nil && state.Phase != plugin.Ready {
		err = fmt.Errorf("the plugin does not start: %s: %s", state.Reason, state.Message)
	}
	if err != nil {
		return err
	}
	l := &loop{t: t, runtime: r, start: time.Since(began)}
	t.chain = filter.New([]filter.Entry{r.Entry(t.f)})
	for i := range c.Exchanges {
		l.all = append(l.all, t.under(&c.Exchanges[i]))
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		l.pump(stop)
	}()
	do(l)
	close(stop)
	<-done
	return nil
}

// loop makes the exchanges of a case again and again.
type loop struct {
	t       *trial
	runtime *plugin.Runtime
	start   time.Duration
	all     []*under
	first   []outcome // of the exchanges of the first round
	differs int
	running sync.Mutex // held for the exchange that runs, guards current
	current *under
}

// outcome is how an exchange ended.
type outcome struct {
	status        int
	from, failure string
}

// round makes each exchange once.
func (l *loop) round() {
	for i, u := range l.all {
		if u.e.Advance > 0 {
			l.t.pass(l.t.clock.Now().Add(time.Duration(u.e.Advance)))
		}
		l.t.calls.expect(u.e.Calls)
		l.running.Lock()
		l.current = u
		l.running.Unlock()
		u.serve()
		got := outcome{u.response.status, u.response.from, u.response.failure}
		if len(l.first) <= i {
			l.first = append(l.first, got)
		} else if l.first[i] != got {
			l.differs++
		}
	}
}

// pump answers the calls of exchanges at once. Where one waits for something else, a
// tick, it has that happen.
func (l *loop) pump(stop <-chan struct{}) {
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for rest := 0; ; {
		select {
		case <-stop:
			return
		case <-l.t.calls.wake:
		case <-pause.C:
			if rest > 0 { // who was answered last may still be on its way
				rest--
				continue
			}
			l.running.Lock()
			u := l.current
			l.running.Unlock()
			if u != nil && u.client.waits.Load() > 0 {
				if call, _ := l.t.calls.next(); call == nil && !l.t.step(l.t.clock.Now().Add(holds)) {
					u.client.leave()
				}
				rest = rests
			}
		}
		for call, _ := l.t.calls.next(); call != nil; call, _ = l.t.calls.next() {
			l.t.calls.answer(call)
			rest = 2 * rests
		}
	}
}

// count has the observer see some rounds, and fills in what it saw.
func (l *loop) count(seen *observer, cost *Cost, o BenchOptions) {
	started := seen.take()
	l.round()
	if slices.ContainsFunc(l.first, func(o outcome) bool { return o.from == "proxy" }) { // and would be kept from it soon
		cost.Skipped = "the plugin fails in it"
		return
	}
	limits := l.t.f.Limits
	cost.StartSteps, cost.StartLimitSteps = started.largest(), sandbox.Steps(limits.CPUTimeStart)
	cost.CallLimitSteps, cost.LimitSteps, cost.MemoryLimit = sandbox.Steps(limits.CPUTime), sandbox.Steps(limits.CPUTimeExchange), limits.MemoryBytes
	for range warmUp {
		l.round()
	}
	seen.take()
	var sum record
	var steps []int64
	rounds := 0
	for end := time.Now().Add(o.Time / 4); rounds < maxObserved && (rounds == 0 || o.Count > rounds || o.Count == 0 && time.Now().Before(end)); rounds++ {
		l.round()
		r := seen.take()
		steps = append(steps, r.total()/int64(len(l.all)))
		sum.add(r)
	}
	slices.Sort(steps)
	cost.Steps, cost.MostSteps = steps[len(steps)/2], steps[len(steps)-1]
	exchanges := int64(rounds * len(l.all))
	cost.Functions = map[string]int64{}
	for name, n := range sum.host {
		cost.HostCalls += n
		cost.Functions[name] = n / int64(rounds)
	}
	cost.HostCalls /= exchanges
	for _, f := range sum.functions {
		all := int64(0)
		for _, n := range f.each {
			all += n
		}
		cost.Callbacks = append(cost.Callbacks, Callback{f.name, float64(f.calls) / float64(exchanges), f.took / time.Duration(f.calls), all / f.calls, slices.Max(f.each)})
	}
}

// time times rounds.
func (l *loop) time(cost *Cost, o BenchOptions) {
	cost.Start = l.start
	for range warmUp {
		l.round()
	}
	rounds, began := 0, time.Now()
	for chunk := 1; ; chunk = min(2*chunk, 1024) { // so that the clock is seldom read
		if o.Count > 0 {
			chunk = min(chunk, o.Count-rounds)
		}
		for range chunk {
			l.round()
		}
		rounds += chunk
		if o.Count > 0 && rounds >= o.Count || o.Count == 0 && time.Since(began) >= o.Time {
			break
		}
	}
	cost.Exchanges = rounds * len(l.all)
	cost.Time = time.Since(began) / time.Duration(cost.Exchanges)
	cost.Differs = l.differs
	if counts := l.runtime.Counts(); counts != nil {
		cost.Instances, cost.Memory = counts.Instances, counts.MemoryBytes
	}
}
