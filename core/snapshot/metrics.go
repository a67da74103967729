package snapshot

import (
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/telemetry"
)

// Metrics counts finished exchanges by the route's and the Service's names,
// which come from config.
type Metrics struct {
	requests telemetry.Counters
	duration telemetry.Histograms
	mirrored telemetry.Counters
	raw      rawMetrics
	// How many rules count in a series, by its route and Service; for the goroutine
	// that compiles.
	users, mirrors map[[2]string]int
	// None counts exchanges for which no route was found.
	None *Counters
	// RawNone counts raw connections and datagrams for which there was none.
	RawNone *RawCounters
}

// Counters is the handles of one rule and backend, made once they are needed: with
// many routes most see few classes of status, and some see no exchange at all.
type Counters struct {
	parent   *Metrics
	key      [2]string // route, Service
	classes  [6]atomic.Pointer[telemetry.Counter]
	duration atomic.Pointer[telemetry.Histogram]
}

var classes = [...]string{"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"}

// NewMetrics makes the families.
func NewMetrics(m *telemetry.Metrics) *Metrics {
	t := &Metrics{
		users: map[[2]string]int{}, mirrors: map[[2]string]int{},
		requests: m.Counters("penstock_proxy_requests_total", "Finished exchanges by route, Service and class of status; 0xx: no response was sent.", "route", "service", "class"),
		duration: m.Histograms("penstock_proxy_request_duration_seconds", "Time from a request's first byte to its response's last.", telemetry.Seconds(), "route", "service"),
		mirrored: m.Counters("penstock_proxy_mirrored_requests_total", "Copies of requests by route, Service and what became of them: sent, failed, cut, dropped.", "route", "service", "result"),
		raw:      newRawMetrics(m),
	}
	t.None, t.RawNone = t.of("", ""), t.rawOf("", "")
	return t
}

func (t *Metrics) of(route, service string) *Counters {
	t.users[[2]string{route, service}]++
	return &Counters{parent: t, key: [2]string{route, service}}
}

// Finished counts an exchange; status 0 means that no response was sent.
func (c *Counters) Finished(status int, took time.Duration) {
	n := min(max(status/100, 0), 5)
	class := c.classes[n].Load()
	if class == nil {
		made := c.parent.requests.With(c.key[0], c.key[1], classes[n])
		class = &made
		c.classes[n].Store(class)
	}
	class.Inc()
	duration := c.duration.Load()
	if duration == nil {
		made := c.parent.duration.With(c.key[0], c.key[1])
		duration = &made
		c.duration.Store(duration)
	}
	duration.Observe(took.Seconds())
}

// forget removes the series that no rule counts in any more: those of raw routes
// that are in old and not in current, and those of rules that are gone.
func (t *Metrics) forget(old, current *Snapshot, gone []*Rule) {
	for _, r := range gone {
		t.lose(r)
	}
	if old != nil {
		t.forgetRaw(old, current)
	}
}

// lose takes a rule's counters back.
func (t *Metrics) lose(r *Rule) {
	r.each(func(c *Counters) {
		if t.users[c.key]--; t.users[c.key] > 0 {
			return
		}
		delete(t.users, c.key)
		for _, class := range classes {
			t.requests.Delete(c.key[0], c.key[1], class)
		}
		t.duration.Delete(c.key[0], c.key[1])
	})
	r.eachMirror(func(m *MirrorCounters) {
		if t.mirrors[m.key]--; t.mirrors[m.key] > 0 {
			return
		}
		delete(t.mirrors, m.key)
		for _, result := range mirrorResults {
			t.mirrored.Delete(m.key[0], m.key[1], result)
		}
	})
}

func (r *Rule) each(f func(*Counters)) {
	f(r.Counters)
	for i := range r.Backends {
		f(r.Backends[i].Counters)
	}
}
