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

// Filters returns every filter that may run, canaries included, by its hash.
func (c *Config) Filters() map[string]*Filter {
	all := map[string]*Filter{}
	c.parts(func(p *Part) {
		for _, f := range p.Filters {
			all[f.Hash] = f
			if f.Canary != nil && f.Canary.Filter != nil {
				all[f.Canary.Filter.Hash] = f.Canary.Filter
			}
		}
	})
	return all
}
