package snapshot

import (
	"time"

	"penstock.dev/penstock/core/telemetry"
)

// rawMetrics counts raw connections and flows by the route's and the Service's names.
type rawMetrics struct {
	ended, received, sent telemetry.Counters
	open                  telemetry.Gauges
	duration              telemetry.Histograms
}

// RawCounters is the handles of one raw route and backend.
type RawCounters struct {
	key            [2]string // route, Service
	results        [len(rawResults)]telemetry.Counter
	received, sent telemetry.Counter
	open           telemetry.Gauge
	duration       telemetry.Histogram
}

// RawResult is how a raw connection or flow ended.
type RawResult uint8

// The results.
const (
	RawClosed  RawResult = iota // both sides ended it, or a flow was idle
	RawRefused                  // it never reached an endpoint
	RawCut                      // it was ended before both sides had
)

var rawResults = [...]string{"closed", "refused", "cut"}

func newRawMetrics(m *telemetry.Metrics) rawMetrics {
	return rawMetrics{
		ended:    m.Counters("penstock_proxy_connections_total", "Raw connections and flows of datagrams that ended, by route, Service and result: closed, refused or cut.", "route", "service", "result"),
		received: m.Counters("penstock_proxy_received_bytes_total", "Bytes of raw connections and flows that came from clients.", "route", "service"),
		sent:     m.Counters("penstock_proxy_sent_bytes_total", "Bytes of raw connections and flows that went to clients.", "route", "service"),
		open:     m.Gauges("penstock_proxy_connections_open", "Raw connections and flows that reach an endpoint.", "route", "service"),
		duration: m.Histograms("penstock_proxy_connection_duration_seconds", "How long raw connections and flows lasted.", connectionSeconds(), "route", "service"),
	}
}

// connectionSeconds are bucket bounds: 5 ms to a day.
func connectionSeconds() []float64 {
	return []float64{.005, .05, .5, 5, 30, 120, 600, 3600, 14400, 86400}
}

func (t *Metrics) rawOf(route, service string) *RawCounters {
	m := &t.raw
	c := &RawCounters{
		key: [2]string{route, service}, received: m.received.With(route, service), sent: m.sent.With(route, service),
		open: m.open.With(route, service), duration: m.duration.With(route, service),
	}
	for i, name := range rawResults {
		c.results[i] = m.ended.With(route, service, name)
	}
	return c
}

// Open counts a connection or flow that reached an endpoint; Ended ends it.
func (c *RawCounters) Open() { c.open.Add(1) }

// Moved counts bytes; it may be called many times.
func (c *RawCounters) Moved(received, sent int64) {
	if received > 0 {
		c.received.Add(float64(received))
	}
	if sent > 0 {
		c.sent.Add(float64(sent))
	}
}

// Ended counts one that was Open; result is not RawRefused.
func (c *RawCounters) Ended(result RawResult, took time.Duration) {
	c.open.Add(-1)
	c.results[result].Inc()
	c.duration.Observe(took.Seconds())
}

// Refused counts one that was never Open.
func (c *RawCounters) Refused() { c.results[RawRefused].Inc() }

// forgetRaw removes the series of raw routes that are in old and not in current.
func (t *Metrics) forgetRaw(old, current *Snapshot) {
	gone := map[[2]string]bool{}
	for _, r := range old.raw {
		r.each(func(c *RawCounters) { gone[c.key] = true })
	}
	for _, r := range current.raw {
		r.each(func(c *RawCounters) { delete(gone, c.key) })
	}
	for key := range gone {
		for _, name := range rawResults {
			t.raw.ended.Delete(key[0], key[1], name)
		}
		t.raw.received.Delete(key[0], key[1])
		t.raw.sent.Delete(key[0], key[1])
		t.raw.open.Delete(key[0], key[1])
		t.raw.duration.Delete(key[0], key[1])
	}
}

func (r *RawRoute) each(f func(*RawCounters)) {
	f(r.Counters)
	for i := range r.Backends {
		f(r.Backends[i].Counters)
	}
}
