package plugin

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/sandbox"
)

// maxPace is how long an exchange waits for its namespace's CPU share before a
// filter.
const maxPace = time.Second

// delayed is why a filter cannot be loaded now, though nothing is wrong with it:
// what ran before it goes on, and it is tried again.
type delayed struct{ err error }

// waits reports whether an attempt failed because of a total only, or because
// other filters had the processors.
func waits(err error) bool {
	var d *delayed
	return errors.As(err, &d) || errors.Is(err, sandbox.ErrTotal) || errors.Is(err, sandbox.ErrCrowded)
}

func (d *delayed) Error() string { return d.err.Error() }

func (d *delayed) Unwrap() error { return d.err }

// SetTotals says what the filters of each namespace may take together; one that
// is not named has the defaults.
func (m *Manager) SetTotals(totals map[string]*config.Totals) {
	series := map[string]int{}
	for name, t := range totals {
		series[name] = t.MetricSeries
	}
	m.o.Metrics.SetGuestSeries(series)
	if m.o.Engine != nil {
		m.o.Engine.SetTotals(totals)
	}
	m.mu.Lock()
	m.totals = totals
	m.mu.Unlock()
}

// permit asks for one more cold compile, or run of an image's cases, of a namespace, and
// counts it.
func (m *Manager) permit(namespace string) error {
	if namespace == "" {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.totals[namespace]
	if t == nil {
		t = config.DefaultTotals()
	}
	now := time.Now()
	done := m.compiles[namespace]
	for len(done) > 0 && now.Sub(done[0]) >= time.Hour {
		done = done[1:]
	}
	if len(done) < t.CompilesPerHour {
		m.compiles[namespace] = append(done, now)
		return nil
	}
	m.compiles[namespace] = done
	next := "once it is raised"
	if t.CompilesPerHour > 0 {
		next = "at " + done[len(done)-t.CompilesPerHour].Add(time.Hour).UTC().Format(time.TimeOnly) + " UTC at the earliest"
	}
	return &delayed{fmt.Errorf("it has to be compiled, or its cases to be run, and namespace %s has had %d compiles within an hour, at most %d by %s: it is tried again %s",
		namespace, len(done), t.CompilesPerHour, t.Source("compilesPerHour"), next)}
}

// delay records that a filter waits for a total, or for a processor.
func (m *Manager) delay(r *Runtime, err error) {
	old := r.State()
	if old.Message == err.Error() {
		return
	}
	m.o.Log.Warn("filter waits", zap.Stringer("object", r.config.Owner), zap.String("plugin", r.config.ID()), zap.Error(err))
	phase := old.Phase
	if phase != Failed { // what has failed stays so until it runs
		phase = Compiling
	}
	reason := "RefusedByPolicy"
	if errors.Is(err, sandbox.ErrCrowded) {
		reason = ""
	}
	m.set(r, State{Phase: phase, Reason: reason, Message: err.Error(), Digest: old.Digest, Guard: old.Guard})
}
