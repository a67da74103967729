package snapshot

import (
	"cmp"
	"maps"
	"slices"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/upstream"
)

// RawRoute is a compiled TCPRoute, TLSRoute or UDPRoute.
type RawRoute struct {
	Object   config.Object
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
	r := &RawRoute{Object: cfg.Object, Name: cfg.Name, Counters: c.metrics.rawOf(cfg.Name, "")}
	for i := range cfg.Backends {
		b := &cfg.Backends[i]
		r.Weights += uint64(b.Weight)
		r.Backends = append(r.Backends, RawBackend{Config: b, Upstream: c.group(b.Upstream), Chain: c.chain(b.Chain), Counters: c.metrics.rawOf(cfg.Name, b.Service)})
	}
	c.new.raw[cfg] = r
	return r
}

// RawRefusal is a filter that keeps raw routes from serving: raw connections cannot
// pass it, and it may not be walked around (annotations.md, section 2).
type RawRefusal struct {
	Owner  config.Object // who declares the filter
	Filter string        // part/name
	Target config.Object // the raw route that refuses, or the Gateway that has raw listeners
}

// RawRefusals lists those of the chains that run.
func (s *Store) RawRefusals() []RawRefusal {
	current := s.current.Load()
	if current == nil {
		return nil
	}
	seen := map[RawRefusal]bool{}
	add := func(target config.Object, chain *Chain) {
		if owner, filter := chain.notRaw(); filter != "" {
			seen[RawRefusal{owner, filter, target}] = true
		}
	}
	for _, g := range current.config.Gateways {
		for _, l := range g.Listeners {
			if l.Raw() && l.Chain != nil {
				add(g.Object, current.chains[chainKey(l.Chain)])
			}
		}
	}
	for _, r := range current.raw {
		for _, b := range r.Backends {
			add(r.Object, b.Chain)
		}
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b RawRefusal) int {
		return cmp.Or(cmp.Compare(a.Owner.String(), b.Owner.String()), cmp.Compare(a.Filter, b.Filter), cmp.Compare(a.Target.String(), b.Target.String()))
	})
}

// notRaw returns the first filter that raw connections cannot pass, and who declares
// it; nothing if there is none, or the chain does not run.
func (c *Chain) notRaw() (owner config.Object, id string) {
	if c == nil {
		return owner, ""
	}
	l := c.current.Load()
	if l.Fault != nil || l.pending {
		return owner, ""
	}
	if _, id = l.Raw(); id == "" {
		return owner, ""
	}
	for _, part := range l.parts {
		for _, f := range part.filters {
			if f.ID() == id {
				return f.Owner, id
			}
		}
	}
	return owner, id
}
