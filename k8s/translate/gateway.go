package translate

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
)

// ours reports whether a Gateway is served: it is of a class of this
// controller, and has parameters.
func (r *run) ours(g *gatewayv1.Gateway) bool {
	if r.classes[string(g.Spec.GatewayClassName)] == nil {
		return false
	}
	_, ok := r.parameters(g)
	return ok
}

func (r *run) gateway(g *gatewayv1.Gateway) *config.Gateway {
	o := object("Gateway", g)
	var listeners []*config.Listener
	key := fmt.Sprintf("%s %p", version(g), r.current)
	r.identity = r.clientCertificate(o, g)
	for i := range g.Spec.Listeners {
		l := &g.Spec.Listeners[i]
		field := fmt.Sprintf("spec.listeners[%d]", i)
		if !r.admitted(o, g, i, field) {
			continue
		}
		var table *config.RouteTable
		var raw *config.RawTable
		if rawProtocol(l.Protocol) {
			raw = r.rawTable(o, g, l, field)
		} else {
			table = r.table(g, l)
		}
		hostname := ""
		if l.Hostname != nil {
			hostname = strings.ToLower(string(*l.Hostname))
		}
		chain := r.join(r.listenerParts(g, string(l.Name)))
		var tls *config.TLS
		if l.Protocol == gatewayv1.HTTPSProtocolType || l.Protocol == gatewayv1.TLSProtocolType && !passthrough(l) {
			tls = r.tls(o, g, l, field)
		}
		listeners = append(listeners, &config.Listener{Name: string(l.Name), Port: uint16(l.Port), Protocol: string(l.Protocol), Hostname: hostname, TLS: tls, Chain: chain, Routes: table, RawRoutes: raw})
		key += fmt.Sprintf(" %p %p %p %p", table, raw, chain, tls)
	}
	return r.t.memo.gateways.get(o.String(), key, func() *config.Gateway {
		return &config.Gateway{Object: o, Listeners: listeners, Parameters: r.current}
	})
}

// admitted reports whether a listener can be served.
func (r *run) admitted(o config.Object, g *gatewayv1.Gateway, i int, field string) bool {
	l := &g.Spec.Listeners[i]
	switch {
	case l.Protocol != gatewayv1.HTTPProtocolType && l.Protocol != gatewayv1.HTTPSProtocolType && !rawProtocol(l.Protocol):
		r.problem(o, field+".protocol", "UnsupportedProtocol", "%q is unknown: want HTTP, HTTPS, TCP, TLS or UDP", l.Protocol)
		return false
	case l.Protocol == gatewayv1.HTTPProtocolType && l.TLS != nil:
		r.problem(o, field+".tls", "Invalid", "protocol HTTP is plain text: write HTTPS, or remove it")
		return false
	case !r.admittedRaw(o, l, field):
		return false
	}
	if l.Port < 1 || l.Port > 65535 {
		r.problem(o, field+".port", "Invalid", "%d is not in 1..65535", l.Port)
		return false
	}
	if l.Hostname != nil && *l.Hostname != "" && !wildcard(string(*l.Hostname)) {
		r.problem(o, field+".hostname", "Invalid", "%q is no hostname", *l.Hostname)
		return false
	}
	for j := range g.Spec.Listeners[:i] {
		other := &g.Spec.Listeners[j]
		if other.Name == l.Name {
			r.problem(o, field+".name", "Invalid", "%q is the name of listener %d too", l.Name, j)
			return false
		}
		if other.Port == l.Port && group(other.Protocol) == group(l.Protocol) && strings.EqualFold(value(other.Hostname), value(l.Hostname)) {
			r.problem(o, field, "HostnameConflict", "listener %q has the same port and hostname", other.Name)
			return false
		}
	}
	return r.claims(o, l, field)
}

func value[T ~string](p *T) string {
	if p == nil {
		return ""
	}
	return string(*p)
}

// table returns the routes that attach to a listener.
func (r *run) table(g *gatewayv1.Gateway, l *gatewayv1.Listener) *config.RouteTable {
	var entries []config.RouteEntry
	var key strings.Builder
	var taken []attachment
	for _, route := range r.http {
		if !r.refers(route, g, l) || !r.allows(g, l, route.kind, route.object.Namespace) {
			continue
		}
		if hostnames, ok := intersect(value(l.Hostname), route.hostnames); ok {
			taken = append(taken, attachment{route, hostnames})
		}
	}
	for _, a := range r.oneKind(taken, string(l.Name)) {
		r.attached[a.route] = true
		c := r.route(a.route, g)
		entries = append(entries, config.RouteEntry{Hostnames: a.hostnames, Route: c})
		fmt.Fprintf(&key, "%p %q\n", c, a.hostnames)
	}
	return r.t.memo.tables.get(g.Namespace+"/"+g.Name+"/"+string(l.Name), key.String(), func() *config.RouteTable {
		return &config.RouteTable{Entries: entries}
	})
}

// refers reports whether a route names this listener as a parent.
func (r *run) refers(route *httpRoute, g *gatewayv1.Gateway, l *gatewayv1.Listener) bool {
	return slices.ContainsFunc(route.parents, func(p gatewayv1.ParentReference) bool {
		return parent(p, route.object.Namespace, g) && (p.SectionName == nil || *p.SectionName == l.Name) && (p.Port == nil || *p.Port == l.Port)
	})
}

func parent(p gatewayv1.ParentReference, namespace string, g *gatewayv1.Gateway) bool {
	if p.Group != nil && *p.Group != gatewayv1.GroupName || p.Kind != nil && *p.Kind != "Gateway" {
		return false
	}
	if p.Namespace != nil {
		namespace = string(*p.Namespace)
	}
	return namespace == g.Namespace && string(p.Name) == g.Name
}

// allows reports whether a listener takes routes of a kind and a namespace.
func (r *run) allows(g *gatewayv1.Gateway, l *gatewayv1.Listener, kind, namespace string) bool {
	if l.AllowedRoutes == nil {
		return namespace == g.Namespace
	}
	if kinds := l.AllowedRoutes.Kinds; len(kinds) > 0 && !slices.ContainsFunc(kinds, func(k gatewayv1.RouteGroupKind) bool {
		return string(k.Kind) == kind && (k.Group == nil || *k.Group == gatewayv1.GroupName)
	}) {
		return false
	}
	n := l.AllowedRoutes.Namespaces
	if n == nil || n.From == nil {
		return namespace == g.Namespace
	}
	switch *n.From {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSelector:
		s, err := metav1.LabelSelectorAsSelector(n.Selector)
		return err == nil && s.Matches(labels.Set(r.namespaceLabels(namespace)))
	case gatewayv1.NamespacesFromSame:
		return namespace == g.Namespace
	}
	return false
}

// intersect returns the hostnames under which a route is served; nil is any.
func intersect(listener string, route []gatewayv1.Hostname) (hostnames []string, ok bool) {
	listener = strings.ToLower(listener)
	if len(route) == 0 {
		if listener == "" {
			return nil, true
		}
		return []string{listener}, true
	}
	for _, h := range route {
		if !wildcard(string(h)) {
			continue
		}
		if name := narrower(listener, strings.ToLower(string(h))); name != "" && !slices.Contains(hostnames, name) {
			hostnames = append(hostnames, name)
		}
	}
	return hostnames, len(hostnames) > 0
}

// narrower returns the more specific of two hostnames that have names in
// common, "" if they have none.
func narrower(a, b string) string {
	switch {
	case a == "" || a == b:
		return b
	case covers(a, b):
		return b
	case covers(b, a):
		return a
	}
	return ""
}

// covers reports whether the wildcard w matches all that name does.
func covers(w, name string) bool {
	suffix, ok := strings.CutPrefix(w, "*")
	return ok && strings.HasSuffix(strings.TrimPrefix(name, "*"), suffix) && name != suffix[1:]
}

// unattached tells of routes that name one of our Gateways and reach no listener.
func (r *run) unattached() {
	for _, route := range r.http {
		o := route.object
		for i, h := range route.hostnames {
			if !wildcard(string(h)) {
				r.problem(o, fmt.Sprintf("spec.hostnames[%d]", i), unsupported, "%q is no hostname: it is left out", h)
			}
		}
		if r.attached[route] {
			continue
		}
		for i, p := range route.parents {
			field := fmt.Sprintf("spec.parentRefs[%d]", i)
			g := slices.IndexFunc(r.o.Gateways, func(g *gatewayv1.Gateway) bool { return parent(p, o.Namespace, g) })
			switch {
			case g < 0:
				r.problem(o, field, "NoMatchingParent", "there is no Gateway %s in namespace %s", p.Name, cmpOr(value(p.Namespace), o.Namespace))
			case r.ours(r.o.Gateways[g]) && !r.displaced[route]:
				r.problem(o, field, "NoMatchingParent", "no listener of the Gateway takes it: its section name, port, allowed namespaces or hostnames differ")
			}
		}
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
