package telemetry

import (
	"errors"
	"math"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// What Define returns when a filter defines more than MaxGuestSeries metrics,
// and when the filters of a namespace define more series than they may.
var (
	ErrTooManySeries   = errors.New("too many metrics defined by one filter")
	ErrNamespaceSeries = errors.New("too many series defined by the filters of one namespace (a PluginPolicy's spec.limits.totals.metricSeries)")
)

// defaultSeries is how many series the guests of a namespace may define.
const defaultSeries = 10_000

// GuestSet is the metrics that the guests of one filter define. They are
// served as penstock_guest_counter, penstock_guest_gauge and
// penstock_guest_histogram_* with labels owner, filter and name, so that no
// name a guest chooses can clash with ours or break the exposition format.
type GuestSet struct {
	namespace, owner, filter string
	parent                   *guests

	mu     sync.Mutex
	series int
	byName map[string]*GuestMetric
}

// GuestMetric is one metric of a guest; all methods may be called by several
// goroutines at once.
type GuestMetric struct {
	Kind  Kind
	name  string
	value atomic.Int64

	mu      sync.Mutex
	count   uint64
	sum     float64
	buckets map[float64]uint64
}

func newGuests() *guests {
	return &guests{sets: map[*GuestSet]struct{}{}, series: map[string]int{}}
}

// SetGuestSeries says how many series the guests of each namespace may define;
// one that is not named has the default of 10,000. What is there stays.
func (m *Metrics) SetGuestSeries(most map[string]int) {
	m.guests.seriesMu.Lock()
	defer m.guests.seriesMu.Unlock()
	m.guests.most = most
}

// GuestSet returns an empty set for one filter; Close ends it. Its series count
// for namespace, unless that is empty.
func (m *Metrics) GuestSet(namespace, owner, filter string) *GuestSet {
	s := &GuestSet{namespace: namespace, owner: owner, filter: filter, parent: m.guests, byName: map[string]*GuestMetric{}}
	m.guests.mu.Lock()
	m.guests.sets[s] = struct{}{}
	m.guests.mu.Unlock()
	return s
}

// Close removes the set from what is served.
func (s *GuestSet) Close() {
	s.mu.Lock()
	series := s.series
	s.series = 0
	s.mu.Unlock()
	g := s.parent
	g.mu.Lock()
	delete(g.sets, s)
	g.mu.Unlock()
	g.seriesMu.Lock()
	defer g.seriesMu.Unlock()
	if g.series[s.namespace] -= series; g.series[s.namespace] <= 0 {
		delete(g.series, s.namespace)
	}
}

// take counts series of a namespace; false: there are too many.
func (g *guests) take(namespace string, series int) bool {
	if namespace == "" {
		return true
	}
	g.seriesMu.Lock()
	defer g.seriesMu.Unlock()
	most, ok := g.most[namespace]
	if !ok {
		most = defaultSeries
	}
	if g.series[namespace]+series > most {
		return false
	}
	g.series[namespace] += series
	return true
}

// Define returns the metric of that name and kind, made if it is new. Two
// kinds under one name are two metrics.
func (s *GuestSet) Define(kind Kind, name string) (*GuestMetric, error) {
	key := string(rune('0'+kind)) + name
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.byName[key]; g != nil {
		return g, nil
	}
	if len(s.byName) >= MaxGuestSeries {
		return nil, ErrTooManySeries
	}
	g, series := &GuestMetric{Kind: kind, name: name}, 1
	if kind == GuestHistogram {
		g.buckets = map[float64]uint64{}
		for _, b := range guestBuckets {
			g.buckets[b] = 0
		}
		series = len(guestBuckets) + 3 // beyond the last, sum and count
	}
	if !s.parent.take(s.namespace, series) {
		return nil, ErrNamespaceSeries
	}
	if s.namespace != "" {
		s.series += series
	}
	s.byName[key] = g
	return g, nil
}

// Add changes a counter or gauge by delta.
func (g *GuestMetric) Add(delta int64) { g.value.Add(delta) }

// Set makes a gauge's value v.
func (g *GuestMetric) Set(v int64) { g.value.Store(v) }

// Value returns a counter's or gauge's value.
func (g *GuestMetric) Value() int64 { return g.value.Load() }

// Observe adds a sample to a histogram.
func (g *GuestMetric) Observe(v uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count++
	g.sum += float64(v)
	for b := range g.buckets {
		if float64(v) <= b {
			g.buckets[b]++
		}
	}
}

var (
	guestBuckets = []float64{1, 5, 10, 25, 50, 100, 250, 500, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, math.MaxUint32}
	guestLabels  = []string{"owner", "filter", "name"}
	counterDesc  = prometheus.NewDesc("penstock_guest_counter", "A counter that a plugin defines.", guestLabels, nil)
	gaugeDesc    = prometheus.NewDesc("penstock_guest_gauge", "A gauge that a plugin defines.", guestLabels, nil)
	histDesc     = prometheus.NewDesc("penstock_guest_histogram", "A histogram that a plugin defines.", guestLabels, nil)
)

// Describe implements prometheus.Collector; the series are dynamic.
func (g *guests) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (g *guests) Collect(out chan<- prometheus.Metric) {
	g.mu.Lock()
	defer g.mu.Unlock()
	seen := map[[4]string]bool{} // two runtimes of one filter may overlap while one drains
	for s := range g.sets {
		s.mu.Lock()
		for _, m := range s.byName {
			name := toUTF8(m.name)
			key := [4]string{s.owner, s.filter, name, string(rune('0' + m.Kind))}
			if !seen[key] {
				seen[key] = true
				m.collect(out, s.owner, s.filter, name)
			}
		}
		s.mu.Unlock()
	}
}

func (g *GuestMetric) collect(out chan<- prometheus.Metric, labels ...string) {
	switch g.Kind {
	case GuestCounter:
		out <- prometheus.MustNewConstMetric(counterDesc, prometheus.CounterValue, float64(g.Value()), labels...)
	case GuestGauge:
		out <- prometheus.MustNewConstMetric(gaugeDesc, prometheus.GaugeValue, float64(g.Value()), labels...)
	case GuestHistogram:
		g.mu.Lock()
		buckets := make(map[float64]uint64, len(g.buckets))
		for k, v := range g.buckets {
			buckets[k] = v
		}
		out <- prometheus.MustNewConstHistogram(histDesc, g.count, g.sum, buckets, labels...)
		g.mu.Unlock()
	}
}

func toUTF8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// GuestValues returns what the guests of one filter have counted, by the metric's name:
// of a histogram its samples.
func (m *Metrics) GuestValues(owner, filter string) map[string]int64 {
	all := map[string]int64{}
	m.guests.mu.Lock()
	defer m.guests.mu.Unlock()
	for s := range m.guests.sets {
		if s.owner != owner || s.filter != filter {
			continue
		}
		s.mu.Lock()
		for _, g := range s.byName {
			if g.Kind != GuestHistogram {
				all[g.name] = g.Value()
				continue
			}
			g.mu.Lock()
			all[g.name] = int64(min(g.count, math.MaxInt64)) //nolint:gosec // bounded
			g.mu.Unlock()
		}
		s.mu.Unlock()
	}
	return all
}
