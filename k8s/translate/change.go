package translate

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// Changes are objects that came, changed or went since the last result, by
// namespace/name; nil: there is none any more.
type Changes struct {
	HTTPRoutes map[string]*gatewayv1.HTTPRoute
	GRPCRoutes map[string]*gatewayv1.GRPCRoute
	Services   map[string]*corev1.Service
	// EndpointSlices has all that there are of a Service, by its namespace/name.
	EndpointSlices map[string][]*discoveryv1.EndpointSlice
	CachePurges    map[string]*api.CachePurge
	Consumers      map[string]*api.Consumer
	// Credentials are Secrets with the label of Consumers' credentials.
	Credentials map[string]*corev1.Secret
}

// Change returns what Translate would if nothing but these objects has changed since
// the last result, which is that of Translate or of Change: the frequent changes,
// which cost what they touch. It returns nil where more depends on them, filters for
// one: then Translate says what.
func (t *Translator) Change(last *Result, c *Changes) *Result {
	s := t.standing
	if s == nil || last == nil || last.Config != t.last {
		return nil
	}
	t.standing = nil
	made := s.change(last, c)
	t.memo.settle(made != nil)
	if made != nil {
		t.standing = s
	}
	return made
}

// change is one change of what stands.
type change struct {
	*standing
	last    *Result
	changes *Changes
	routes  map[config.Object]*moved
	order   []*moved
	// upstreams are those that routes lead to no more, or do now.
	upstreams map[string]bool
	// altered are the Consumers that came, went, or of which something else is to be told
	// now, by namespace/name.
	altered []string
}

func (s *standing) change(last *Result, changes *Changes) *Result {
	s.gather()
	s.t.run++
	next := *last.Config
	s.run.config, s.problems, s.beyond = &next, nil, false
	s.shared, s.endpointSets = true, map[string]*config.EndpointSet{}
	c := &change{standing: s, last: last, changes: changes, routes: map[config.Object]*moved{}, upstreams: map[string]bool{}}
	if !c.services() || !c.slices() || !c.read() || !c.serve() || c.beyond || !c.settle() || !c.endpoints() || !c.purges() || !c.consumers() {
		return nil
	}
	c.tables()
	maps.DeleteFunc(s.endpointSets, func(name string, set *config.EndpointSet) bool { return last.Config.Endpoints.Of(name) == set })
	next.Endpoints = last.Config.Endpoints.With(s.endpointSets)
	made := *last
	made.Number = s.t.run
	made.Problems = c.told()
	c.say(&made)
	if made.Config = last.Config; !same(last.Config, &next) {
		made.Config, s.t.last = &next, &next
	}
	return &made
}

// services takes over the changed Services: the routes that lead to them are looked
// at again.
func (c *change) services() bool {
	known := &c.t.inputs.services
	for name, s := range c.changes.Services {
		old := c.run.services[name]
		if old == s {
			continue
		}
		namespace, _, _ := strings.Cut(name, "/")
		if c.t.o.CheckEndpoints && (namespace == c.t.o.InstallNamespace || name == apiServer) {
			return false // see forbid
		}
		if !c.quiet(namespace) || c.involved(name) || !c.alike(old, s) {
			return false
		}
		if delete(known.seen, old); s == nil {
			delete(known.byName, name)
		} else {
			known.seen[s], known.byName[name] = true, s
		}
		for f := range c.leading(name) {
			for _, at := range f.served {
				for _, u := range at.upstreams {
					if u.serviceName != name || c.run.config.Upstreams[u.name] == nil {
						continue
					}
					if c.pinned[u.name] || c.t.restored[u.name] == nil || len(c.t.restored[u.name].problems) > 0 {
						return false
					}
					c.writable()
					delete(c.run.config.Upstreams, u.name)
				}
			}
			if !c.leave(f) {
				return false
			}
		}
	}
	return true
}

// alike reports whether nothing but routes depends on how two versions of a Service
// differ: it is no Gateway's, and declares the same filters.
func (c *change) alike(old, s *corev1.Service) bool {
	one := func(s *corev1.Service) bool {
		return s == nil || s.Labels[labelGatewayUID] == "" && !ours(s.Annotations)
	}
	switch {
	case one(old) && one(s):
		return s != nil || c.run.config.Totals[old.Namespace] == nil
	case old == nil || s == nil || old.Labels[labelGatewayUID]+s.Labels[labelGatewayUID] != "" || old.UID != s.UID || ownAnnotations(old) != ownAnnotations(s):
		return false
	}
	if chain := c.chained[object("Service", s)]; chain != nil {
		chain.Object = s
	}
	return true
}

// ours reports whether any annotation is for us.
func ours(annotations map[string]string) bool {
	for key := range annotations {
		if strings.HasPrefix(key, api.Group+"/") {
			return true
		}
	}
	return false
}

// slices takes over the changed EndpointSlices.
func (c *change) slices() bool {
	for name, list := range c.changes.EndpointSlices {
		if c.t.o.CheckEndpoints && c.ownService(name) { // others may name these addresses
			return false
		}
		odd := func(s *discoveryv1.EndpointSlice) bool { return ours(s.Annotations) }
		if slices.ContainsFunc(list, odd) || slices.ContainsFunc(c.run.slices[name], odd) {
			return false
		}
		if len(list) == 0 {
			delete(c.run.slices, name)
		} else {
			c.run.slices[name] = sorted(list)
		}
	}
	return true
}

// endpoints renews the endpoints of upstreams that were not made anew.
func (c *change) endpoints() bool {
	if len(c.changes.EndpointSlices) == 0 {
		return true
	}
	mark := len(c.problems)
	for service := range c.changes.EndpointSlices {
		for name := range c.t.behind[service] {
			if !c.endpointsOf(name, c.run.slices[service], mark) {
				return false
			}
		}
	}
	return true
}

// endpointsOf renews the endpoints of one upstream; mark is how many problems there were
// before.
func (c *change) endpointsOf(name string, list []*discoveryv1.EndpointSlice, mark int) bool {
	k := c.t.restored[name]
	c.checkForbidden(k.service, list)
	for _, slice := range list {
		if c.checkSlice(slice); k.podsOnly {
			c.checkTargets(slice)
		}
	}
	if len(c.problems) > mark || slices.ContainsFunc(k.problems, func(p Problem) bool { return p.Object.Kind == "EndpointSlice" }) {
		return false
	}
	if slices.Equal(k.slices, list) || c.run.config.Upstreams[name] == nil {
		return true
	}
	set := c.t.memo.endpoints.get(name, c.t.endpointsKey(k.service, list, k.port, k.podsOnly), func() *config.EndpointSet { return c.t.endpoints(k.service, list, k.port, k.podsOnly) })
	k.slices, k.endpoints = list, set
	c.endpointSets[name] = set
	return true
}

// read reads the changed routes.
func (c *change) read() bool {
	forms := &c.t.forms
	for name, x := range c.changes.HTTPRoutes {
		o := objectNamed("HTTPRoute", name)
		if f := forms.all[o]; f != nil && !c.leave(f) {
			return false
		}
		if x == nil {
			c.gone(o)
		} else if f := c.came("HTTPRoute", o, x, x.Status.Parents, func() *httpRoute { return readHTTPRoute(x) }); f != nil {
			forms.http[x] = f
		} else {
			return false
		}
	}
	for name, x := range c.changes.GRPCRoutes {
		o := objectNamed("GRPCRoute", name)
		if f := forms.all[o]; f != nil && !c.leave(f) {
			return false
		}
		if x == nil {
			c.gone(o)
		} else if f := c.came("GRPCRoute", o, x, x.Status.Parents, func() *httpRoute { return readGRPCRoute(x) }); f != nil {
			forms.grpc[x] = f
		} else {
			return false
		}
	}
	c.order = slices.SortedFunc(maps.Values(c.routes), func(a, b *moved) int { return inOrder(a.object, b.object) })
	return !slices.ContainsFunc(c.order, func(m *moved) bool {
		return m.route == nil && c.run.config.Totals[m.object.Namespace] != nil || m.route != nil && !c.plainly(m.route)
	})
}

func objectNamed(kind, name string) config.Object {
	namespace, name, _ := strings.Cut(name, "/")
	return config.Object{Kind: kind, Namespace: namespace, Name: name}
}

// leave takes a route from its listeners, as it was; false: it has filters.
func (c *change) leave(f *httpRoute) bool {
	if c.routes[f.object] != nil {
		return true
	}
	m := &moved{object: f.object, route: f}
	c.routes[f.object] = m
	for _, s := range f.served {
		if s.run < c.base {
			continue
		}
		if !s.simple {
			return false
		}
		c.count(s, -1)
		for _, u := range s.upstreams {
			c.upstreams[u.name] = true
		}
		s.run = 0
	}
	for _, l := range c.listenersOf(f.candidate) {
		i, ok := l.seat(f.object)
		if !ok {
			continue
		}
		m.seats = append(m.seats, seat{listener: l, before: l.routes[i], counted: l.routes[i].route.fault == nil})
	}
	return true
}

// gone forgets a route.
func (c *change) gone(o config.Object) {
	f := c.t.forms.all[o]
	if f == nil {
		return
	}
	c.lead(f, false)
	c.t.forms.drop(f)
	c.routes[o].route = nil
}

// came reads a route; nil: it is for the whole way.
func (c *change) came(kind string, o config.Object, x metav1.Object, status []gatewayv1.RouteParentStatus, read func() *httpRoute) *httpRoute {
	if !c.know(o.Namespace) {
		return nil
	}
	if f := c.t.forms.all[o]; f != nil {
		c.lead(f, false)
	}
	f, added := c.t.forms.renew(kind, x, read)
	if added {
		c.t.forms.insert(f)
		c.routes[o] = &moved{object: o, route: f}
	}
	f.candidate.status = status
	c.lead(f, true)
	return f
}

// serve attaches the routes anew, and has their Gateways serve them.
func (c *change) serve() bool {
	var gateways []*gateway
	for _, m := range c.order {
		if !c.sit(m) {
			return false
		}
		for i := range m.seats {
			if g := m.seats[i].listener.gateway; !slices.Contains(gateways, g) {
				gateways = append(gateways, g)
			}
		}
	}
	slices.SortFunc(gateways, func(a, b *gateway) int { return cmp.Compare(a.index, b.index) })
	for _, g := range gateways {
		if g.parameters == nil {
			continue
		}
		c.current, c.at = g.parameters, g
		for _, m := range c.order {
			for i := range m.seats {
				s := &m.seats[i]
				if s.listener.gateway != g || s.listener.rejected != nil || s.after.route == nil {
					continue
				}
				made := c.route(m.route, g.Gateway)
				at := m.route.at(g.object)
				if !at.simple {
					return false
				}
				if s.after.config = made; !c.counted[at] {
					c.counted[at] = true
					c.count(at, 1)
					for _, u := range at.upstreams {
						c.upstreams[u.name] = true
					}
				}
				j, _ := s.listener.seat(m.object)
				s.listener.routes[j].config = made
			}
		}
	}
	clear(c.counted)
	for _, m := range c.order {
		if m.route != nil {
			c.orphan(m.route.candidate)
		}
	}
	return !slices.ContainsFunc(c.problems, func(p Problem) bool { return c.routes[p.Object] == nil })
}

// settle takes upstreams away that nothing leads to any more; false: one has other
// parameters now, or there is something to be told of one.
func (c *change) settle() bool {
	for name := range c.upstreams {
		first := c.first(name)
		k := c.t.restored[name]
		if first == nil && k != nil && ours(k.service.Annotations) {
			return false // its chain may be no more
		}
		switch u := c.run.config.Upstreams[name]; {
		case c.pinned[name] && !c.uniform:
			return false
		case c.pinned[name]:
		case first == nil:
			if k != nil && len(k.problems) > 0 {
				return false
			}
			c.writable()
			delete(c.run.config.Upstreams, name)
			c.endpointSets[name] = nil
			c.t.unremember(name)
		case u == nil || u.Parameters != first.parameters:
			return false
		}
	}
	return true
}
