package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
)

// candidate is a route of any kind, as far as attaching it goes.
type candidate struct {
	metav1.Object
	kind      string
	object    config.Object
	hostnames []gatewayv1.Hostname
	refs      []*parentRef
	status    []gatewayv1.RouteParentStatus // what the object says now
	http      *httpRoute                    // of a HTTPRoute or GRPCRoute
	raw       *rawRoute                     // of a TCPRoute, TLSRoute or UDPRoute

	// What is wrong with it at every parent; nil or empty: nothing. fault: as a
	// whole; broken: a reference; partial: a part.
	fault, broken *verdict
	partial       string
}

// parentRef is one of a route's parents, and how near the route comes to it.
type parentRef struct {
	*gatewayv1.ParentReference
	route  *candidate
	index  int           // in spec.parentRefs
	parent config.Object // Gateway or ListenerSet; another kind's: not looked at
	ours   bool          // the parent is, or hangs on, a Gateway of ours
	reach  reach
	why    string // what kept it from coming nearer
}

// field names the reference in its route.
func (p *parentRef) field() string { return fmt.Sprintf("spec.parentRefs[%d]", p.index) }

// reach is how far a route comes with the listeners of a parent. The words are the
// reasons of Gateway API.
type reach uint8

const (
	noMatchingParent reach = iota
	notAllowedByListeners
	noMatchingListenerHostname
	hostnameTaken // by a route of another kind
	attached
)

// reason is that of the condition Accepted.
func (x reach) reason() string {
	switch x {
	case noMatchingParent:
		return string(gatewayv1.RouteReasonNoMatchingParent)
	case notAllowedByListeners:
		return string(gatewayv1.RouteReasonNotAllowedByListeners)
	case noMatchingListenerHostname:
		return string(gatewayv1.RouteReasonNoMatchingListenerHostname)
	case hostnameTaken:
		return "HostnameConflict"
	}
	return string(gatewayv1.RouteReasonAccepted)
}

// candidates gathers the routes of all kinds: those for HTTP by namespace and
// name, then raw ones, the oldest first (Gateway API).
func (r *run) candidates() {
	for _, f := range r.t.forms.read(r.t.run, r.o) {
		f.candidate.reset()
		r.routesOfAll = append(r.routesOfAll, f.candidate)
	}
	first := len(r.routesOfAll)
	for _, x := range r.o.TCPRoutes {
		c := r.candidate("TCPRoute", x, x.Spec.ParentRefs, nil, x.Status.Parents)
		c.raw = &rawRoute{candidate: c, rules: len(x.Spec.Rules)}
		if len(x.Spec.Rules) > 0 {
			c.raw.name, c.raw.backends = x.Spec.Rules[0].Name, x.Spec.Rules[0].BackendRefs
		}
	}
	for _, x := range r.o.TLSRoutes {
		c := r.candidate("TLSRoute", x, x.Spec.ParentRefs, x.Spec.Hostnames, x.Status.Parents)
		c.raw = &rawRoute{candidate: c, rules: len(x.Spec.Rules)}
		if len(x.Spec.Rules) > 0 {
			c.raw.name, c.raw.backends = x.Spec.Rules[0].Name, x.Spec.Rules[0].BackendRefs
		}
	}
	for _, x := range r.o.UDPRoutes {
		c := r.candidate("UDPRoute", x, x.Spec.ParentRefs, nil, x.Status.Parents)
		c.raw = &rawRoute{candidate: c, rules: len(x.Spec.Rules)}
		if len(x.Spec.Rules) > 0 {
			c.raw.name, c.raw.backends = x.Spec.Rules[0].Name, x.Spec.Rules[0].BackendRefs
		}
	}
	slices.SortStableFunc(r.routesOfAll[first:], older)
	var last *children
	for _, c := range r.routesOfAll {
		for _, p := range c.refs {
			if last == nil || last.parent != p.parent { // routes of one parent come together
				if last = r.children[p.parent]; last == nil {
					last = &children{parent: p.parent}
					r.children[p.parent] = last
				}
			}
			last.refs = append(last.refs, p)
		}
	}
}

// children are the references to one parent.
type children struct {
	parent config.Object
	refs   []*parentRef
}

func (r *run) childrenOf(parent config.Object) []*parentRef {
	if c := r.children[parent]; c != nil {
		return c.refs
	}
	return nil
}

// reset forgets what a run found.
func (c *candidate) reset() {
	c.fault, c.broken, c.partial = nil, nil, ""
	for _, p := range c.refs {
		p.ours, p.reach, p.why = false, noMatchingParent, ""
	}
}

// older orders objects by age, then by namespace and name (Gateway API).
func older[T metav1.Object](a, b T) int {
	at, bt := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	return cmp.Or(at.Compare(bt.Time), cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
}

func (r *run) candidate(kind string, meta metav1.Object, parents []gatewayv1.ParentReference, hostnames []gatewayv1.Hostname, status []gatewayv1.RouteParentStatus) *candidate {
	c := newCandidate(kind, meta, parents, hostnames)
	c.status = status
	r.routesOfAll = append(r.routesOfAll, c)
	return c
}

func newCandidate(kind string, meta metav1.Object, parents []gatewayv1.ParentReference, hostnames []gatewayv1.Hostname) *candidate {
	c := &candidate{Object: meta, kind: kind, object: object(kind, meta), hostnames: hostnames}
	refs := make([]parentRef, len(parents))
	for i := range parents {
		p := &parents[i]
		refs[i] = parentRef{ParentReference: p, route: c, index: i}
		if group := value(p.Group); p.Group == nil || group == gatewayv1.GroupName {
			refs[i].parent = config.Object{Kind: cmpOr(value(p.Kind), "Gateway"), Namespace: cmpOr(value(p.Namespace), c.object.Namespace), Name: string(p.Name)}
		}
		c.refs = append(c.refs, &refs[i])
	}
	return c
}

// attachAll finds the routes of all listeners.
func (r *run) attachAll() {
	for _, g := range r.o.Gateways {
		r.parents[object("Gateway", g)] = true
	}
	for _, s := range r.o.ListenerSets {
		r.parents[object("ListenerSet", s)] = true
	}
	for _, g := range r.byName {
		r.own(g.object, "")
		for _, l := range g.own {
			r.attach(l)
		}
		for _, s := range g.sets {
			if s.rejected != nil {
				r.own(s.object, s.rejected.message)
				continue
			}
			r.own(s.object, "")
			for _, l := range s.listeners {
				r.attach(l)
			}
		}
	}
}

// own notes that a parent is ours; why says what keeps all routes from it.
func (r *run) own(parent config.Object, why string) {
	for _, p := range r.childrenOf(parent) {
		p.ours, p.why = true, why
	}
}

// exists reports whether a parent is there, or is of a kind that is not looked at.
func (r *run) exists(parent config.Object) bool {
	return parent.Kind != "Gateway" && parent.Kind != "ListenerSet" || r.parents[parent]
}

// attachedRoute is a route at a listener.
type attachedRoute struct {
	route     *candidate
	refs      []*parentRef
	hostnames []string           // that it shares with the listener; nil: any
	config    *config.Route      // of a HTTPRoute or GRPCRoute, once it is served
	entry     *config.RouteEntry // the same with its hostnames; nil, or of another route: not made yet
}

// come notes how near a reference comes to one listener.
func (p *parentRef) come(near reach, why string) {
	if near > p.reach || p.why == "" {
		p.reach, p.why = max(near, p.reach), why
	}
}

// attach finds the routes of a listener. Whether the listener is served does not
// matter (Gateway API, ListenerStatus.attachedRoutes).
func (r *run) attach(l *listener) {
	for _, p := range r.childrenOf(l.object) {
		if p.SectionName != nil && *p.SectionName != l.Name || p.Port != nil && *p.Port != l.Port {
			continue
		}
		near, hostnames, why := r.reaches(l, p.route)
		switch last := len(l.routes) - 1; {
		case near < attached:
			p.come(near, why)
		case last >= 0 && l.routes[last].route == p.route:
			l.routes[last].refs = append(l.routes[last].refs, p)
		default:
			l.routes = append(l.routes, attachedRoute{route: p.route, refs: []*parentRef{p}, hostnames: hostnames})
		}
	}
	r.oneKind(l)
	for _, a := range l.routes {
		for _, p := range a.refs {
			p.come(attached, "")
		}
	}
}

// reaches reports how far a route that names a listener comes.
func (r *run) reaches(l *listener, c *candidate) (near reach, hostnames []string, why string) {
	switch {
	case !slices.Contains(protocolKinds(l.Listener), c.kind):
		return notAllowedByListeners, nil, fmt.Sprintf("listener %q has protocol %s, which is for other routes", l.Name, l.Protocol)
	case !slices.Contains(l.kinds, c.kind):
		return notAllowedByListeners, nil, fmt.Sprintf("the allowedRoutes of listener %q leave out the kind %s", l.Name, c.kind)
	case !l.from.allows(r, c.object.Namespace):
		return notAllowedByListeners, nil, fmt.Sprintf("the allowedRoutes of listener %q leave out namespace %s", l.Name, c.object.Namespace)
	}
	ok := false
	if c.http != nil {
		hostnames, ok = c.http.within(value(l.Hostname))
	} else {
		hostnames, ok = intersect(value(l.Hostname), c.hostnames)
	}
	if !ok {
		return noMatchingListenerHostname, nil, fmt.Sprintf("none of its hostnames is within %q, that of listener %q", value(l.Hostname), l.Name)
	}
	return attached, hostnames, ""
}

// unattached tells of parents that do not take their route.
func (r *run) unattached() {
	for _, c := range r.routesOfAll {
		r.orphan(c)
	}
}

// orphan tells of the parents that do not take a route, and of what keeps them.
func (r *run) orphan(c *candidate) {
	for i, h := range c.hostnames {
		if !wildcard(string(h)) {
			r.problem(c.object, fmt.Sprintf("spec.hostnames[%d]", i), unsupported, "%q is no hostname: it is left out", h)
		}
	}
	r.inspect(c)
	for _, p := range c.refs {
		switch {
		case p.ours && p.reach < hostnameTaken:
			r.problem(c.object, p.field(), p.reach.reason(), "%s", p.reason())
		case !p.ours && !r.exists(p.parent):
			r.problem(c.object, p.field(), "NoMatchingParent", "there is no %s %s in namespace %s", p.parent.Kind, p.parent.Name, p.parent.Namespace)
		}
	}
}

// inspect tells what is wrong with a route of ours that no listener takes: those that
// one takes are looked at where they are served.
func (r *run) inspect(c *candidate) {
	ours := false
	for _, p := range c.refs {
		if p.reach == attached {
			return
		}
		ours = ours || p.ours
	}
	switch {
	case !ours:
	case c.http != nil:
		r.problems = append(r.problems, c.http.problems...)
		for i := range c.http.rules {
			for j := range c.http.rules[i].backends {
				r.serviceOf(c.http, &c.http.rules[i].backends[j].BackendObjectReference, fmt.Sprintf("spec.rules[%d].backendRefs[%d]", i, j))
			}
		}
	default:
		for i := range c.raw.backends {
			ref := &c.raw.backends[i]
			r.rawService(c.raw, ref, cmpOr(value(ref.Namespace), c.object.Namespace)+"/"+string(ref.Name), fmt.Sprintf("spec.rules[0].backendRefs[%d]", i))
		}
	}
}

// reason says what keeps a route from a parent of ours.
func (p *parentRef) reason() string {
	if p.why != "" {
		return fmt.Sprintf("no listener of the %s takes it: %s", p.parent.Kind, p.why)
	}
	var asked []string
	if p.SectionName != nil {
		asked = append(asked, fmt.Sprintf("called %q", *p.SectionName))
	}
	if p.Port != nil {
		asked = append(asked, fmt.Sprintf("on port %d", *p.Port))
	}
	return strings.TrimSpace(fmt.Sprintf("the %s has no listener %s", p.parent.Kind, strings.Join(asked, " ")))
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
