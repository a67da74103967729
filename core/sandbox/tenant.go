package sandbox

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/sandbox/meter"
	"penstock.dev/penstock/core/telemetry"
)

// ErrTotal means that the filters of a namespace have together what they may
// have: it can pass.
var ErrTotal = errors.New("the namespace has reached a total")

const (
	// shareWindow is the time over which a CPU share counts: what a tenant has not
	// used for so long is lost.
	shareWindow = 10 * time.Second
	// shareStep is how often the share is refilled.
	shareStep = 5 * time.Millisecond
	// maxPaced bounds the exchanges of one tenant that wait for its share.
	maxPaced = 1024
)

// Tenant is what the pools of one namespace take together: linear memory, and
// CPU in steps. Its methods may be called by several goroutines at once; those
// of a nil Tenant bound nothing.
type Tenant struct {
	name    string
	totals  atomic.Pointer[config.Totals]
	memory  atomic.Int64 // bytes taken
	balance atomic.Int64 // steps that may be spent; below zero: overdrawn
	filled  atomic.Int64 // when balance was refilled, in Unix nanoseconds
	paced   atomic.Int32
	pools   int // that hold it; guarded by Engine.mu

	bytes   telemetry.Gauge
	refused map[string]telemetry.Counter // by total
}

// Tenant returns what the pools of a namespace share; nil for "". It is
// forgotten if no pool has it and nothing of it is left.
func (e *Engine) Tenant(namespace string) *Tenant {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tenant(namespace)
}

// tenant is Tenant; mu is held.
func (e *Engine) tenant(namespace string) *Tenant {
	if namespace == "" {
		return nil
	}
	t := e.tenants[namespace]
	if t == nil {
		t = &Tenant{name: namespace, bytes: e.metrics.tenantMemory.With(namespace), refused: map[string]telemetry.Counter{}}
		for _, total := range []string{"memory", "cpuShare"} {
			t.refused[total] = e.metrics.refused.With(namespace, total)
		}
		t.limit(e.totals[namespace])
		t.filled.Store(time.Now().UnixNano())
		t.balance.Store(t.most())
		e.tenants[namespace] = t
	}
	return t
}

// SetTotals says what the pools of each namespace may take; one that is not
// named has the defaults. What is taken beyond a lower total is not taken away.
func (e *Engine) SetTotals(totals map[string]*config.Totals) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.totals = totals
	for name, t := range e.tenants {
		t.limit(totals[name])
		if t.pools == 0 && t.left(time.Now()) >= t.most() { // nothing of it is left
			delete(e.tenants, name)
			e.metrics.tenantMemory.Delete(name)
			for total := range t.refused {
				e.metrics.refused.Delete(name, total)
			}
		}
	}
}

// hold counts the pools that have the tenant; Engine.mu is held.
func (t *Tenant) hold(pools int) {
	if t != nil {
		t.pools += pools
	}
}

func (t *Tenant) limit(totals *config.Totals) {
	if totals == nil {
		totals = config.DefaultTotals()
	}
	t.totals.Store(totals)
}

// take counts memory; false: there is not so much left.
func (t *Tenant) take(bytes int64) bool {
	if t == nil || bytes == 0 {
		return true
	}
	if t.memory.Add(bytes) > t.totals.Load().MemoryBytes {
		t.memory.Add(-bytes)
		t.refused["memory"].Inc()
		return false
	}
	t.bytes.Set(float64(t.memory.Load()))
	return true
}

func (t *Tenant) give(bytes int64) {
	if t != nil && bytes != 0 {
		t.bytes.Set(float64(t.memory.Add(-bytes)))
	}
}

// memoryError says why there is no instance.
func (t *Tenant) memoryError(bytes uint64) error {
	totals := t.totals.Load()
	return fmt.Errorf("%w: memory: an instance starts with %d KiB, and the instances of namespace %s have %d KiB of %d by %s: run fewer or smaller filters, or raise it",
		ErrTotal, bytes>>10, t.name, t.memory.Load()>>10, totals.MemoryBytes>>10, totals.Source("memory"))
}

// rate is what the tenant may spend, in steps a second.
func (t *Tenant) rate() int64 {
	return int64(t.totals.Load().CPUPercent) * int64(time.Second/time.Microsecond) * meter.StepsPerMicrosecond / 100
}

// most is what it can have saved.
func (t *Tenant) most() int64 { return t.rate() * int64(shareWindow/time.Second) }

// spend charges steps.
func (t *Tenant) spend(steps int64) {
	if t != nil {
		t.balance.Add(-steps)
	}
}

// left refills the balance and returns it.
func (t *Tenant) left(now time.Time) int64 {
	last := t.filled.Load()
	took := time.Duration(now.UnixNano() - last)
	if took < shareStep || !t.filled.CompareAndSwap(last, now.UnixNano()) {
		return t.balance.Load()
	}
	more := int64(min(took, shareWindow)) / int64(time.Microsecond) * (t.rate() / int64(time.Second/time.Microsecond))
	left := t.balance.Add(more)
	if over := left - t.most(); over > 0 {
		left = t.balance.Add(-over)
	}
	return left
}

// Pace waits until the tenant has steps to spend. The error wraps ErrTotal: it
// would take longer than most, too many wait already, or done is closed.
func (t *Tenant) Pace(done <-chan struct{}, most time.Duration) error {
	if t == nil || t.left(time.Now()) > 0 {
		return nil
	}
	defer t.paced.Add(-1)
	end := time.Now().Add(most)
	if t.paced.Add(1) > maxPaced {
		return t.paceError()
	}
	for {
		now := time.Now()
		left := t.left(now)
		if left > 0 {
			return nil
		}
		wait := max(time.Duration(-left/max(t.rate()/int64(time.Second/time.Microsecond), 1))*time.Microsecond, shareStep)
		if now.Add(wait).After(end) {
			return t.paceError()
		}
		select {
		case <-time.After(wait):
		case <-done:
			return t.paceError()
		}
	}
}

func (t *Tenant) paceError() error {
	t.refused["cpuShare"].Inc()
	totals := t.totals.Load()
	return fmt.Errorf("%w: cpuShare: the filters of namespace %s have spent their %d %% of a core by %s: make them cheaper, or raise it",
		ErrTotal, t.name, totals.CPUPercent, totals.Source("cpuShare"))
}

// Pace waits until the instance's tenant has CPU to spend, or done is closed: for
// calls that no exchange waits for. The instance is not to be locked.
func (i *Instance) Pace(done <-chan struct{}) {
	for i.pool.tenant != nil && i.pool.tenant.left(time.Now()) <= 0 {
		select {
		case <-time.After(10 * shareStep):
		case <-done:
			return
		}
	}
}
