package config

// Chains calls f for every chain of the config, some of them more than once.
func (c *Config) Chains(f func(*Chain)) {
	one := func(chain *Chain) {
		if chain != nil {
			f(chain)
		}
	}
	backends := func(list []Backend) {
		for i := range list {
			one(list[i].Chain)
		}
	}
	for _, g := range c.Gateways {
		for _, l := range g.Listeners {
			one(l.Chain)
			if l.Routes != nil {
				for _, e := range l.Routes.Entries {
					for _, r := range e.Route.Rules {
						one(r.Chain)
						backends(r.Backends)
					}
				}
			}
			if l.RawRoutes != nil {
				for _, e := range l.RawRoutes.Entries {
					backends(e.Route.Backends)
				}
			}
		}
	}
}

// Filters returns every filter that may run, by its hash: those of parts, of what
// they may go back to, and canaries.
func (c *Config) Filters() map[string]*Filter {
	all, seen := map[string]*Filter{}, map[*Part]bool{}
	var part func(*Part)
	part = func(p *Part) {
		if p == nil || seen[p] {
			return
		}
		seen[p] = true
		for _, f := range p.Filters {
			all[f.Hash] = f
			if f.Canary != nil && f.Canary.Filter != nil {
				all[f.Canary.Filter.Hash] = f.Canary.Filter
			}
		}
		part(p.Fallback)
		part(p.Previous)
	}
	c.Chains(func(chain *Chain) {
		for _, p := range chain.Parts {
			part(p)
		}
	})
	return all
}
