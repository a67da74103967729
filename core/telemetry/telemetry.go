// Package telemetry holds the proxy's metrics. It is the only owner of
// Prometheus; others get counters, gauges and histograms from it.
package telemetry

import (
	"errors"
	"net/http"
	"regexp"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// Metrics is a set of metrics. Names start with "penstock_". Label values come
// from config, never from a request.
type Metrics struct {
	registry *prometheus.Registry
	guests   *guests
}

// New returns a set with the Go runtime's and the process's metrics in it.
func New() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), guests: newGuests()}
	m.registry.MustRegister(collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/sched/pauses/total/gc:seconds$`)})), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), m.guests)
	return m
}

// Handler serves the set in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Counter only goes up. Safe for use by several goroutines.
type Counter struct{ c prometheus.Counter }

// Inc adds one.
func (c Counter) Inc() { c.c.Inc() }

// Add adds v, which is not negative.
func (c Counter) Add(v float64) { c.c.Add(v) }

// Value returns what was counted so far.
func (c Counter) Value() float64 { return read(c.c).GetCounter().GetValue() }

// Gauge goes up and down. Safe for use by several goroutines.
type Gauge struct{ g prometheus.Gauge }

// Set makes the value v.
func (g Gauge) Set(v float64) { g.g.Set(v) }

// Add adds v, which may be negative.
func (g Gauge) Add(v float64) { g.g.Add(v) }

// Histogram counts samples in buckets. Safe for use by several goroutines.
type Histogram struct{ h prometheus.Observer }

// Observe adds a sample.
func (h Histogram) Observe(v float64) { h.h.Observe(v) }

// Sum returns the sum of all samples.
func (h Histogram) Sum() float64 {
	m, ok := h.h.(prometheus.Metric)
	if !ok {
		panic("BUG: a histogram that cannot be read")
	}
	return read(m).GetHistogram().GetSampleSum()
}

func read(m prometheus.Metric) *dto.Metric {
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		panic("BUG: metric: " + err.Error()) // it is a counter or histogram, which cannot fail
	}
	return &out
}

// Counters is a family of counters told apart by labels.
type Counters struct{ v *prometheus.CounterVec }

// With returns the counter with these label values, in the order of the
// labels. Keep it: the lookup is too dear for the hot path.
func (c Counters) With(values ...string) Counter { return Counter{c.v.WithLabelValues(values...)} }

// Delete forgets the counter with these label values.
func (c Counters) Delete(values ...string) { c.v.DeleteLabelValues(values...) }

// Gauges is a family of gauges told apart by labels.
type Gauges struct{ v *prometheus.GaugeVec }

// With returns the gauge with these label values.
func (g Gauges) With(values ...string) Gauge { return Gauge{g.v.WithLabelValues(values...)} }

// Delete forgets the gauge with these label values.
func (g Gauges) Delete(values ...string) { g.v.DeleteLabelValues(values...) }

// Histograms is a family of histograms told apart by labels.
type Histograms struct{ v *prometheus.HistogramVec }

// With returns the histogram with these label values.
func (h Histograms) With(values ...string) Histogram {
	return Histogram{h.v.WithLabelValues(values...)}
}

// Delete forgets the histogram with these label values.
func (h Histograms) Delete(values ...string) { h.v.DeleteLabelValues(values...) }

// Counters makes a family. It panics if the name is taken by another kind or
// by other labels; asked again with the same ones it returns the same family.
func (m *Metrics) Counters(name, help string, labels ...string) Counters {
	return Counters{register(m.registry, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))}
}

// Gauges makes a family, as Counters.
func (m *Metrics) Gauges(name, help string, labels ...string) Gauges {
	return Gauges{register(m.registry, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels))}
}

// Histograms makes a family, as Counters; buckets are upper bounds, rising.
func (m *Metrics) Histograms(name, help string, buckets []float64, labels ...string) Histograms {
	return Histograms{register(m.registry, prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels))}
}

func register[C prometheus.Collector](r *prometheus.Registry, c C) C {
	err := r.Register(c)
	if err == nil {
		return c
	}
	var old prometheus.AlreadyRegisteredError
	if errors.As(err, &old) {
		if c, ok := old.ExistingCollector.(C); ok {
			return c
		}
	}
	panic("BUG: metric: " + err.Error())
}

// Seconds are bucket bounds for durations of exchanges: 0.5 ms to 60 s.
func Seconds() []float64 {
	return []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
}

// GuestSeconds are bucket bounds for guest calls: 1 µs to 1 s. They are few: there
// may be thousands of filters.
func GuestSeconds() []float64 {
	return []float64{1e-6, 5e-6, 2e-5, 1e-4, 1e-3, 2e-2, 1e-1, 1}
}

// Kind is the type of a guest's metric, with Proxy-Wasm's numbers.
type Kind uint8

// The kinds.
const (
	GuestCounter Kind = iota
	GuestGauge
	GuestHistogram
)

// MaxGuestSeries is how many metrics one filter may define.
const MaxGuestSeries = 1000

type guests struct {
	mu   sync.Mutex
	sets map[*GuestSet]struct{}

	seriesMu sync.Mutex // taken last
	series   map[string]int
	most     map[string]int // both by namespace
}
