package snapshot

import (
	"slices"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/router"
)

// table is a compiled config.RouteTable; immutable, but for base.
type table struct {
	config *config.RouteTable
	router *router.Table[*Rule]
	// By the table's entries.
	routes   []*route
	routable []*router.Route[*Rule]
	plain    bool // all routes are
	// What it was made from, and how many entries the two have in common at their
	// beginning and end; nil after turn.
	base        *table
	first, last int
}

// route is a compiled config.Route.
type route struct {
	rules []*Rule // immutable
	// plain: no chain and no copies, so that it depends on its upstreams alone.
	plain bool

	// Of the goroutine that compiles.
	tables int    // that it is in
	seen   uint64 // compiler.run that looked at it last
}

func (c *compiler) table(t *config.RouteTable, old *table) *table {
	if done := c.new.tables[t]; done != nil {
		return done
	}
	if old == nil {
		old = &table{config: &config.RouteTable{}, plain: true}
	}
	if old.config == t && c.steady && old.plain {
		c.new.tables[t] = old
		return old
	}
	n := len(t.Entries)
	made := &table{config: t, routes: make([]*route, n), routable: make([]*router.Route[*Rule], n), plain: true, base: old}
	made.first, made.last = old.config.Common(t)
	kept := c.steady && old.plain
	if kept {
		copy(made.routes, old.routes[:made.first])
		copy(made.routable, old.routable[:made.first])
		copy(made.routes[n-made.last:], old.routes[len(old.routes)-made.last:])
		copy(made.routable[n-made.last:], old.routable[len(old.routes)-made.last:])
	}
	for i := range t.Entries {
		was := -1
		switch {
		case i < made.first:
			was = i
		case i >= n-made.last:
			was = i - n + len(old.routes)
		}
		switch {
		case was >= 0 && kept:
			continue
		case was >= 0 && c.steady && old.routes[was].plain:
			made.routes[i], made.routable[i] = old.routes[was], old.routable[was]
			continue
		}
		e := t.Entries[i]
		r := c.route(e.Route)
		made.routes[i], made.plain = r, made.plain && r.plain
		if was >= 0 && old.routes[was] == r {
			made.routable[i] = old.routable[was]
		} else {
			made.routable[i] = r.at(e)
		}
	}
	made.router = router.New(old.router, made.routable)
	c.new.tables[t] = made
	return made
}

// route compiles a route, or takes its compiled form over if nothing that it refers
// to has changed.
func (c *compiler) route(cfg *config.Route) *route {
	old := c.routes[cfg]
	if old != nil && (old.seen == c.run || c.steady && old.plain) {
		return old
	}
	r := &route{plain: true, seen: c.run}
	name := cfg.Object.Namespace + "/" + cfg.Object.Name
	for i, rule := range cfg.Rules {
		var before *Rule
		if old != nil {
			before = old.rules[i]
		}
		made := c.rule(rule, name, before)
		r.rules = append(r.rules, made)
		r.plain = r.plain && made.plain()
	}
	if old != nil && slices.Equal(old.rules, r.rules) {
		old.seen = c.run
		return old
	}
	if old != nil {
		r.tables = old.tables
		for i, rule := range old.rules {
			if rule != r.rules[i] {
				c.gone = append(c.gone, rule)
			}
		}
	}
	c.routes[cfg] = r
	return r
}

// turn ends the life of what only the old snapshot has, and returns the rules that
// are gone. Tables that were made from each other are compared where they differ.
func (c *compiler) turn() []*Rule {
	var old map[*config.RouteTable]*table
	if c.old != nil {
		old = c.old.tables
	}
	left := map[*table]bool{}
	for t, was := range old {
		if c.new.tables[t] != was {
			left[was] = true
		}
	}
	var gone []*config.Route
	for t, is := range c.new.tables {
		if old[t] == is {
			continue
		}
		entries, from := is.config.Entries, is.base
		if left[from] {
			delete(left, from)
			for _, e := range from.config.Entries[is.first : len(from.config.Entries)-is.last] {
				gone = append(gone, e.Route)
			}
			entries = entries[is.first : len(entries)-is.last]
		}
		is.base = nil
		for _, e := range entries {
			c.routes[e.Route].tables++
		}
	}
	for was := range left {
		for _, e := range was.config.Entries {
			gone = append(gone, e.Route)
		}
	}
	for _, cfg := range gone {
		r := c.routes[cfg]
		if r.tables--; r.tables == 0 {
			delete(c.routes, cfg)
			c.gone = append(c.gone, r.rules...)
		}
	}
	return c.gone
}
