package filter

import (
	"errors"
	"strings"
	"sync"

	"penstock.dev/penstock/core/telemetry"
)

// ErrBodyBudget is why a filter may not hold back more of a body, though its own
// limit allows it: 503 with Retry-After.
var ErrBodyBudget = errors.New("the filters of this proxy, or of this namespace, hold back as much of bodies as they may together")

// Budget is what all filters of a process may hold back of bodies, in bytes, and
// what those of one namespace may. Its methods may be called by several
// goroutines at once; a nil Budget bounds nothing.
type Budget struct {
	limit, share int64
	gauge        telemetry.Gauge
	refused      telemetry.Counter

	mu   sync.Mutex
	held int64
	by   map[string]int64 // by namespace
}

// budgetShares is how many namespaces can use up a budget.
const budgetShares = 4

// NewBudget returns a budget of that many bytes, a quarter of them for one
// namespace.
func NewBudget(bytes int64, m *telemetry.Metrics) *Budget {
	m.Gauges("penstock_filter_body_budget_bytes", "What filters may hold back of bodies.").With().Set(float64(bytes))
	return &Budget{
		limit: bytes, share: bytes / budgetShares, by: map[string]int64{},
		gauge:   m.Gauges("penstock_filter_body_held_bytes", "What filters hold back of bodies.").With(),
		refused: m.Counters("penstock_filter_body_refusals_total", "Exchanges that ended because filters held back as much of bodies as they may.").With(),
	}
}

// change counts more or fewer bytes of a namespace; empty: whose cannot be said.
// false: there is not so much left, and nothing is counted.
func (b *Budget) change(namespace string, bytes int64) bool {
	if b == nil || bytes == 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if bytes > 0 && (b.held+bytes > b.limit || namespace != "" && b.by[namespace]+bytes > b.share) {
		b.refused.Inc()
		return false
	}
	b.held += bytes
	if b.by[namespace] += bytes; b.by[namespace] == 0 {
		delete(b.by, namespace)
	}
	b.gauge.Set(float64(b.held))
	return true
}

// held is what one filter of an exchange holds back, as it was counted.
type held struct {
	namespace string // whose it is; of the first time
	bytes     int64
}

// charge makes what is counted equal to bytes.
func (r *Run) charge(s *slot, h *held, bytes int) error {
	more := int64(bytes) - h.bytes
	if more == 0 {
		return nil
	}
	if h.bytes == 0 {
		h.namespace = s.entry.Tenant
		if h.namespace == "" { // a policy's filter: it holds for the Service that is asked
			h.namespace, _, _ = strings.Cut(r.x.Service, "/")
		}
	}
	if !s.entry.Bodies.change(h.namespace, more) {
		return ErrBodyBudget
	}
	h.bytes = int64(bytes)
	return nil
}

// Hold says how many bytes of bodies the stream holds back itself, beside what
// is in its Buffer: of a filter that takes bodies. ErrBodyBudget: it may not have
// so much, and an answer of the stream fails with that as long as it holds more.
// Called by the exchange's goroutine within a callback, or by whoever may answer
// for the stream while the exchange waits.
func (w *Waker) Hold(bytes int) error {
	if w == nil || w.run == nil { // a Waker of its own
		return nil
	}
	err := w.run.charge(w.slot, &w.slot.own, bytes)
	w.refused.Store(err != nil)
	return err
}

// free gives back everything that a slot is counted for.
func (s *slot) free() {
	for _, h := range [...]*held{&s.request.counted, &s.response.counted, &s.own} {
		s.entry.Bodies.change(h.namespace, -h.bytes)
		*h = held{}
	}
}
