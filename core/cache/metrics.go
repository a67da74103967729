package cache

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/telemetry"
)

// metrics counts by the Service's name, which comes from config.
type metrics struct {
	requests            telemetry.Counters
	collapsed, refreshs telemetry.Counters
	sent                telemetry.Counters
	age                 telemetry.Histograms
	lookups             [2]telemetry.Histogram // by tier
	services            sync.Map               // string to *service

	objects, bytes telemetry.Gauges
	evictions      telemetry.Counters
	evicted        map[[2]string]int64 // as told, by Service and cause; Run's
}

// results are what the cache can have done with a request.
var results = [...]string{"hit", "stale", "revalidated", "miss", "pass", "bypass", "error"}

// service is the counters of one Service, made as they are needed.
type service struct {
	name      string
	results   [len(results)]atomic.Pointer[telemetry.Counter]
	age       telemetry.Histogram
	sent      telemetry.Counter
	collapsed telemetry.Counter
	refreshed telemetry.Counter
	used      atomic.Bool // since Run looked
	idle      int         // how often it was not; Run's
}

func newMetrics(m *telemetry.Metrics) *metrics {
	t := &metrics{
		requests:  m.Counters("penstock_cache_requests_total", "Requests that came to the response cache, by Service and what it did: hit, stale, revalidated, miss, pass (fetched and not stored), bypass (left alone), error.", "service", "result"),
		collapsed: m.Counters("penstock_cache_collapsed_total", "Requests that were answered with what another one had fetched, by Service.", "service"),
		refreshs:  m.Counters("penstock_cache_refreshes_total", "Stored responses that were fetched anew in the background, by Service.", "service"),
		sent:      m.Counters("penstock_cache_sent_bytes_total", "Content that was sent from the cache, which no origin had to send, by Service.", "service"),
		age:       m.Histograms("penstock_cache_age_seconds", "Age of stored responses as they were served, by Service.", ages(), "service"),
		objects:   m.Gauges("penstock_cache_objects", "Stored responses by tier and namespace.", "tier", "namespace"),
		bytes:     m.Gauges("penstock_cache_bytes", "What stored responses take, by tier and namespace.", "tier", "namespace"),
		evictions: m.Counters("penstock_cache_evictions_total", "Stored responses that went, by Service and cause.", "service", "cause"),
		evicted:   map[[2]string]int64{},
	}
	lookups := m.Histograms("penstock_cache_lookup_seconds", "Time to find a stored response, by the tier that had it; of those in memory one in eight.", lookupTimes(), "tier")
	for _, tier := range []store.Tier{store.Memory, store.Disk} {
		t.lookups[tier] = lookups.With(tier.String())
	}
	return t
}

func ages() []float64 { return []float64{1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600} }

func lookupTimes() []float64 {
	return []float64{1e-6, 3e-6, 10e-6, 30e-6, 100e-6, 300e-6, 1e-3, 3e-3, 10e-3, 30e-3, 100e-3}
}

// service returns the counters of the exchange's Service.
func (s *stream) service() *service {
	if s.counts != nil {
		return s.counts
	}
	m := s.f.cache.metrics
	v, ok := m.services.Load(s.x.Service)
	if !ok {
		name := s.x.Service
		v, _ = m.services.LoadOrStore(name, &service{
			name: name, age: m.age.With(name), sent: m.sent.With(name), collapsed: m.collapsed.With(name), refreshed: m.refreshs.With(name),
		})
	}
	s.counts = v.(*service)
	if !s.counts.used.Load() {
		s.counts.used.Store(true)
	}
	return s.counts
}

// count counts what the cache did with the request.
func (s *stream) count(what string) {
	c := s.service()
	n := resultOf(what)
	at := &c.results[n]
	counter := at.Load()
	if counter == nil {
		made := s.f.cache.metrics.requests.With(c.name, results[n])
		counter = &made
		at.Store(counter)
	}
	counter.Inc()
	if s.status.Collapsed {
		c.collapsed.Inc()
	}
}

func resultOf(what string) int {
	for i, r := range results {
		if r == what {
			return i
		}
	}
	return 5 // bypass
}

const (
	statsInterval = 5 * time.Second
	// forgetAfter is how many intervals without a request it takes for the series of
	// a Service to go.
	forgetAfter = int(time.Hour / statsInterval)
)

// Run keeps the gauges until ctx is done.
func (k *Cache) Run(ctx context.Context) {
	tick := time.NewTicker(statsInterval)
	defer tick.Stop()
	known := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		k.metrics.rest()
		known = k.metrics.tell(k.store.Stats(), known)
	}
}

// rest forgets Services that nobody has asked for in a long time.
func (m *metrics) rest() {
	m.services.Range(func(key, value any) bool {
		c := value.(*service)
		if c.used.Swap(false) {
			c.idle = 0
			return true
		}
		if c.idle++; c.idle < forgetAfter {
			return true
		}
		m.services.Delete(key)
		for _, r := range results {
			m.requests.Delete(c.name, r)
		}
		for key := range m.evicted { // which goes on from what it was told
			if key[0] == c.name {
				m.evictions.Delete(key[0], key[1])
			}
		}
		m.collapsed.Delete(c.name)
		m.refreshs.Delete(c.name)
		m.sent.Delete(c.name)
		m.age.Delete(c.name)
		return true
	})
}

// tell sets the gauges of namespaces; known are those that were told before.
func (m *metrics) tell(s store.Stats, known map[string]bool) map[string]bool {
	now := map[string]bool{}
	for name, n := range s.Namespaces {
		now[name] = true
		for tier, t := range map[store.Tier]store.TierStats{store.Memory: n.Memory, store.Disk: n.Disk} {
			m.objects.With(tier.String(), name).Set(float64(t.Objects))
			m.bytes.With(tier.String(), name).Set(float64(t.Bytes))
		}
		for service, of := range n.Services {
			if service != "" { // else they are plugins' own objects
				m.tellEvicted(service, of.Evicted)
			}
		}
	}
	for name := range known {
		if now[name] {
			continue
		}
		for _, tier := range []store.Tier{store.Memory, store.Disk} {
			m.objects.Delete(tier.String(), name)
			m.bytes.Delete(tier.String(), name)
		}
	}
	return now
}

// tellEvicted counts what left the store since it was told last.
func (m *metrics) tellEvicted(service string, by map[store.Cause]int64) {
	for cause, count := range by {
		key := [2]string{service, cause.String()}
		if more := count - m.evicted[key]; more > 0 {
			m.evictions.With(key[0], key[1]).Add(float64(more))
			m.evicted[key] = count
		}
	}
}
