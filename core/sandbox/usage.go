package sandbox

import (
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/telemetry"
)

// Usage counts what one filter's calls take: their time, their steps, and the
// instances they end. Any goroutine may use it. Close it once.
type Usage struct {
	engine               *Engine
	owner, filter        string
	seconds              telemetry.Histogram
	steps, calls, starts telemetry.Counter
	account              *account
}

// account is what the usages of one filter share beside their metrics: an old
// runtime may drain while its successor runs.
type account struct {
	refs   int // guarded by Engine.mu
	deaths [len(causes)]atomic.Int64
}

// causes are the label values of failures that count.
var causes = [...]string{CauseTrap, CauseCPU, CauseMemory, CauseStack, CauseExit, CauseStuck, CauseABI}

// usageOf returns the counters of a filter.
func (e *Engine) usageOf(owner, filter string) *Usage {
	e.mu.Lock() // no series is dropped between its making and its first reference
	defer e.mu.Unlock()
	m := &e.metrics
	u := &Usage{engine: e, owner: owner, filter: filter,
		seconds: m.seconds.With(owner, filter), steps: m.steps.With(owner, filter), calls: m.calls.With(owner, filter), starts: m.starts.With(owner, filter)}
	key := [2]string{owner, filter}
	if u.account = e.accounts[key]; u.account == nil {
		u.account = &account{}
		e.accounts[key] = u.account
	}
	u.account.refs++
	return u
}

// add counts the calls of an exchange, or of a root context's event.
func (u *Usage) add(calls, steps int64, took time.Duration) {
	u.seconds.Observe(took.Seconds())
	u.steps.Add(float64(steps))
	u.calls.Add(float64(calls))
}

// died counts an instance that a call has ended. The series is made then: few
// filters have any.
func (u *Usage) died(cause string) {
	u.engine.metrics.failures.With(u.owner, u.filter, cause).Inc()
	for i := range causes {
		if causes[i] == cause {
			u.account.deaths[i].Add(1)
		}
	}
}

// Counts is what the metrics of one filter say, of all its runtimes together
// since the first of those that there are.
type Counts struct {
	Calls    int64            `json:"calls"`
	Seconds  float64          `json:"seconds"` // in guest code
	Steps    int64            `json:"steps"`
	Failures map[string]int64 `json:"failures,omitempty"` // instances that died, by cause
	// What follows is of the instances that the filter runs on; with Shared, of
	// those that it shares with others: the owner and filter of their metrics.
	Shared      string `json:"shared,omitempty"`
	Starts      int64  `json:"starts"`
	Instances   int    `json:"instances"`
	MemoryBytes int64  `json:"memoryBytes"`
}

// Counts returns what was counted so far, but of instances.
func (u *Usage) Counts() Counts {
	c := Counts{Calls: int64(u.calls.Value()), Seconds: u.seconds.Sum(), Steps: int64(u.steps.Value())}
	for i, cause := range causes {
		if n := u.account.deaths[i].Load(); n > 0 {
			if c.Failures == nil {
				c.Failures = map[string]int64{}
			}
			c.Failures[cause] = n
		}
	}
	return c
}

// Count adds to a filter's counts the instances that it runs on; shared says that
// others run on them too.
func (p *Pool) Count(c *Counts, shared bool) {
	c.Starts, c.Instances, c.MemoryBytes = int64(p.usage.starts.Value()), len(*p.list.Load()), p.memory.Load()
	if shared {
		c.Shared = p.o.Owner + " " + p.o.Filter
	}
}

// Close forgets the counters, unless a newer runtime of the same filter has them too.
func (u *Usage) Close() {
	e := u.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	if u.account.refs--; u.account.refs > 0 {
		return
	}
	delete(e.accounts, [2]string{u.owner, u.filter})
	m := &e.metrics
	m.seconds.Delete(u.owner, u.filter)
	m.steps.Delete(u.owner, u.filter)
	m.calls.Delete(u.owner, u.filter)
	m.starts.Delete(u.owner, u.filter)
	m.instances.Delete(u.owner, u.filter)
	m.memory.Delete(u.owner, u.filter)
	for _, cause := range causes {
		m.failures.Delete(u.owner, u.filter, cause)
	}
}
