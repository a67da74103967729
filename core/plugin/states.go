package plugin

import (
	"sync"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/core/telemetry"
)

// states counts the runtimes of each filter by their state: one series for each
// state that it is in, which is one but for a filter that is being replaced.
type states struct {
	gauges telemetry.Gauges

	mu      sync.Mutex
	counts  map[stateKey]int
	filters map[stateKey]int // runtimes; the state is empty
}

type stateKey struct {
	owner, filter string
	state         Phase
}

func newStates(m *telemetry.Metrics) states {
	return states{
		gauges: m.Gauges("penstock_filter_state", "Runtimes of a filter by state; there is more than one while it is replaced.", "owner", "filter", "state"),
		counts: map[stateKey]int{}, filters: map[stateKey]int{},
	}
}

// ended is a Phase that nobody sees: the runtime is closed.
const ended Phase = "Ended"

// tell counts r where it is now.
func (s *states) tell(r *Runtime) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.told == "" {
		s.filters[keyOf(r, "")]++
	}
	if r.told != ended {
		s.move(r, r.State().Phase)
	}
}

// end counts r no more; last is called if it was the last of its filter, before
// another one can be counted.
func (s *states) end(r *Runtime, last func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.move(r, ended)
	key := keyOf(r, "")
	if s.filters[key]--; s.filters[key] == 0 {
		delete(s.filters, key)
		last()
	}
}

// move counts r in another state; mu is held.
func (s *states) move(r *Runtime, to Phase) {
	if r.told != to {
		s.add(keyOf(r, r.told), -1)
		s.add(keyOf(r, to), 1)
		r.told = to
	}
}

func (s *states) add(key stateKey, more int) {
	if key.state == "" || key.state == ended {
		return
	}
	if s.counts[key] += more; s.counts[key] == 0 {
		delete(s.counts, key)
		s.gauges.Delete(key.owner, key.filter, string(key.state))
		return
	}
	s.gauges.With(key.owner, key.filter, string(key.state)).Set(float64(s.counts[key]))
}

func keyOf(r *Runtime, state Phase) stateKey {
	return stateKey{r.config.Owner.String(), r.config.ID(), state}
}

// forget drops the series of a filter that no object has any more.
func (m *Manager) forget(f *config.Filter) {
	owner, id := f.Owner.String(), f.ID()
	for _, c := range []telemetry.Counters{m.failures, m.quarantines, m.rollbacks} {
		c.Delete(owner, id)
	}
	for _, result := range canaryResults {
		m.canaries.Delete(owner, id, result)
	}
}

// Counts is what a filter's calls have taken, and the instances that it runs on.
type Counts = sandbox.Counts

// counting is a Running that knows.
type counting interface{ Counts() sandbox.Counts }

// Counts returns the numbers of the filter that r runs; nil: it has never run.
func (r *Runtime) Counts() *Counts {
	if !r.ready.Load() {
		return nil
	}
	running, ok := r.running.(counting)
	if !ok {
		return nil
	}
	c := running.Counts()
	return &c
}
