package config

import (
	"maps"
	"slices"
)

// Chains calls f for every chain of the config, some of them more than once.
func (c *Config) Chains(f func(*Chain)) {
	c.chainsOfConsumers(f)
	for _, g := range c.Gateways {
		for _, l := range g.Listeners {
			if l.Chain != nil {
				f(l.Chain)
			}
			if l.Routes != nil {
				chainsOf(l.Routes.Entries, f)
			}
			if l.RawRoutes != nil {
				for _, e := range l.RawRoutes.Entries {
					chainsTo(e.Route.Backends, f)
				}
			}
		}
	}
}

// chainsOfConsumers calls f for every chain of a Consumer.
func (c *Config) chainsOfConsumers(f func(*Chain)) {
	for _, one := range c.Consumers.All() {
		if one.Chain != nil {
			f(one.Chain)
		}
	}
}

func chainsOf(entries []*RouteEntry, f func(*Chain)) {
	for _, e := range entries {
		for _, r := range e.Route.Rules {
			if r.Chain != nil {
				f(r.Chain)
			}
			chainsTo(r.Backends, f)
		}
	}
}

func chainsTo(list []Backend, f func(*Chain)) {
	for i := range list {
		if list[i].Chain != nil {
			f(list[i].Chain)
		}
	}
}

// KeepsChains reports whether it is plain that c has the chains that before has: it
// looks only at the routes that differ. false may mean nothing.
func (c *Config) KeepsChains(before *Config) bool {
	same := true
	c.Consumers.Differ(before.Consumers, func(key string, one *Consumer) {
		old := before.Consumers.Of(key)
		same = same && (old == nil && one.Chain == nil || old != nil && one.Chain.same(old.Chain))
	}, func(key string) { same = same && before.Consumers.Of(key).Chain == nil })
	return same && slices.EqualFunc(c.Gateways, before.Gateways, func(g, old *Gateway) bool {
		return g == old || g.Object == old.Object && slices.EqualFunc(g.Listeners, old.Listeners, keepsChains)
	})
}

func keepsChains(l, old *Listener) bool {
	switch {
	case l == old:
		return true
	case l.Chain != old.Chain || l.RawRoutes != old.RawRoutes || (l.Routes == nil) != (old.Routes == nil):
		return false
	case l.Routes == nil:
		return true
	}
	first, last := old.Routes.Common(l.Routes)
	chains := func(t *RouteTable) map[*Chain]bool {
		all := map[*Chain]bool{}
		chainsOf(t.Entries[first:len(t.Entries)-last], func(c *Chain) { all[c] = true })
		return all
	}
	return maps.Equal(chains(l.Routes), chains(old.Routes))
}

// parts calls f once for every part that may run: those of chains, and what they
// may go back to.
func (c *Config) parts(f func(*Part)) {
	seen := map[*Part]bool{}
	var one func(*Part)
	one = func(p *Part) {
		if p == nil || seen[p] {
			return
		}
		seen[p] = true
		f(p)
		one(p.Fallback)
		one(p.Previous)
	}
	c.Chains(func(chain *Chain) {
		for _, p := range chain.Parts {
			one(p)
		}
	})
}

// PartHashes returns the hashes of all parts that may run.
func (c *Config) PartHashes() map[string]bool {
	all := map[string]bool{}
	c.parts(func(p *Part) { all[p.Hash] = true })
	return all
}

// Filters returns every plugin's filter that may run, canaries included, by its hash.
// The response cache is none: it has no image.
func (c *Config) Filters() map[string]*Filter {
	all := map[string]*Filter{}
	c.parts(func(p *Part) {
		for _, f := range p.Filters {
			if f.Cache != nil {
				continue
			}
			all[f.Hash] = f
			if f.Canary != nil && f.Canary.Filter != nil {
				all[f.Canary.Filter.Hash] = f.Canary.Filter
			}
		}
	})
	return all
}
