package translate

import (
	"slices"

	"penstock.dev/penstock/core/config"
)

// moved is a route that is looked at again.
type moved struct {
	object config.Object
	route  *httpRoute // nil: it is gone
	seats  []seat
}

// seat is a route at a listener.
type seat struct {
	listener *listener
	// before and after are how it is there; without route: it is not.
	before, after attachedRoute
	counted       bool // among the attached routes before
}

// sit attaches a route to listeners as attach does; false: it is not alone in that.
func (c *change) sit(m *moved) bool {
	if m.route != nil {
		x := m.route.candidate
		x.reset()
		for _, p := range x.refs {
			if g := c.gateways[p.parent]; g != nil {
				p.ours = true
			} else if s := c.sets[p.parent]; s != nil {
				if p.ours = true; s.rejected != nil {
					p.why = s.rejected.message
				}
			}
		}
		for _, l := range c.listenersOf(x) {
			if !slices.ContainsFunc(m.seats, func(s seat) bool { return s.listener == l }) {
				m.seats = append(m.seats, seat{listener: l})
			}
		}
	}
	for i := range m.seats {
		s := &m.seats[i]
		l := s.listener
		if l.crowded || l.gateway.identified() || !c.quiet(l.gateway.Namespace) {
			return false
		}
		if m.route != nil {
			s.after = c.attachOne(l, m.route.candidate)
		}
		j, ok := l.seat(m.object)
		switch {
		case ok && s.after.route != nil:
			l.routes[j] = s.after
		case ok:
			l.routes = slices.Delete(l.routes, j, j+1)
		case s.after.route != nil:
			l.routes = slices.Insert(l.routes, j, s.after)
		}
		if m.object.Kind == "GRPCRoute" {
			if s.before.route != nil {
				l.grpc--
			}
			if s.after.route != nil {
				l.grpc++
			}
		}
		if s.after.route != nil && l.grpc > 0 && l.grpc < len(l.routes) && l.contends(s.after) {
			return false
		}
		for _, p := range s.after.refs {
			p.come(attached, "")
		}
	}
	return true
}

// attachOne is attach for one route.
func (r *run) attachOne(l *listener, c *candidate) (made attachedRoute) {
	for _, p := range c.refs {
		if p.parent != l.object || p.SectionName != nil && *p.SectionName != l.Name || p.Port != nil && *p.Port != l.Port {
			continue
		}
		near, hostnames, why := r.reaches(l, c)
		if near < attached {
			p.come(near, why)
			continue
		}
		made.route, made.hostnames = c, hostnames
		made.refs = append(made.refs, p)
	}
	return made
}

// contends reports whether a route has a hostname of one of the other kind.
func (l *listener) contends(a attachedRoute) bool {
	return slices.ContainsFunc(l.routes, func(b attachedRoute) bool { return b.route.kind != a.route.kind && overlap(a.hostnames, b.hostnames) })
}
