package translate_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

// world is objects that change at random.
type world struct {
	*rand.Rand
	translate.Objects
	n     int64 // versions
	plain bool  // few have filters
}

func (w *world) meta(namespace, name string, generation bool) metav1.ObjectMeta {
	w.n++
	m := metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "u", ResourceVersion: fmt.Sprint(w.n)}
	if generation {
		m.Generation = w.n
	}
	return m
}

func (w *world) one(of ...string) string { return of[w.IntN(len(of))] }

func (w *world) service(name string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: w.meta("apps", name, false)}
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: int32(80 + w.IntN(2)), Protocol: corev1.ProtocolTCP, AppProtocol: pointer(w.one("http", "kubernetes.io/h2c", "other"))}}
	s.UID = types.UID(w.one("u", "v")) // it may be made again
	if text := w.one("", "", "[transform]", "[nobody]", "[cache]", "[transform, cache]", "[cache, key-auth]"); text != "" && (!w.plain || w.IntN(10) == 0) {
		s.Annotations = map[string]string{api.AnnotationPlugins: text}
	}
	return s
}

func (w *world) endpoints(service string) *discoveryv1.EndpointSlice {
	e := &discoveryv1.EndpointSlice{ObjectMeta: w.meta("apps", service+"-1", true), AddressType: discoveryv1.AddressTypeIPv4}
	e.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	e.Ports = []discoveryv1.EndpointPort{{Name: pointer("http"), Port: pointer(int32(8080))}}
	e.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{w.one("10.0.0.1", "10.0.0.2", "10.0.0.3", "no address")}}}
	return e
}

func (w *world) route(name string) *gatewayv1.HTTPRoute {
	h := httpRoute(name)
	h.ObjectMeta = w.meta(w.one("apps", "other"), name, true)
	for range w.IntN(3) {
		h.Spec.ParentRefs = append(h.Spec.ParentRefs, gatewayv1.ParentReference{
			Name: gatewayv1.ObjectName(w.one("a", "b", "none")), Namespace: pointer(gatewayv1.Namespace("apps")), SectionName: pointer(gatewayv1.SectionName(w.one("l0", "l1", "l2"))),
		})
	}
	h.Spec.Hostnames = []gatewayv1.Hostname{gatewayv1.Hostname(w.one("a.example", "*.example", "b.test"))}
	ref := &h.Spec.Rules[0].BackendRefs[0]
	ref.Name, ref.Namespace = gatewayv1.ObjectName(w.one("s0", "s1", "s2", "gone")), pointer(gatewayv1.Namespace("apps"))
	if w.IntN(4) == 0 {
		h.Spec.Rules = append(h.Spec.Rules, gatewayv1.HTTPRouteRule{Filters: []gatewayv1.HTTPRouteFilter{{Type: "Unknown"}}})
	}
	if w.IntN(6) == 0 && !w.plain {
		h.Annotations = map[string]string{w.one(api.AnnotationPlugins, "penstock.dev/unknown"): w.one("[transform]", "[key-auth]", "[cache]")}
	}
	if w.IntN(8) == 0 {
		h.Status.Parents = []gatewayv1.RouteParentStatus{{ControllerName: "penstock.dev/gateway-controller"}}
	}
	return h
}

func (w *world) grpcRoute(name string) *gatewayv1.GRPCRoute {
	g := &gatewayv1.GRPCRoute{ObjectMeta: w.meta("apps", name, true)}
	g.Spec.ParentRefs = []gatewayv1.ParentReference{{Name: gatewayv1.ObjectName(w.one("a", "b")), SectionName: pointer(gatewayv1.SectionName(w.one("l0", "l1")))}}
	g.Spec.Hostnames = []gatewayv1.Hostname{gatewayv1.Hostname(w.one("a.example", "c.example", "d.test"))}
	rule := gatewayv1.GRPCRouteRule{BackendRefs: []gatewayv1.GRPCBackendRef{{}}}
	ref := &rule.BackendRefs[0]
	ref.Name, ref.Port = gatewayv1.ObjectName(w.one("s0", "s1", "gone")), pointer(gatewayv1.PortNumber(80))
	g.Spec.Rules = append(g.Spec.Rules, rule)
	return g
}

func (w *world) purge(name string) *api.CachePurge {
	p := &api.CachePurge{ObjectMeta: w.meta("apps", name, true)}
	p.Spec.Tags = []string{w.one("a", "b", "c", "no tag")}
	if w.IntN(4) == 0 {
		p.Status.Conditions = []metav1.Condition{{Type: "Completed", Status: "True", ObservedGeneration: p.Generation, LastTransitionTime: metav1.Unix(int64(w.IntN(2)*990-3000), 0)}}
	}
	return p
}

// consumer is one that may have the username or a key of another, or a Secret that is not
// there.
func (w *world) consumer(namespace, name string) *api.Consumer {
	c := &api.Consumer{ObjectMeta: w.meta(namespace, name, true)}
	c.CreationTimestamp = metav1.Unix(int64(w.IntN(3)), 0)
	c.Spec.Username = w.one("", "", "shop", "no name", "c1")
	for range w.IntN(3) {
		c.Spec.Credentials = append(c.Spec.Credentials, api.CredentialRef{Name: w.one("k0", "k1", "k2", "gone")})
	}
	if w.IntN(5) == 0 {
		c.Spec.Plugins = []api.ConsumerEntry{{Name: "x", Entry: api.Entry{Use: w.one("transform", "transform", "no-such", "key-auth")}}}
	}
	return c
}

// key is a Secret of a Consumer, most of the time.
func (w *world) key(namespace, name string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: w.meta(namespace, name, false)}
	s.Labels = map[string]string{api.LabelCredential: w.one("key-auth", "key-auth", "key-auth", "another")}
	s.Data = map[string][]byte{"key": []byte(w.one("first-key", "second-key", "third-key", "short"))}
	return s
}

// changeConsumers is change for Consumers and their Secrets.
func (w *world) changeConsumers() {
	namespace := w.one("apps", "apps", "other")
	if w.IntN(2) == 0 {
		c := w.consumer(namespace, w.one("c0", "c1", "c2", "c3"))
		w.Consumers = slices.DeleteFunc(slices.Clone(w.Consumers), func(o *api.Consumer) bool { return o.Namespace == c.Namespace && o.Name == c.Name })
		if w.IntN(4) > 0 {
			w.Consumers = append(w.Consumers, c)
		}
	} else {
		k := w.key(namespace, w.one("k0", "k1", "k2"))
		w.Credentials = slices.DeleteFunc(slices.Clone(w.Credentials), func(o *corev1.Secret) bool { return o.Namespace == k.Namespace && o.Name == k.Name })
		if w.IntN(4) > 0 {
			w.Credentials = append(w.Credentials, k)
		}
	}
	w.Shuffle(len(w.Consumers), func(i, j int) { w.Consumers[i], w.Consumers[j] = w.Consumers[j], w.Consumers[i] })
}

// change makes one object another, takes one away or adds one.
func (w *world) change() {
	name := w.one("s0", "s1", "s2")
	switch w.IntN(19) {
	case 16, 17, 18:
		w.changeConsumers()
	case 0:
		w.Services = append(slices.DeleteFunc(w.Services, func(s *corev1.Service) bool { return s.Name == name }), w.service(name))
	case 1:
		w.Services = slices.DeleteFunc(w.Services, func(s *corev1.Service) bool { return s.Name == name })
	case 2:
		w.EndpointSlices = append(slices.DeleteFunc(w.EndpointSlices, func(s *discoveryv1.EndpointSlice) bool { return s.Name == name+"-1" }), w.endpoints(name))
	case 3:
		w.ReferenceGrants = nil
		if w.IntN(2) == 0 {
			g := &gatewayv1beta1.ReferenceGrant{ObjectMeta: w.meta("apps", "g", true)}
			g.Spec.From = []gatewayv1beta1.ReferenceGrantFrom{{Group: gatewayv1.GroupName, Kind: "HTTPRoute", Namespace: "other"}}
			g.Spec.To = []gatewayv1beta1.ReferenceGrantTo{{Kind: "Service"}, {Group: api.Group, Kind: "Consumer"}}
			w.ReferenceGrants = append(w.ReferenceGrants, g)
		}
	case 4:
		w.Policies = nil
		if w.IntN(2) == 0 && !w.plain {
			p := &api.PluginPolicy{ObjectMeta: w.meta("", "p", true)}
			p.Spec.NamespaceSelector.MatchLabels = map[string]string{"kubernetes.io/metadata.name": w.one("apps", "other")}
			p.Spec.Overrides.Before = []api.Entry{{Use: w.one("transform", "nobody", "cache")}}
			p.Spec.Overrides.After = []api.Entry{{Use: w.one("transform", "key-auth")}}
			w.Policies = append(w.Policies, p)
		}
	case 5:
		w.BackendTLS = nil
		if w.IntN(2) == 0 && (!w.plain || w.IntN(4) == 0) {
			p := policyFor(gatewayv1.ObjectName(name))
			p.ObjectMeta = w.meta("apps", "tls", true)
			w.BackendTLS = append(w.BackendTLS, p)
		}
	case 6:
		g := plainGateway(w.one("a", "b"), 80, 81)
		g.ObjectMeta = w.meta("apps", g.Name, true)
		g.Spec.Listeners[0].Hostname = pointer(gatewayv1.Hostname(w.one("", "*.example", "a.example")))
		from := gatewayv1.FromNamespaces(w.one("All", "Same"))
		if w.IntN(3) == 0 && len(w.Parameters) > 0 {
			g.Spec.Infrastructure = &gatewayv1.GatewayInfrastructure{ParametersRef: &gatewayv1.LocalParametersReference{Group: api.Group, Kind: "ProxyParameters", Name: "p"}}
		}
		g.Spec.Listeners[0].AllowedRoutes = &gatewayv1.AllowedRoutes{Namespaces: &gatewayv1.RouteNamespaces{From: &from}}
		w.Gateways = append(slices.DeleteFunc(w.Gateways, func(o *gatewayv1.Gateway) bool { return o.Name == g.Name }), g)
	case 7:
		n := &corev1.Namespace{ObjectMeta: w.meta("", "apps", false)}
		n.Labels = map[string]string{"kubernetes.io/metadata.name": w.one("apps", "renamed")}
		w.Namespaces = []*corev1.Namespace{n}
	case 8: // a status alone
		for i, h := range w.HTTPRoutes {
			if w.IntN(4) == 0 {
				w.HTTPRoutes[i] = h.DeepCopy()
				w.HTTPRoutes[i].Status.Parents = nil
			}
		}
	case 9:
		g := w.grpcRoute(fmt.Sprint("r", w.IntN(3)))
		w.GRPCRoutes = slices.DeleteFunc(slices.Clone(w.GRPCRoutes), func(o *gatewayv1.GRPCRoute) bool { return o.Name == g.Name })
		if w.IntN(3) > 0 {
			w.GRPCRoutes = append(w.GRPCRoutes, g)
		}
	case 11, 12:
		p := w.purge(fmt.Sprint("p", w.IntN(4)))
		w.CachePurges = slices.DeleteFunc(slices.Clone(w.CachePurges), func(o *api.CachePurge) bool { return o.Name == p.Name })
		if w.IntN(3) > 0 {
			w.CachePurges = append(w.CachePurges, p)
		}
	case 10: // never missing or wrong: what was good before would serve
		p := &api.ProxyParameters{ObjectMeta: w.meta("apps", "p", true)}
		p.Spec.ProxyProtocol = &api.ParameterProxyProtocol{Sources: []string{w.one("10.0.0.0/8", "10.0.0.0/9")}}
		w.Parameters = []*api.ProxyParameters{p}
	default:
		h := w.route(fmt.Sprint("r", w.IntN(6)))
		w.HTTPRoutes = slices.DeleteFunc(w.HTTPRoutes, func(o *gatewayv1.HTTPRoute) bool { return o.Name == h.Name })
		if w.IntN(4) > 0 {
			w.HTTPRoutes = append(w.HTTPRoutes, h)
		}
	}
	// A source has no order.
	w.Shuffle(len(w.HTTPRoutes), func(i, j int) { w.HTTPRoutes[i], w.HTTPRoutes[j] = w.HTTPRoutes[j], w.HTTPRoutes[i] })
	w.Shuffle(len(w.Services), func(i, j int) { w.Services[i], w.Services[j] = w.Services[j], w.Services[i] })
}

// TestWhatIsRememberedChangesNothing: a Translator that has seen all changes says what
// one says that sees the last state alone.
func TestWhatIsRememberedChangesNothing(t *testing.T) {
	for seed := range uint64(8) {
		w := &world{Rand: rand.New(rand.NewPCG(seed, 0))}
		w.GatewayClasses = []*gatewayv1.GatewayClass{class()}
		old := translate.New(options())
		for step := range 100 {
			w.change()
			o := w.Objects
			got, want := old.Translate(&o), translate.New(options()).Translate(&o)
			if d := cmp.Diff(dump(want.Config, want.Problems)+statusText(t, want.Status), dump(got.Config, got.Problems)+statusText(t, got.Status)); d != "" {
				t.Fatalf("seed %d, step %d: %s", seed, step, d)
			}
			if again := old.Translate(&o); again.Config != got.Config || again.Status.Len() != got.Status.Len() {
				t.Fatalf("seed %d, step %d: nothing changed, and the config is another", seed, step)
			}
		}
	}
}
