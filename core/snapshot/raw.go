package snapshot

import (
	"cmp"
	"slices"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/upstream"
)

// RawRoute is a compiled TCPRoute, TLSRoute or UDPRoute.
type RawRoute struct {
	Name     string // for logs and metrics
	Backends []RawBackend
	Weights  uint64       // sum; 0: it refuses everything
	Counters *RawCounters // of what reached no backend
}

// RawBackend is one choice of a raw route.
type RawBackend struct {
	Config   *config.Backend
	Upstream *upstream.Group // nil: invalid reference
	Chain    *Chain          // nil: none
	Counters *RawCounters
}

// RawTable is the raw routes of a listener; immutable.
type RawTable struct{ names[RawRoute] }

// Find returns the route with the most specific hostname for the name that a
// client asks for, in lower case; empty: it asks for none. nil: there is none.
func (t *RawTable) Find(name string) *RawRoute { return lookup(&t.names, name) }

// raw compiles a listener's raw routes, the oldest first: of two with one
// hostname that one counts (Gateway API).
func (c *compiler) raw(t *config.RawTable) *RawTable {
	out := &RawTable{}
	entries := slices.SortedStableFunc(slices.Values(t.Entries), func(a, b config.RawEntry) int {
		return cmp.Or(a.Route.Created.Compare(b.Route.Created), cmp.Compare(a.Route.Object.Namespace, b.Route.Object.Namespace), cmp.Compare(a.Route.Object.Name, b.Route.Object.Name))
	})
	for _, e := range entries {
		r := c.rawRoute(e.Route)
		if len(e.Hostnames) == 0 {
			out.add("", r)
		}
		for _, h := range e.Hostnames {
			out.add(h, r)
		}
	}
	return out
}

func (c *compiler) rawRoute(cfg *config.RawRoute) *RawRoute {
	if done := c.new.raw[cfg]; done != nil {
		return done
	}
	r := &RawRoute{Name: cfg.Name, Counters: c.metrics.rawOf(cfg.Name, "")}
	for i := range cfg.Backends {
		b := &cfg.Backends[i]
		r.Weights += uint64(b.Weight)
		r.Backends = append(r.Backends, RawBackend{Config: b, Upstream: c.group(b.Upstream), Chain: c.chain(b.Chain), Counters: c.metrics.rawOf(cfg.Name, b.Service)})
	}
	c.new.raw[cfg] = r
	return r
}
