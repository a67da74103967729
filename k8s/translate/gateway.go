package translate

import (
	"fmt"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
)

// gateway is a Gateway of a class of ours.
type gateway struct {
	*gatewayv1.Gateway
	object     config.Object
	parameters *config.ProxyParameters // nil: missing or wrong, and it is not served
	own        []*listener
	sets       []*listenerSet // that name it, the oldest first
	refs       *verdict       // what of its own references leads nowhere
	index      int            // in run.byName
}

// listeners returns its own, then those of the ListenerSets that attach to it.
func (g *gateway) listeners() []*listener {
	all := slices.Clone(g.own)
	for _, s := range g.sets {
		if s.rejected == nil {
			all = append(all, s.listeners...)
		}
	}
	return all
}

// accepted reports whether anything of the Gateway can be served.
func (g *gateway) accepted() bool {
	return g.parameters != nil && slices.ContainsFunc(g.own, func(l *listener) bool { return l.rejected == nil })
}

// listenerSet is a ListenerSet whose parent is a Gateway of ours.
type listenerSet struct {
	*gatewayv1.ListenerSet
	object    config.Object
	rejected  *verdict // why its listeners do not attach
	listeners []*listener
}

// gather finds our Gateways, their ListenerSets and which listeners of them can
// be served.
func (r *run) gather() {
	r.gateways = map[config.Object]*gateway{}
	r.sets = map[config.Object]*listenerSet{}
	children := map[config.Object][]*gatewayv1.ListenerSet{}
	for _, s := range slices.SortedStableFunc(slices.Values(r.o.ListenerSets), older) {
		p := &s.Spec.ParentRef
		if group := value(p.Group); p.Group != nil && group != gatewayv1.GroupName || p.Kind != nil && *p.Kind != "Gateway" {
			continue
		}
		parent := config.Object{Kind: "Gateway", Namespace: cmpOr(value(p.Namespace), s.Namespace), Name: string(p.Name)}
		children[parent] = append(children[parent], s)
	}
	shared := newClaims()
	for _, g := range slices.SortedStableFunc(slices.Values(r.o.Gateways), older) {
		if r.classes[string(g.Spec.GatewayClassName)] == nil {
			continue
		}
		made := &gateway{Gateway: g, object: object("Gateway", g)}
		made.parameters, _ = r.parameters(g)
		r.warnMetadata(made)
		for i := range g.Spec.Listeners {
			made.own = append(made.own, r.newListener(&g.Spec.Listeners[i], made, nil, i))
		}
		taken := shared
		if r.t.o.Infrastructure != nil || made.parameters == nil {
			taken = newClaims()
		}
		r.settle(made.own, taken)
		for _, s := range children[made.object] {
			made.sets = append(made.sets, r.newListenerSet(s, made, taken))
		}
		r.gateways[made.object] = made
		r.byName = append(r.byName, made)
	}
	slices.SortStableFunc(r.byName, func(a, b *gateway) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	for i, g := range r.byName {
		g.index = i
	}
}

// newListenerSet reads the listeners of a ListenerSet that its Gateway lets attach.
func (r *run) newListenerSet(s *gatewayv1.ListenerSet, g *gateway, taken *claims) *listenerSet {
	made := &listenerSet{ListenerSet: s, object: object("ListenerSet", s)}
	r.sets[made.object] = made
	var from gatewayv1.ListenerNamespaces
	if a := g.Spec.AllowedListeners; a != nil && a.Namespaces != nil {
		from = *a.Namespaces
	}
	switch {
	case !fromNamespaces(from.From, from.Selector, gatewayv1.NamespacesFromNone, g.Namespace).allows(r, s.Namespace):
		made.rejected = &verdict{string(gatewayv1.ListenerSetReasonNotAllowed), fmt.Sprintf("spec.allowedListeners of %s leaves out namespace %s", g.object, s.Namespace)}
	case !g.accepted():
		made.rejected = &verdict{string(gatewayv1.ListenerSetReasonParentNotAccepted), fmt.Sprintf("%s is not accepted", g.object)}
	}
	if v := made.rejected; v != nil {
		r.problem(made.object, "spec.parentRef", v.reason, "%s: no listener of it is served", v.message)
	}
	for i := range s.Spec.Listeners {
		e := gatewayv1.Listener(s.Spec.Listeners[i])
		made.listeners = append(made.listeners, r.newListener(&e, g, made, i))
	}
	if made.rejected == nil {
		r.settle(made.listeners, taken)
	}
	return made
}

// serve returns the config of a Gateway.
func (r *run) serve(g *gateway) *config.Gateway {
	var listeners []*config.Listener
	key := g.key()
	for _, l := range g.listeners() {
		if l.rejected != nil {
			continue
		}
		c := r.listener(l)
		listeners = append(listeners, c)
		key += listenerKey(c)
	}
	return r.t.memo.gateways.get(g.object.String(), key, func() *config.Gateway {
		return &config.Gateway{Object: g.object, Listeners: listeners, Parameters: r.current}
	})
}

// key is what a Gateway's config depends on, but for its listeners.
func (g *gateway) key() string { return fmt.Sprintf("%s %p", version(g), g.parameters) }

// listener returns the config of one listener.
func (r *run) listener(l *listener) *config.Listener {
	c := &config.Listener{Name: l.section, Port: uint16(l.Port), BindPort: l.bind, Protocol: string(l.Protocol), Hostname: strings.ToLower(value(l.Hostname))}
	if rawProtocol(l.Protocol) {
		c.RawRoutes = r.rawTable(l)
	} else {
		c.Routes = r.table(l)
	}
	c.Chain = r.join(r.listenerParts(l))
	l.served = len(l.kinds) > 0
	if l.Protocol == gatewayv1.HTTPSProtocolType || l.Protocol == gatewayv1.TLSProtocolType && !passthrough(l.Listener) {
		c.TLS = r.tls(l)
		l.served = l.served && len(c.TLS.Certificates) > 0
	}
	return c
}

// listenerKey tells the config of a listener from another.
func listenerKey(c *config.Listener) string {
	return fmt.Sprintf(" %s %d %s %s %p %p %p %p", c.Name, c.BindPort, c.Protocol, c.Hostname, c.RawRoutes, c.Routes, c.Chain, c.TLS)
}

func value[T ~string](p *T) string {
	if p == nil {
		return ""
	}
	return string(*p)
}

// table returns the routes that attach to a listener of HTTP.
func (r *run) table(l *listener) *config.RouteTable {
	for i := range l.routes {
		a := &l.routes[i]
		a.config = r.route(a.route.http, l.gateway.Gateway)
	}
	old := r.t.memo.tables.old[l.id()].value
	made := l.table()
	if old != nil {
		first, last := old.Common(made)
		n, was := len(made.Entries), len(old.Entries)
		copy(made.Entries, old.Entries[:first])
		copy(made.Entries[n-last:], old.Entries[was-last:])
		for i := range l.routes {
			l.routes[i].entry = made.Entries[i]
		}
		if n == was && first+last == n {
			made = old
		}
	}
	return r.t.memo.tables.put(l.id(), made)
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
