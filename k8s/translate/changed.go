package translate

import (
	"cmp"
	"slices"
	"sort"

	"penstock.dev/penstock/core/config"
)

// tables puts the routes into copies of the tables of their listeners.
func (c *change) tables() {
	touched := map[*listener]bool{}
	for _, m := range c.order {
		for i := range m.seats {
			if s := &m.seats[i]; !s.same() && s.listener.rejected == nil && s.listener.gateway.parameters != nil {
				touched[s.listener] = true
			}
		}
	}
	gateways := map[*gateway]bool{}
	for l := range touched {
		gateways[l.gateway] = true
	}
	list := c.run.config.Gateways
	if len(gateways) > 0 {
		list = slices.Clone(list)
		c.run.config.Gateways = list
	}
	for i, old := range list {
		g := c.gateways[old.Object]
		if !gateways[g] {
			continue
		}
		made := *old
		made.Listeners = slices.Clone(old.Listeners)
		served := 0
		key := g.key()
		for _, l := range g.listeners() {
			if l.rejected != nil {
				continue
			}
			if touched[l] {
				one := *made.Listeners[served]
				one.Routes = c.t.memo.tables.put(l.id(), l.table())
				made.Listeners[served] = &one
			}
			key += listenerKey(made.Listeners[served])
			served++
		}
		list[i] = c.t.memo.gateways.get(old.Object.String(), key, func() *config.Gateway { return &made })
	}
}

// same reports whether the listener serves the route as before.
func (s *seat) same() bool {
	return (s.before.route == nil) == (s.after.route == nil) && s.before.config == s.after.config && slices.Equal(s.before.hostnames, s.after.hostnames)
}

// table is a listener's routes as they were served last.
func (l *listener) table() *config.RouteTable {
	entries := make([]*config.RouteEntry, len(l.routes))
	for i := range l.routes {
		a := &l.routes[i]
		if a.entry == nil || a.entry.Route != a.config {
			a.entry = &config.RouteEntry{Hostnames: a.hostnames, Route: a.config}
		}
		entries[i] = a.entry
	}
	return &config.RouteTable{Entries: entries}
}

// told returns what is wrong with objects now: all as before, but for the routes and
// Consumers that changed.
func (c *change) told() []Problem {
	fresh := tidied(c.problems)
	c.problems = fresh
	old := c.last.Problems
	gone := 0
	var changed []config.Object
	for _, m := range c.order {
		changed = append(changed, m.object)
	}
	for _, name := range c.altered {
		changed = append(changed, objectNamed("Consumer", name))
	}
	for _, o := range changed {
		first, last := about(old, o)
		gone += last - first
	}
	if gone == 0 && len(fresh) == 0 {
		return old
	}
	all := make([]Problem, 0, len(old)-gone+len(fresh))
	from := 0
	// By name, as the problems are.
	slices.SortFunc(changed, func(a, b config.Object) int { return cmp.Compare(a.String(), b.String()) })
	for _, o := range changed {
		first, last := about(old, o)
		all = append(all, old[from:first]...)
		from = last
		i, j := about(fresh, o)
		all = append(all, fresh[i:j]...)
	}
	return append(all, old[from:]...)
}

// about returns where the problems with an object are among all.
func about(list []Problem, o config.Object) (first, last int) {
	name := o.String()
	first = sort.Search(len(list), func(i int) bool { return list[i].Object.String() >= name })
	for last = first; last < len(list) && list[last].Object == o; last++ {
	}
	return first, last
}

// say renews the statuses of the routes, and of the Gateways to which another number
// of routes attaches.
func (c *change) say(made *Result) {
	s := &statuses{run: c.run, before: c.t.statuses, now: map[config.Object]any{}, problems: map[config.Object][]*Problem{}}
	for i := range made.Problems {
		if p := &made.Problems[i]; !p.Warning && (c.routes[p.Object] != nil || p.Object.Kind == "Gateway" || p.Object.Kind == "CachePurge" || p.Object.Kind == "Consumer") {
			s.problems[p.Object] = append(s.problems[p.Object], p)
		}
	}
	made.Changed = []config.Object{}
	var gone []config.Object
	for _, m := range c.order {
		made.Changed = append(made.Changed, m.object)
		if m.route != nil {
			s.route(m.route.candidate)
		}
	}
	for name, p := range c.changes.CachePurges {
		if o := objectNamed("CachePurge", name); p != nil {
			s.purge(p)
		} else {
			gone = append(gone, o)
		}
	}
	for _, name := range c.altered {
		if one := c.t.consumers.all[name]; one != nil {
			s.consumer(one.object)
		} else {
			gone = append(gone, objectNamed("Consumer", name))
		}
	}
	gateways := map[*gateway]bool{}
	for _, m := range c.order {
		for i := range m.seats {
			if x := &m.seats[i]; x.counted != (x.after.route != nil && x.after.route.fault == nil) {
				gateways[x.listener.gateway] = true
			}
		}
	}
	for g := range gateways {
		s.gateway(g)
	}
	now := map[config.Object]any{}
	write := func(o config.Object, v any) bool {
		if s.before.Of(o) == v {
			return false
		}
		now[o] = v
		return true
	}
	for _, m := range c.order {
		write(m.object, s.now[m.object])
	}
	for _, o := range gone {
		if s.before.Of(o) != nil {
			now[o] = nil
			made.Changed = append(made.Changed, o)
		}
	}
	for o, v := range s.now {
		if c.routes[o] == nil && write(o, v) {
			made.Changed = append(made.Changed, o)
		}
	}
	c.t.statuses = s.before.With(now)
	made.Status = c.t.statuses
}
