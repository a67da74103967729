package translate

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
)

// forms are the HTTPRoutes and GRPCRoutes as they were read, over all runs: a change
// of one of many costs what it touches.
type forms struct {
	http  map[*gatewayv1.HTTPRoute]*httpRoute // as all, by what they were last
	grpc  map[*gatewayv1.GRPCRoute]*httpRoute
	all   map[config.Object]*httpRoute
	order []*httpRoute // by namespace, name and kind
}

// served is a route as one Gateway served it last.
type served struct {
	gateway config.Object
	run     uint64 // that made or saw it last
	key     string // of what it depends on
	config  *config.Route
	rules   []string // their keys

	// A plain one depends on nothing but its Services, what inputs compares, and the
	// parameters; it has no filters but those that its Services declare.
	plain bool
	// simple: it has no filters but its Services' own, and none of these has a
	// BackendTLSPolicy.
	simple     bool
	epoch      uint64
	parameters *config.ProxyParameters
	upstreams  []usedUpstream
	relied     []reliance
	problems   []Problem // of the route
}

// reliance is the filters that a Service declares for a port.
type reliance struct {
	id      string // of the place
	service *corev1.Service
	port    string
	part    *config.Part // nil: none
}

// usedUpstream is what upstream was asked for.
type usedUpstream struct {
	name, serviceName string
	service           *corev1.Service
	port              *corePort
	gRPC              bool
}

// restored is an upstream as it was last.
type restored struct {
	upstream  *config.Upstream
	endpoints *config.EndpointSet
	problems  []Problem

	// What it depends on, but for what its name says.
	service  *corev1.Service
	slices   []*discoveryv1.EndpointSlice
	port     string // its name
	podsOnly bool
	epoch    uint64
}

// remember keeps an upstream for restore.
func (t *Translator) remember(name string, k *restored) {
	t.restored[name] = k
	service := k.service.Namespace + "/" + k.service.Name
	if t.behind[service] == nil {
		t.behind[service] = map[string]bool{}
	}
	t.behind[service][name] = true
}

// unremember drops it.
func (t *Translator) unremember(name string) {
	k := t.restored[name]
	if k == nil {
		return
	}
	delete(t.restored, name)
	service := k.service.Namespace + "/" + k.service.Name
	if delete(t.behind[service], name); len(t.behind[service]) == 0 {
		delete(t.behind, service)
	}
}

// restore puts an upstream of a plain route into the config again.
func (r *run) restore(u *usedUpstream) {
	if r.config.Upstreams[u.name] != nil {
		return
	}
	k := r.t.restored[u.name]
	if k == nil || k.epoch != r.t.inputs.epoch || k.service != u.service || k.upstream.Parameters != r.current ||
		!slices.Equal(k.slices, r.slices[u.serviceName]) {
		r.upstream(u.service, u.port, u.gRPC)
		return
	}
	r.writable()
	r.config.Upstreams[u.name], r.endpointSets[u.name] = k.upstream, k.endpoints
	r.t.memo.upstreams.keep(u.name)
	r.t.memo.endpoints.keep(u.name)
	r.problems = append(r.problems, k.problems...)
}

// narrowed is intersect's answer for a listener's hostname.
type narrowed struct {
	listener  string
	hostnames []string
	ok        bool
}

// said is the status that was made last, and of what.
type said struct {
	status        *gatewayv1.RouteStatus
	version       string
	near          []reach
	why           []string
	fault, broken verdict
	partial       string
}

// renew returns what is known of an object that may be another one than last time, read
// again if its version is; added says that there was nothing.
func (s *forms) renew(kind string, x metav1.Object, read func() *httpRoute) (f *httpRoute, added bool) {
	key := object(kind, x)
	f = s.all[key]
	if f == nil {
		f, added = &httpRoute{}, true
		s.all[key] = f
	}
	switch old := f.Object.(type) {
	case *gatewayv1.HTTPRoute:
		delete(s.http, old)
	case *gatewayv1.GRPCRoute:
		delete(s.grpc, old)
	}
	if v := version(x); f.version != v {
		fresh := read()
		fresh.version, fresh.served, fresh.seen = v, f.served, f.seen
		for _, one := range fresh.served {
			one.plain = false
		}
		*f = *fresh
		f.candidate = newCandidate(kind, x, f.parents, f.hostnames)
		f.candidate.http = f
	}
	f.Object, f.candidate.Object = x, x
	return f, added
}

// inOrder compares routes by namespace, name and kind.
func inOrder(a, b config.Object) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(b.Kind, a.Kind))
}

// read returns all HTTPRoutes and GRPCRoutes in order; what did not change keeps
// what is known of it.
func (s *forms) read(run uint64, o *Objects) []*httpRoute {
	if s.all == nil {
		s.http, s.grpc, s.all = map[*gatewayv1.HTTPRoute]*httpRoute{}, map[*gatewayv1.GRPCRoute]*httpRoute{}, map[config.Object]*httpRoute{}
	}
	n, added := 0, false
	see := func(f *httpRoute, status []gatewayv1.RouteParentStatus) {
		f.candidate.status = status // which no version tells of
		if f.seen != run {
			f.seen = run
			n++
		}
	}
	renew := func(kind string, x metav1.Object, read func() *httpRoute) *httpRoute {
		f, fresh := s.renew(kind, x, read)
		added = added || fresh
		return f
	}
	for _, x := range o.HTTPRoutes {
		f := s.http[x]
		if f == nil {
			f = renew("HTTPRoute", x, func() *httpRoute { return readHTTPRoute(x) })
			s.http[x] = f
		}
		see(f, x.Status.Parents)
	}
	for _, x := range o.GRPCRoutes {
		f := s.grpc[x]
		if f == nil {
			f = renew("GRPCRoute", x, func() *httpRoute { return readGRPCRoute(x) })
			s.grpc[x] = f
		}
		see(f, x.Status.Parents)
	}
	if n < len(s.all) {
		for key, f := range s.all {
			if f.seen != run {
				delete(s.all, key)
			}
		}
		for x, f := range s.http {
			if f.seen != run {
				delete(s.http, x)
			}
		}
		for x, f := range s.grpc {
			if f.seen != run {
				delete(s.grpc, x)
			}
		}
		s.order = slices.DeleteFunc(slices.Clone(s.order), func(f *httpRoute) bool { return f.seen != run })
	}
	if added {
		s.order = s.order[:0:0]
		for _, f := range s.all {
			s.order = append(s.order, f)
		}
		slices.SortFunc(s.order, func(a, b *httpRoute) int { return inOrder(a.object, b.object) })
	}
	return s.order
}

// at returns what is known of a route at a Gateway.
func (f *httpRoute) at(gateway config.Object) *served {
	for _, s := range f.served {
		if s.gateway == gateway {
			return s
		}
	}
	s := &served{gateway: gateway}
	f.served = append(f.served, s)
	return s
}

// within is intersect for the route's hostnames, remembered.
func (f *httpRoute) within(listener string) ([]string, bool) {
	for i := range f.narrowed {
		if n := &f.narrowed[i]; n.listener == listener {
			return n.hostnames, n.ok
		}
	}
	hostnames, ok := intersect(listener, f.hostnames)
	if len(f.narrowed) >= 64 { // listeners come and go
		f.narrowed = nil
	}
	f.narrowed = append(f.narrowed, narrowed{listener, hostnames, ok})
	return hostnames, ok
}

// inputs are the objects that plain routes depend on, beside themselves, their Gateway
// and their Services.
type inputs struct {
	epoch uint64

	services   listed[*corev1.Service]
	namespaces listed[*corev1.Namespace]
	grants     listed[metav1.Object]
	policies   listed[metav1.Object]
	plugins    listed[metav1.Object]
	chains     listed[metav1.Object]
	backendTLS listed[metav1.Object]
	rollBacks  map[string]*RollBack
}

// compare begins a new epoch if any of them changed.
func (n *inputs) compare(o *Objects) {
	n.services.same(o.Services) // which routes compare themselves
	same := n.namespaces.same(o.Namespaces)
	same = n.grants.same(objects(o.ReferenceGrants)) && same
	same = n.policies.same(objects(o.Policies)) && same
	same = n.plugins.same(objects(o.Plugins)) && same
	same = n.chains.same(objects(o.Chains)) && same
	same = n.backendTLS.same(objects(o.BackendTLS)) && same
	same = maps.EqualFunc(n.rollBacks, o.RollBacks, func(a, b *RollBack) bool { return *a == *b }) && same
	n.rollBacks = o.RollBacks
	if !same || len(o.Unread) > 0 {
		n.epoch++
	}
}

func objects[T metav1.Object](list []T) []metav1.Object {
	all := make([]metav1.Object, len(list))
	for i, o := range list {
		all[i] = o
	}
	return all
}

// listed is a list of objects as it was last, whatever its order.
type listed[T interface {
	comparable
	metav1.Object
}] struct {
	seen   map[T]bool
	byName map[string]T // by namespace/name
}

// same reports whether the list has the same versions of the same objects as last time.
func (l *listed[T]) same(list []T) bool {
	same := len(list) == len(l.seen) && l.seen != nil
	if same {
		for _, o := range list {
			if !l.seen[o] {
				same = false
				break
			}
		}
		if same {
			return true
		}
	}
	seen, byName := make(map[T]bool, len(list)), make(map[string]T, len(list))
	same = len(list) == len(l.byName)
	for _, o := range list {
		name := o.GetNamespace() + "/" + o.GetName()
		seen[o], byName[name] = true, o
		if same {
			old, ok := l.byName[name]
			same = ok && (old == o || version(old) == version(o))
		}
	}
	l.seen, l.byName = seen, byName
	return same
}
