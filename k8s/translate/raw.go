package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
)

// rawRoute is a TCPRoute, TLSRoute or UDPRoute: they differ by little.
type rawRoute struct {
	metav1.Object
	kind      string
	object    config.Object
	parents   []gatewayv1.ParentReference
	hostnames []gatewayv1.Hostname // of a TLSRoute
	rules     int
	name      *gatewayv1.SectionName // of the first rule
	backends  []gatewayv1.BackendRef // of the first rule
	attached  bool
}

// rawRoutes returns all raw routes, the oldest first, then by namespace and name
// (Gateway API).
func rawRoutes(o *Objects) []*rawRoute {
	var all []*rawRoute
	add := func(kind string, meta metav1.Object, parents []gatewayv1.ParentReference) *rawRoute {
		route := &rawRoute{Object: meta, kind: kind, object: object(kind, meta), parents: parents}
		all = append(all, route)
		return route
	}
	for _, x := range o.TCPRoutes {
		route := add("TCPRoute", x, x.Spec.ParentRefs)
		if route.rules = len(x.Spec.Rules); route.rules > 0 {
			route.name, route.backends = x.Spec.Rules[0].Name, x.Spec.Rules[0].BackendRefs
		}
	}
	for _, x := range o.TLSRoutes {
		route := add("TLSRoute", x, x.Spec.ParentRefs)
		route.hostnames = x.Spec.Hostnames
		if route.rules = len(x.Spec.Rules); route.rules > 0 {
			route.name, route.backends = x.Spec.Rules[0].Name, x.Spec.Rules[0].BackendRefs
		}
	}
	for _, x := range o.UDPRoutes {
		route := add("UDPRoute", x, x.Spec.ParentRefs)
		if route.rules = len(x.Spec.Rules); route.rules > 0 {
			route.name, route.backends = x.Spec.Rules[0].Name, x.Spec.Rules[0].BackendRefs
		}
	}
	slices.SortStableFunc(all, func(a, b *rawRoute) int {
		return cmp.Or(a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time), cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return all
}

// rawProtocol reports whether a listener takes raw routes.
func rawProtocol(p gatewayv1.ProtocolType) bool {
	return p == gatewayv1.TCPProtocolType || p == gatewayv1.TLSProtocolType || p == gatewayv1.UDPProtocolType
}

// passthrough reports whether a listener of protocol TLS hands TLS on as it is.
func passthrough(l *gatewayv1.Listener) bool {
	return l.TLS != nil && l.TLS.Mode != nil && *l.TLS.Mode == gatewayv1.TLSModePassthrough
}

// kindsOf returns the kinds of routes that a listener of raw routes takes.
func kindsOf(l *gatewayv1.Listener) []string {
	switch {
	case l.Protocol == gatewayv1.TCPProtocolType:
		return []string{"TCPRoute"}
	case l.Protocol == gatewayv1.UDPProtocolType:
		return []string{"UDPRoute"}
	case passthrough(l):
		return []string{"TLSRoute"}
	}
	return []string{"TCPRoute", "TLSRoute"}
}

// admittedRaw looks at what only listeners of raw routes must not have.
func (r *run) admittedRaw(o config.Object, l *gatewayv1.Listener, field string) bool {
	if !rawProtocol(l.Protocol) {
		return true
	}
	isTLS := l.Protocol == gatewayv1.TLSProtocolType
	switch {
	case !isTLS && l.TLS != nil:
		r.problem(o, field+".tls", "Invalid", "protocol %s has no TLS: write TLS, or remove it", l.Protocol)
		return false
	case !isTLS && value(l.Hostname) != "":
		r.problem(o, field+".hostname", "Invalid", "protocol %s knows no hostnames: remove it", l.Protocol)
		return false
	case isTLS && l.TLS == nil:
		r.problem(o, field+".tls", "Invalid", "missing: protocol TLS needs tls.mode, Terminate with certificateRefs, or Passthrough")
		return false
	case passthrough(l) && len(l.TLS.CertificateRefs) > 0:
		r.warn(o, field+".tls.certificateRefs", "Invalid", "with mode Passthrough the upstream has the certificate: they have no effect")
	}
	if l.AllowedRoutes == nil {
		return true
	}
	for i, k := range l.AllowedRoutes.Kinds {
		if k.Group != nil && *k.Group != gatewayv1.GroupName || !slices.Contains(kindsOf(l), string(k.Kind)) {
			r.problem(o, fmt.Sprintf("%s.allowedRoutes.kinds[%d]", field, i), "InvalidRouteKinds", "%s: this listener takes %s", k.Kind, strings.Join(kindsOf(l), ", "))
		}
	}
	return true
}

// rawTable returns the raw routes that attach to a listener.
func (r *run) rawTable(o config.Object, g *gatewayv1.Gateway, l *gatewayv1.Listener, field string) *config.RawTable {
	var entries []config.RawEntry
	var key strings.Builder
	taken := map[string]config.Object{} // by hostname
	for _, route := range r.raw {
		if !r.takes(g, l, route) {
			continue
		}
		hostnames, ok := intersect(value(l.Hostname), route.hostnames)
		if !ok {
			continue
		}
		route.attached = true
		r.contested(route, hostnames, taken)
		c := r.rawRoute(route, g, l)
		entries = append(entries, config.RawEntry{Hostnames: hostnames, Route: c})
		fmt.Fprintf(&key, "%p %q\n", c, hostnames)
	}
	if len(entries) == 0 {
		r.warn(o, field, "NoRoutes", "no route attaches to listener %q: it refuses everything", l.Name)
	}
	return r.t.memo.rawTables.get(g.Namespace+"/"+g.Name+"/"+string(l.Name), key.String(), func() *config.RawTable {
		return &config.RawTable{Entries: entries}
	})
}

// takes reports whether a route names a listener that takes it.
func (r *run) takes(g *gatewayv1.Gateway, l *gatewayv1.Listener, route *rawRoute) bool {
	return slices.Contains(kindsOf(l), route.kind) && slices.ContainsFunc(route.parents, func(p gatewayv1.ParentReference) bool {
		return parent(p, route.GetNamespace(), g) && (p.SectionName == nil || *p.SectionName == l.Name) && (p.Port == nil || *p.Port == l.Port)
	}) && r.allows(g, l, route.kind, route.GetNamespace())
}

// contested tells of hostnames, or a port, that an older route has.
func (r *run) contested(route *rawRoute, hostnames []string, taken map[string]config.Object) {
	if len(hostnames) == 0 {
		hostnames = []string{""}
	}
	for _, h := range hostnames {
		first, ok := taken[h]
		switch {
		case !ok:
			taken[h] = route.object
		case h == "":
			r.warn(route.object, "spec.parentRefs", "RouteConflict", "%s is older and has the listener: this route gets nothing of it", first)
		default:
			r.warn(route.object, "spec.hostnames", "RouteConflict", "%s is older and has %s", first, h)
		}
	}
}

// rawRoute returns a raw route as one listener of a Gateway serves it.
func (r *run) rawRoute(route *rawRoute, g *gatewayv1.Gateway, l *gatewayv1.Listener) *config.RawRoute {
	o := route.object
	id := g.Namespace + "/" + g.Name + " " + o.String()
	if route.rules != 1 {
		r.problem(o, "spec.rules", "Invalid", "%d rules: want one; the first counts", route.rules)
	}
	r.inapplicable(route, r.listenerParts(g, string(l.Name)))
	key := version(route)
	var backends []config.Backend
	for i := range route.backends {
		b := r.rawBackend(route, g, i)
		backends = append(backends, b)
		key += fmt.Sprintf(" %d %s %d %p %d", b.Weight, b.Upstream, b.Status, b.Chain, b.ProxyProtocol)
	}
	if !slices.ContainsFunc(backends, func(b config.Backend) bool { return b.Weight > 0 }) {
		r.problem(o, "spec.rules[0].backendRefs", "Invalid", "no backend has a weight: all is refused")
	}
	name := fmt.Sprintf("%s/0", o)
	if route.name != nil {
		name = o.String() + "/" + string(*route.name)
	}
	return r.t.memo.rawRoutes.get(id, key, func() *config.RawRoute {
		return &config.RawRoute{Object: o, Created: route.GetCreationTimestamp().Time, Name: name, Backends: backends}
	})
}

// rawBackend resolves a backendRef; an invalid one refuses its share.
func (r *run) rawBackend(route *rawRoute, g *gatewayv1.Gateway, i int) config.Backend {
	ref := &route.backends[i]
	o, field := route.object, fmt.Sprintf("spec.rules[0].backendRefs[%d]", i)
	b := config.Backend{Weight: r.weight(o, field, ref.Weight), Status: 500}
	namespace := cmpOr(value(ref.Namespace), route.GetNamespace())
	b.Service = namespace + "/" + string(ref.Name)
	service, port := r.rawService(route, ref, b.Service, field)
	if service == nil {
		return b
	}
	b.Upstream, b.Status = r.upstream(service, port, false), 0
	parts := r.routeParts(route.kind, route.Object, nil, nil, g, service, port.Name)
	r.inapplicable(route, parts)
	b.Chain = r.join(parts)
	if route.kind != "UDPRoute" {
		b.ProxyProtocol = r.current.ProxyProtocolTo[b.Service]
	}
	return b
}

// rawService returns the Service and its port that a backendRef names; nil if it
// names none, which is told.
func (r *run) rawService(route *rawRoute, ref *gatewayv1.BackendRef, name, field string) (*corev1.Service, *corePort) {
	o, namespace := route.object, cmpOr(value(ref.Namespace), route.GetNamespace())
	switch {
	case ref.Kind != nil && *ref.Kind != "Service" || ref.Group != nil && *ref.Group != "":
		r.problem(o, field+".kind", "InvalidKind", "want a Service")
		return nil, nil
	case namespace != route.GetNamespace() && !r.granted(route.kind, route.GetNamespace(), "Service", namespace, string(ref.Name)):
		r.problem(o, field, "RefNotPermitted", "a Service of namespace %s needs a ReferenceGrant there, from %ss of %s", namespace, route.kind, route.GetNamespace())
		return nil, nil
	}
	service := r.services[name]
	if service == nil {
		r.problem(o, field+".name", "BackendNotFound", "there is no Service %s", name)
		return nil, nil
	}
	if ref.Port == nil {
		r.problem(o, field+".port", "Invalid", "missing: a Service needs its port")
		return nil, nil
	}
	protocol := corev1.ProtocolTCP
	if route.kind == "UDPRoute" {
		protocol = corev1.ProtocolUDP
	}
	for i := range service.Spec.Ports {
		if p := &service.Spec.Ports[i]; p.Port == *ref.Port && (p.Protocol == protocol || p.Protocol == "" && protocol == corev1.ProtocolTCP) {
			return service, p
		}
	}
	r.problem(o, field+".port", "BackendNotFound", "Service %s has no port %d of protocol %s", name, *ref.Port, protocol)
	return nil, nil
}

// inapplicable tells of filters that keep a raw route from serving, since none may be
// walked around (annotations.md, section 2): any one that datagrams come to, and
// those that are known to have no callbacks for raw connections. Of others only
// their image tells.
func (r *run) inapplicable(route *rawRoute, parts []*config.Part) {
	for _, p := range parts {
		if p == nil || p.Fault != nil { // which is told already
			continue
		}
		i := slices.IndexFunc(p.Filters, func(f *config.Filter) bool {
			return route.kind == "UDPRoute" || strings.HasPrefix(f.Plugin, "bundled/")
		})
		if i < 0 {
			continue
		}
		at := place{part: p.Name, scope: p.Scope}
		r.problem(p.Object, fieldOf(&at), "PluginsNotApplicable", "filter %s has no callbacks for raw connections: %s refuses all that passes it", p.Filters[i].ID(), route.object)
		r.problem(route.object, "", "PluginsNotApplicable", "its chain has filter %s of %s: what passes it is refused", p.Filters[i].ID(), p.Object)
	}
}

// unattachedRaw tells of raw routes that name one of our Gateways and reach no
// listener.
func (r *run) unattachedRaw() {
	for _, route := range r.raw {
		for i, h := range route.hostnames {
			if !wildcard(string(h)) {
				r.problem(route.object, fmt.Sprintf("spec.hostnames[%d]", i), "Invalid", "%q is no hostname: it is left out", h)
			}
		}
		if route.attached {
			continue
		}
		for i, p := range route.parents {
			field := fmt.Sprintf("spec.parentRefs[%d]", i)
			g := slices.IndexFunc(r.o.Gateways, func(g *gatewayv1.Gateway) bool { return parent(p, route.GetNamespace(), g) })
			switch {
			case g < 0:
				r.problem(route.object, field, "NoMatchingParent", "there is no Gateway %s in namespace %s", p.Name, cmpOr(value(p.Namespace), route.GetNamespace()))
			case r.ours(r.o.Gateways[g]):
				r.problem(route.object, field, "NoMatchingParent", "no listener of the Gateway takes it: %s", r.whyNot(r.o.Gateways[g], p, route))
			}
		}
	}
}

// whyNot says what keeps a route from the listeners that it names.
func (r *run) whyNot(g *gatewayv1.Gateway, p gatewayv1.ParentReference, route *rawRoute) string {
	for i := range g.Spec.Listeners {
		l := &g.Spec.Listeners[i]
		if p.SectionName != nil && *p.SectionName != l.Name || p.Port != nil && *p.Port != l.Port {
			continue
		}
		switch {
		case !rawProtocol(l.Protocol) || !slices.Contains(kindsOf(l), route.kind):
			if p.SectionName != nil || p.Port != nil || len(g.Spec.Listeners) == 1 {
				return fmt.Sprintf("listener %q has protocol %s, which is for other routes", l.Name, l.Protocol)
			}
		case !r.allows(g, l, route.kind, route.GetNamespace()):
			return fmt.Sprintf("the allowedRoutes of listener %q", l.Name)
		default:
			return fmt.Sprintf("the hostnames of listener %q differ, or it is not served", l.Name)
		}
	}
	return "its section name, port or protocol differs"
}
