package plugin

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
)

// When a filter counts as failing (annotations.md, section 5): in the last
// minute at least failingTraps, and half of the calls.
const (
	failingWindow = time.Minute
	failingTraps  = 10
	healthSlot    = 5 * time.Second
	healthSlots   = int(failingWindow / healthSlot)
	firstRest     = time.Second
	lastRest      = 5 * time.Minute
	// calmFor is how long a filter must go well until its next rest is a short one again.
	calmFor = 5 * time.Minute
)

// restForEver is restUntil of what was rolled back.
const restForEver = 1<<63 - 1

// errQuarantined is why a filter in quarantine takes no exchange.
var errQuarantined = errors.New("the filter is in quarantine: too many of its calls failed")

// health counts a runtime's exchanges and failures: for one object, filter,
// digest and configuration, as a Runtime is.
type health struct {
	calls atomic.Int64 // since the last turn
	// restUntil is when a quarantine ends, in Unix nanoseconds; 0: none. Read by
	// every exchange.
	restUntil atomic.Int64

	mu      sync.Mutex
	slots   [healthSlots]struct{ calls, traps int64 }
	now     int // slot
	rest    time.Duration
	tripped time.Time // the last time
}

// turn begins the next slot; called every healthSlot.
func (h *health) turn() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.slots[h.now].calls += h.calls.Swap(0)
	h.now = (h.now + 1) % healthSlots
	h.slots[h.now].calls, h.slots[h.now].traps = 0, 0
}

// trap counts a failure and reports whether the filter now counts as failing.
func (h *health) trap() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.slots[h.now].traps++
	calls, traps := h.calls.Load(), int64(0)
	for _, s := range h.slots {
		calls += s.calls
		traps += s.traps
	}
	return traps >= failingTraps && 2*traps >= calls
}

// quarantine lets the filter rest, longer each time, and forgets what was counted.
func (h *health) quarantine(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.tripped) > calmFor+h.rest {
		h.rest = 0
	}
	h.rest = min(max(2*h.rest, firstRest), lastRest)
	h.tripped = now
	h.slots = [healthSlots]struct{ calls, traps int64 }{}
	h.calls.Store(0)
	h.restUntil.Store(now.Add(h.rest).UnixNano())
	return h.rest
}

// gate is a runtime's filter as chains see it: it counts, is closed in
// quarantine, and keeps its namespace to its CPU share.
type gate struct {
	filter.Filter
	health *health
	tenant *sandbox.Tenant
	done   <-chan struct{} // closed when nobody uses the runtime any more
}

// Begin implements filter.Filter.
func (g *gate) Begin(x *exchange.Exchange, w *filter.Waker) (filter.Stream, error) {
	if err := g.pass(); err != nil {
		return nil, err
	}
	return g.Filter.Begin(x, w)
}

// pass counts a call, which may not be made now.
func (g *gate) pass() error {
	g.health.calls.Add(1)
	if until := g.health.restUntil.Load(); until != 0 && time.Now().UnixNano() < until {
		return &filter.Error{Cause: sandbox.CauseUnavailable, Err: errQuarantined}
	}
	if err := g.tenant.Pace(g.done, maxPace); err != nil {
		return &filter.Error{Cause: sandbox.CauseUnavailable, Err: err, Busy: true}
	}
	return nil
}

// BeginConn implements filter.ConnFilter.
func (g *gate) BeginConn(c *exchange.Conn, w *filter.Waker) (filter.ConnStream, error) {
	f, ok := g.Filter.(filter.ConnFilter)
	if !ok {
		panic("BUG: a filter without raw connections")
	}
	if err := g.pass(); err != nil {
		return nil, err
	}
	return f.BeginConn(c, w)
}

// failed is told each exchange in which the filter failed.
func (r *Runtime) failed(err *filter.Error) {
	r.entry.log(err)
	if err.Cause == sandbox.CauseUnavailable {
		r.health.calls.Add(-1) // it was no call
		return
	}
	if r.health.trap() {
		r.manager.quarantine(r)
	}
}

// quarantine closes a failing runtime for a while. The linker then decides
// whether its object goes back to what ran before.
func (m *Manager) quarantine(r *Runtime) {
	m.turning.Lock()
	defer m.turning.Unlock()
	now := time.Now()
	old := r.State()
	if old.Phase != Ready {
		return // another exchange told so just before
	}
	rest := r.health.quarantine(now)
	m.quarantines.With(r.config.Owner.String(), r.config.ID()).Inc()
	m.o.Log.Warn("filter in quarantine: at least half of its calls failed", zap.Stringer("object", r.config.Owner),
		zap.String("plugin", r.config.ID()), zap.String("digest", old.Digest), zap.Duration("rest", rest))
	m.set(r, State{Phase: Quarantined, Reason: "Quarantined", Message: "at least half of its calls failed within a minute", Digest: old.Digest, Guard: old.Guard})
}

// rested ends the quarantines whose time is over.
func (m *Manager) rested() {
	now := time.Now().UnixNano()
	for _, r := range m.those(func(r *Runtime) bool { return r.health.restUntil.Load() != 0 }) {
		until := r.health.restUntil.Load()
		if until == 0 || now < until {
			continue
		}
		m.turning.Lock()
		if old := r.State(); old.Phase == Quarantined {
			r.health.restUntil.Store(0)
			m.set(r, State{Phase: Ready, Digest: old.Digest, Guard: old.Guard})
			m.o.Log.Info("filter tried again after its quarantine", zap.Stringer("object", r.config.Owner), zap.String("plugin", r.config.ID()))
		}
		m.turning.Unlock()
	}
}

// RollBack says that the runtime's object has gone back to what it ran before:
// it is not tried again until its text or image changes. Only for a runtime in
// quarantine; the first call logs.
func (r *Runtime) RollBack(to string) { r.rollBack(to, Quarantined) }

// Retire is RollBack by the word of who leads: another proxy has found the runtime
// to fail. Also for one that is ready.
func (r *Runtime) Retire(to string) { r.rollBack(to, Quarantined, Ready) }

func (r *Runtime) rollBack(to string, from ...Phase) {
	m := r.manager
	m.turning.Lock()
	defer m.turning.Unlock()
	old := r.State()
	if !slices.Contains(from, old.Phase) {
		return
	}
	m.rollbacks.With(r.config.Owner.String(), r.config.ID()).Inc()
	m.o.Log.Warn("filter rolled back to what ran before", zap.Stringer("object", r.config.Owner), zap.String("plugin", r.config.ID()),
		zap.String("digest", old.Digest), zap.String("to", to))
	r.health.restUntil.Store(restForEver)
	s := State{Phase: RolledBack, Reason: "RolledBack", Message: "at least half of its calls failed within a minute of running; " + to + " runs in its place", Digest: old.Digest, Guard: old.Guard, Since: time.Now()}
	r.state.Store(&s) // whoever calls this links anew
	m.states.tell(r)
}
