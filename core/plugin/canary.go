package plugin

import (
	"sync/atomic"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/telemetry"
)

// maxShadows bounds the copies of exchanges that one shadow is shown at a time.
const maxShadows = 64

// canaryResults are the label values of filter.CanaryResult.
var canaryResults = [...]string{
	filter.CanaryRan: "ran", filter.CanaryFailed: "failed", filter.CanaryAgrees: "agrees", filter.CanaryDiffers: "differs", filter.CanarySkipped: "skipped",
}

// canary is what a runtime that is another version of a filter counts.
type canary struct {
	counts   [len(canaryResults)]atomic.Int64
	counters [len(canaryResults)]telemetry.Counter
	shadows  atomic.Int32
}

func (m *Manager) canary(f *config.Filter) *canary {
	c := &canary{}
	for i, result := range canaryResults {
		c.counters[i] = m.canaries.With(f.Owner.String(), f.ID(), result)
	}
	return c
}

// CanaryCounts is what became of the exchanges that were chosen for a canary.
type CanaryCounts struct {
	Ran     int64 `json:"ran,omitempty"` // live: it ran in the filter's place
	Agrees  int64 `json:"agrees,omitempty"`
	Differs int64 `json:"differs,omitempty"`
	Failed  int64 `json:"failed,omitempty"`
	Skipped int64 `json:"skipped,omitempty"` // not compared
}

// CanaryCounts returns what the runtime has counted since it was made.
func (r *Runtime) CanaryCounts() CanaryCounts {
	if r.canary == nil {
		return CanaryCounts{}
	}
	n := func(i filter.CanaryResult) int64 { return r.canary.counts[i].Load() }
	return CanaryCounts{n(filter.CanaryRan), n(filter.CanaryAgrees), n(filter.CanaryDiffers), n(filter.CanaryFailed), n(filter.CanarySkipped)}
}

// Canary returns r as another version beside an entry; f is the canary's filter
// as it runs now. Only for a runtime that is Runnable, of a config.Canary.
func (r *Runtime) Canary(c *config.Canary, f *config.Filter) *filter.Canary {
	return &filter.Canary{
		Entry: r.Entry(f), WeightPercent: c.WeightPercent, Shadow: c.Shadow,
		Ready:   func() bool { return r.State().Phase == Ready },
		Count:   r.count,
		Reserve: r.reserve,
		Replay:  r.replay,
	}
}

func (r *Runtime) count(result filter.CanaryResult) {
	r.canary.counts[result].Add(1)
	r.canary.counters[result].Inc()
}

// reserve takes the place of a copy and a reference.
func (r *Runtime) reserve() bool {
	if r.canary.shadows.Add(1) > maxShadows {
		r.canary.shadows.Add(-1)
		return false
	}
	r.manager.mu.Lock()
	r.refs++
	r.manager.mu.Unlock()
	return true
}

// replay runs f on a goroutine that Close waits for, and gives back what reserve
// took. Nothing is run once the manager is closed.
func (r *Runtime) replay(f func()) {
	give := func() {
		r.canary.shadows.Add(-1)
		r.Release()
	}
	m := r.manager
	m.mu.Lock()
	if f == nil || m.ctx.Err() != nil {
		m.mu.Unlock()
		give()
		return
	}
	m.group.Add(1) // under the lock: Close stops first, and waits after it held it
	m.mu.Unlock()
	go func() {
		defer m.group.Done()
		defer give()
		f()
	}()
}
