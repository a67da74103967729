package translate_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/translate"
)

// clusterService is a Service as an API server has it.
func clusterService(namespace, name string, selector map[string]string, clusterIP string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "u", ResourceVersion: "1"},
		Spec:       corev1.ServiceSpec{Selector: selector, ClusterIPs: []string{clusterIP}, Ports: []corev1.ServicePort{{Port: 80, Protocol: "TCP"}}},
	}
}

// newSlices returns a function that makes EndpointSlices of Pods, each version once.
func newSlices() func(namespace, service string, addresses ...string) *discoveryv1.EndpointSlice {
	version := 0
	return func(namespace, service string, addresses ...string) *discoveryv1.EndpointSlice {
		version++
		port, name := int32(80), ""
		s := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: service + "-1", UID: "u", ResourceVersion: fmt.Sprint(version), Labels: map[string]string{discoveryv1.LabelServiceName: service}},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		}
		for i, a := range addresses {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: fmt.Sprint("p", i)}})
		}
		return s
	}
}

// TestNoServiceLeadsToUs: whatever an EndpointSlice names, the API server and our own
// Pods are not reached through a Service, also when they come later.
func TestNoServiceLeadsToUs(t *testing.T) {
	o := options()
	o.CheckEndpoints, o.InstallNamespace = true, "penstock-system"
	slice, service := newSlices(), clusterService
	gateway := plainGateway("g")
	gateway.Spec.Listeners = []gatewayv1.Listener{{Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType}}
	port := gatewayv1.PortNumber(80)
	route := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: "r", UID: "r", Generation: 1}}
	route.Spec.ParentRefs = []gatewayv1.ParentReference{{Name: "g"}}
	route.Spec.Rules = []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{BackendObjectReference: gatewayv1.BackendObjectReference{Name: "web", Port: &port}}}}}}
	world := translate.Objects{
		GatewayClasses: []*gatewayv1.GatewayClass{class()}, Gateways: []*gatewayv1.Gateway{gateway}, HTTPRoutes: []*gatewayv1.HTTPRoute{route},
		Services: []*corev1.Service{
			service(gateway.Namespace, "web", nil, "10.96.0.9"), service("default", "kubernetes", nil, "10.96.0.1"),
			service("penstock-system", "penstock-control", map[string]string{"app.kubernetes.io/name": "penstock"}, "None"),
			service("penstock-system", "other", map[string]string{"app.kubernetes.io/name": "redis"}, "None"),
		},
		EndpointSlices: []*discoveryv1.EndpointSlice{
			slice(gateway.Namespace, "web", "10.1.0.1", "172.20.0.1", "10.96.0.1", "10.1.9.9", "10.1.8.8"),
			slice("default", "kubernetes", "172.20.0.1"), slice("penstock-system", "penstock-control", "10.1.9.9"), slice("penstock-system", "other", "10.1.8.8"),
		},
	}
	tr := translate.New(o)
	check := func(r *translate.Result, want string, told bool) {
		t.Helper()
		var got []string
		for name, set := range r.Config.Endpoints.All() {
			if strings.Contains(name, "/web:") {
				for _, e := range set.Endpoints {
					got = append(got, e.Address.Addr().String())
				}
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("got %v; want %s", got, want)
		}
		found := false
		for _, p := range r.Problems {
			found = found || p.Object.Kind == "EndpointSlice" && p.Reason == "RefusedByPolicy" && strings.Contains(p.Message, "Penstock's own Pods")
		}
		if found != told {
			t.Errorf("told: %v; want %v (%v)", found, told, r.Problems)
		}
	}
	first := tr.Translate(&world)
	check(first, "10.1.0.1 10.1.8.8", true)

	// A Pod of ours that comes later, by the short way too.
	world.EndpointSlices[0] = slice(gateway.Namespace, "web", "10.1.0.1", "10.1.7.7")
	world.EndpointSlices[2] = slice("penstock-system", "penstock-control", "10.1.9.9", "10.1.7.7")
	if tr.Change(first, &translate.Changes{EndpointSlices: map[string][]*discoveryv1.EndpointSlice{"penstock-system/penstock-control": {world.EndpointSlices[2]}}}) != nil {
		t.Error("our own Pods change, and nothing is looked at again")
	}
	check(tr.Translate(&world), "10.1.0.1", true)
	world.EndpointSlices[0] = slice(gateway.Namespace, "web", "10.1.0.1")
	last := tr.Translate(&world)
	check(last, "10.1.0.1", false)
	world.EndpointSlices[0] = slice(gateway.Namespace, "web", "10.1.0.1", "10.1.7.7")
	if r := tr.Change(last, &translate.Changes{EndpointSlices: map[string][]*discoveryv1.EndpointSlice{gateway.Namespace + "/web": {world.EndpointSlices[0]}}}); r != nil {
		check(r, "10.1.0.1", true)
	}
	check(tr.Translate(&world), "10.1.0.1", true)
}

// TestForbiddenAddressesOfAConfig: the config names the API server and our own Pods, by
// their addresses and those of the Services before them; when Pods of ours come and go,
// nothing else in it is another value. A load balancer's address is for everybody.
func TestForbiddenAddressesOfAConfig(t *testing.T) {
	o := options()
	o.CheckEndpoints, o.InstallNamespace = true, "penstock-system"
	o.Infrastructure = &translate.Infrastructure{Namespace: "penstock-system", Selector: map[string]string{"app.kubernetes.io/name": "penstock", "app.kubernetes.io/component": "proxy"}}
	slice := newSlices()
	gateway := plainGateway("g")
	gateway.Spec.Listeners = []gatewayv1.Listener{{Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType}}
	ours := clusterService("penstock-system", "gw-default-g-1", map[string]string{"app.kubernetes.io/name": "penstock"}, "10.96.0.50")
	ours.Labels = map[string]string{"penstock.dev/gateway-uid": "g"}
	ours.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.80"}}
	both := clusterService("default", "kubernetes", nil, "10.96.0.1")
	both.Spec.ClusterIPs = append(both.Spec.ClusterIPs, "fd00::1")
	world := translate.Objects{
		GatewayClasses: []*gatewayv1.GatewayClass{class()}, Gateways: []*gatewayv1.Gateway{gateway},
		Services: []*corev1.Service{
			both, ours, clusterService("penstock-system", "penstock-control", map[string]string{"app.kubernetes.io/name": "penstock"}, "None"),
			clusterService("penstock-system", "redis", map[string]string{"app.kubernetes.io/name": "redis"}, "10.96.0.60"),
			clusterService(gateway.Namespace, "penstock", map[string]string{"app.kubernetes.io/name": "penstock"}, "10.96.0.70"),
		},
		EndpointSlices: []*discoveryv1.EndpointSlice{
			slice("default", "kubernetes", "172.20.0.1"), slice("penstock-system", "penstock-control", "10.1.9.9"),
			slice("penstock-system", "redis", "10.1.8.8"), slice(gateway.Namespace, "penstock", "10.1.6.6"),
		},
	}
	tr := translate.New(o)
	first := tr.Translate(&world).Config
	want := func(c *config.Config, addresses string) {
		t.Helper()
		if c.Forbidden == nil || fmt.Sprint(c.Forbidden.Addresses) != addresses {
			t.Errorf("got %v; want %s", c.Forbidden, addresses)
		}
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
	}
	want(first, "[10.1.9.9 10.96.0.1 10.96.0.50 172.20.0.1 fd00::1]")
	if again := tr.Translate(&world).Config; again != first {
		t.Error("nothing changed, and the config is another")
	}
	world.EndpointSlices = append(world.EndpointSlices, slice("penstock-system", "gw-default-g-1", "10.1.7.7"))
	second := tr.Translate(&world).Config
	want(second, "[10.1.7.7 10.1.9.9 10.96.0.1 10.96.0.50 172.20.0.1 fd00::1]")
	if len(second.Gateways) != 1 || second.Gateways[0] != first.Gateways[0] || !config.SameMap(second.Upstreams, first.Upstreams) || !second.Endpoints.Equal(first.Endpoints) {
		t.Error("a Pod of ours came, and more than that is another value")
	}
	o.CheckEndpoints = false
	if c := translate.New(o).Translate(&world).Config; c.Forbidden != nil {
		t.Errorf("got %v; want nothing forbidden to files", c.Forbidden)
	}
}
