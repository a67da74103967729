package translate

import (
	"maps"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
)

// standing is the last translation with what it takes to change a part of it.
type standing struct {
	*run
	base uint64 // its number: a route that is served was so in this run or later
	// uniform: all upstreams have the same parameters, whichever Gateway is the first
	// that leads to them.
	uniform bool
	uses    map[use]int // nil: not gathered yet
	// leads are the routes whose backendRefs name a Service, by its namespace/name.
	leads   map[string]map[*httpRoute]bool
	raw     map[string]bool // Services that other routes name
	counted map[*served]bool
}

// use is an upstream and a Gateway that leads to it: by its index, 0 if it does not
// matter which.
type use struct {
	upstream string
	gateway  int
}

// stand keeps a translation; nil: all depends on all.
func stand(r *run) *standing {
	if len(r.o.Unread) > 0 {
		return nil
	}
	o := *r.o
	o.HTTPRoutes, o.GRPCRoutes, o.Services, o.EndpointSlices, o.Secrets, o.ConfigMaps, o.CachePurges, o.Credentials, o.Consumers = nil, nil, nil, nil, nil, nil, nil, nil, nil
	r.o, r.children = &o, nil
	r.changing = true
	return &standing{run: r, base: r.t.run, counted: map[*served]bool{}}
}

// gather counts what leads to each upstream.
func (s *standing) gather() {
	if s.uses != nil {
		return
	}
	s.uniform = true
	var first *config.ProxyParameters
	if len(s.callers)+len(s.called) > 0 {
		first = s.t.o.Parameters
	}
	for _, g := range s.byName {
		if first == nil {
			first = g.parameters
		}
		s.uniform = s.uniform && (g.parameters == nil || g.parameters == first)
		for _, l := range g.listeners() {
			l.grpc = 0
			for i := range l.routes {
				if l.routes[i].route.kind == "GRPCRoute" {
					l.grpc++
				}
			}
		}
	}
	s.uses = make(map[use]int, len(s.run.config.Upstreams))
	for _, f := range s.t.forms.order {
		for _, at := range f.served {
			if at.run >= s.base {
				s.count(at, 1)
			}
		}
	}
	s.routesOfAll = slices.DeleteFunc(s.routesOfAll, func(c *candidate) bool { return c.http != nil })
}

// count adds to the uses of the upstreams of a route at a Gateway.
func (s *standing) count(at *served, n int) {
	gateway := 0
	if !s.uniform {
		gateway = s.gateways[at.gateway].index
	}
	for i := range at.upstreams {
		key := use{at.upstreams[i].name, gateway}
		if s.uses[key] += n; s.uses[key] == 0 {
			delete(s.uses, key)
		}
	}
}

// first returns the first Gateway that leads to an upstream by routes; nil: none. If it
// does not matter which it is any one with parameters.
func (s *standing) first(upstream string) *gateway {
	for i, g := range s.byName {
		if g.parameters == nil {
			continue
		}
		if s.uniform {
			i = 0
		}
		if s.uses[use{upstream, i}] > 0 {
			return g
		}
		if s.uniform {
			break
		}
	}
	return nil
}

// names calls tell for each Service that a route's rules name.
func (f *httpRoute) names(tell func(service string)) {
	for i := range f.rules {
		rule := &f.rules[i]
		lists := []*filterList{&rule.filters}
		for j := range rule.backends {
			b := &rule.backends[j]
			tell(cmpOr(value(b.Namespace), f.object.Namespace) + "/" + string(b.Name))
			lists = append(lists, &b.filters)
		}
		for _, list := range lists {
			for _, m := range list.mirrors {
				tell(cmpOr(value(m.Namespace), f.object.Namespace) + "/" + string(m.Name))
			}
		}
	}
}

// leading returns the routes that name a Service.
func (s *standing) leading(service string) map[*httpRoute]bool {
	if s.leads == nil {
		s.leads = make(map[string]map[*httpRoute]bool, len(s.services))
		for _, f := range s.t.forms.order {
			s.lead(f, true)
		}
	}
	return s.leads[service]
}

// lead notes what a route names, or forgets it.
func (s *standing) lead(f *httpRoute, add bool) {
	if s.leads == nil {
		return
	}
	f.names(func(service string) {
		switch m := s.leads[service]; {
		case !add:
			delete(m, f)
		case m == nil:
			s.leads[service] = map[*httpRoute]bool{f: true}
		default:
			m[f] = true
		}
	})
}

// involved reports whether more than HTTPRoutes and GRPCRoutes depends on a Service.
func (s *standing) involved(name string) bool {
	if s.raw == nil {
		s.raw = map[string]bool{}
		for _, c := range s.routesOfAll {
			if c.raw == nil {
				continue
			}
			for _, b := range c.raw.backends {
				s.raw[cmpOr(value(b.Namespace), c.object.Namespace)+"/"+string(b.Name)] = true
			}
		}
	}
	s.backendPolicies()
	service := objectNamed("Service", name)
	return s.raw[name] || s.callers[service.Namespace] || s.called[name] || s.targets[name] != nil
}

// quiet reports whether the policies of a namespace add nothing to its chains.
func (s *standing) quiet(namespace string) bool {
	return s.know(namespace) && !slices.ContainsFunc(s.of(namespace).policies, func(p *policy) bool {
		return p.fault != nil || len(p.before)+len(p.after)+len(p.defaults)+len(p.Spec.Require) > 0
	})
}

// know reports whether it is known which policies are a namespace's.
func (s *standing) know(namespace string) bool {
	if s.namespaces[namespace] == nil && len(s.o.Policies) > 0 {
		return false
	}
	return true
}

// plainly reports whether a route has no filters but those that its Services declare.
func (s *standing) plainly(f *httpRoute) bool {
	ok := !ours(f.GetAnnotations()) && s.quiet(f.object.Namespace)
	for i := range f.rules {
		rule := &f.rules[i]
		ok = ok && len(rule.filters.extensions) == 0
		for j := range rule.backends {
			ok = ok && len(rule.backends[j].filters.extensions) == 0
		}
	}
	f.names(func(name string) {
		ok = ok && s.quiet(objectNamed("Service", name).Namespace)
		if ok {
			s.backendPolicies()
			ok = s.targets[name] == nil
		}
	})
	return ok
}

// listenersOf returns the listeners of the parents of a route.
func (s *standing) listenersOf(c *candidate) (all []*listener) {
	for i, p := range c.refs {
		if slices.ContainsFunc(c.refs[:i], func(o *parentRef) bool { return o.parent == p.parent }) {
			continue
		}
		if g := s.gateways[p.parent]; g != nil {
			all = append(all, g.own...)
		} else if set := s.sets[p.parent]; set != nil && set.rejected == nil {
			all = append(all, set.listeners...)
		}
	}
	return all
}

// seat returns the place of a HTTPRoute or GRPCRoute among a listener's routes, and
// whether it is there.
func (l *listener) seat(o config.Object) (int, bool) {
	if rawProtocol(l.Protocol) {
		return 0, false
	}
	return slices.BinarySearchFunc(l.routes, o, func(a attachedRoute, o config.Object) int { return inOrder(a.route.object, o) })
}

// identified reports whether a Gateway shows backends a certificate.
func (g *gateway) identified() bool {
	return g.Spec.TLS != nil && g.Spec.TLS.Backend != nil && g.Spec.TLS.Backend.ClientCertificateRef != nil
}

// writable makes the map of upstreams the run's own.
func (r *run) writable() {
	if r.shared {
		r.config.Upstreams, r.shared = maps.Clone(r.config.Upstreams), false
	}
}

// insert puts a route in its place in the order.
func (s *forms) insert(f *httpRoute) {
	i, _ := slices.BinarySearchFunc(s.order, f.object, func(f *httpRoute, o config.Object) int { return inOrder(f.object, o) })
	s.order = slices.Insert(s.order, i, f)
}

// drop forgets a route.
func (s *forms) drop(f *httpRoute) {
	i, ok := slices.BinarySearchFunc(s.order, f.object, func(f *httpRoute, o config.Object) int { return inOrder(f.object, o) })
	if ok {
		s.order = slices.Delete(s.order, i, i+1)
	}
	delete(s.all, f.object)
	switch x := f.Object.(type) {
	case *gatewayv1.HTTPRoute:
		delete(s.http, x)
	case *gatewayv1.GRPCRoute:
		delete(s.grpc, x)
	}
}
