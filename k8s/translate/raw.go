package translate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
)

// rawRoute is a TCPRoute, TLSRoute or UDPRoute: they differ by little.
type rawRoute struct {
	*candidate
	rules    int
	name     *gatewayv1.SectionName // of the first rule
	backends []gatewayv1.BackendRef // of the first rule
}

// rawProtocol reports whether a listener takes raw routes.
func rawProtocol(p gatewayv1.ProtocolType) bool {
	return p == gatewayv1.TCPProtocolType || p == gatewayv1.TLSProtocolType || p == gatewayv1.UDPProtocolType
}

// passthrough reports whether a listener of protocol TLS hands TLS on as it is.
func passthrough(l *gatewayv1.Listener) bool {
	return l.TLS != nil && l.TLS.Mode != nil && *l.TLS.Mode == gatewayv1.TLSModePassthrough
}

// rawTable returns the raw routes that attach to a listener.
func (r *run) rawTable(l *listener) *config.RawTable {
	var entries []config.RawEntry
	var key strings.Builder
	taken := map[string]config.Object{} // by hostname
	for _, a := range l.routes {
		route := a.route.raw
		r.contested(route, a.hostnames, taken)
		c := r.rawRoute(route, l)
		entries = append(entries, config.RawEntry{Hostnames: a.hostnames, Route: c})
		fmt.Fprintf(&key, "%p %q\n", c, a.hostnames)
	}
	if len(entries) == 0 {
		r.warn(l.object, l.field, "NoRoutes", "no route attaches to listener %q: it refuses everything", l.Name)
	}
	return r.t.memo.rawTables.get(l.id(), key.String(), func() *config.RawTable {
		return &config.RawTable{Entries: entries}
	})
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
func (r *run) rawRoute(route *rawRoute, l *listener) *config.RawRoute {
	o, g := route.object, l.gateway
	id := g.Namespace + "/" + g.Name + " " + o.String()
	if route.rules != 1 {
		r.problem(o, "spec.rules", "Invalid", "%d rules: want one; the first counts", route.rules)
	}
	r.inapplicable(route, r.listenerParts(l))
	key := version(route)
	var backends []config.Backend
	for i := range route.backends {
		b := r.rawBackend(route, g.Gateway, i)
		backends = append(backends, b)
		key += fmt.Sprintf(" %d %s %d %p %d", b.Weight, b.Upstream, b.Status, b.Chain, b.ProxyProtocol)
	}
	if !slices.ContainsFunc(backends, func(b config.Backend) bool { return b.Weight > 0 }) {
		r.warn(o, "spec.rules[0].backendRefs", unsupported, "no backend has a weight: all is refused")
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
	r.pinned[b.Upstream] = true
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
		r.problem(o, field+".port", "BackendNotFound", "missing: a Service needs its port")
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
			return route.kind == "UDPRoute" || f.Cache != nil || strings.HasPrefix(f.Plugin, "bundled/")
		})
		if i < 0 {
			continue
		}
		at := place{part: p.Name, scope: p.Scope}
		r.problem(p.Object, fieldOf(&at), "PluginsNotApplicable", "filter %s has no callbacks for raw connections: %s refuses all that passes it", p.Filters[i].ID(), route.object)
		r.problem(route.object, "", "PluginsNotApplicable", "its chain has filter %s of %s: what passes it is refused", p.Filters[i].ID(), p.Object)
	}
}
