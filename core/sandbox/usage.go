package sandbox

import (
	"time"

	"penstock.dev/penstock/core/telemetry"
)

// Usage counts what one filter's calls take: their time, their steps, and the
// instances they end. Any goroutine may use it. Close it once.
type Usage struct {
	engine        *Engine
	owner, filter string
	seconds       telemetry.Histogram
	steps, calls  telemetry.Counter
}

// causes are the label values of failures that count.
var causes = [...]string{CauseTrap, CauseCPU, CauseMemory, CauseStack, CauseExit, CauseStuck, CauseABI}

// usageOf returns the counters of a filter.
func (e *Engine) usageOf(owner, filter string) *Usage {
	u := &Usage{engine: e, owner: owner, filter: filter,
		seconds: e.metrics.seconds.With(owner, filter), steps: e.metrics.steps.With(owner, filter), calls: e.metrics.calls.With(owner, filter)}
	e.label(owner, filter, 1)
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
}

// Close forgets the counters, unless a newer runtime of the same filter has them too.
func (u *Usage) Close() {
	e := u.engine
	if e.label(u.owner, u.filter, -1) > 0 {
		return
	}
	m := &e.metrics
	m.seconds.Delete(u.owner, u.filter)
	m.steps.Delete(u.owner, u.filter)
	m.calls.Delete(u.owner, u.filter)
	m.instances.Delete(u.owner, u.filter)
	m.memory.Delete(u.owner, u.filter)
	for _, cause := range causes {
		m.failures.Delete(u.owner, u.filter, cause)
	}
}
