package translate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/translate"
)

// proxies is a Translator of a cluster where each Gateway has a Service.
func proxies() *translate.Translator {
	o := options()
	o.Infrastructure = &translate.Infrastructure{Namespace: "penstock-system", Selector: map[string]string{"app": "penstock"}}
	return translate.New(o)
}

func class() *gatewayv1.GatewayClass {
	return &gatewayv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "penstock"}, Spec: gatewayv1.GatewayClassSpec{ControllerName: "penstock.dev/gateway-controller"}}
}

// plainGateway has listeners of HTTP on these ports, and is as many seconds old as
// its name is long.
func plainGateway(name string, ports ...int32) *gatewayv1.Gateway {
	g := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{
		Namespace: "apps", Name: name, UID: types.UID("uid-" + name), Generation: 3, ResourceVersion: "1",
		CreationTimestamp: metav1.NewTime(time.Unix(1000-int64(len(name)), 0)),
	}}
	g.Spec.GatewayClassName = "penstock"
	for _, port := range ports {
		g.Spec.Listeners = append(g.Spec.Listeners, gatewayv1.Listener{Name: gatewayv1.SectionName(fmt.Sprintf("l%d", len(g.Spec.Listeners))), Port: port, Protocol: gatewayv1.HTTPProtocolType})
	}
	return g
}

func gatewayStatus(t *testing.T, r *translate.Result, name string) *gatewayv1.GatewayStatus {
	t.Helper()
	s, ok := r.Status.Of(config.Object{Kind: "Gateway", Namespace: "apps", Name: name}).(*gatewayv1.GatewayStatus)
	if !ok {
		t.Fatalf("Gateway %s has no status", name)
	}
	return s
}

// condition returns "Status Reason" of a condition.
func condition(list []metav1.Condition, kind string) string {
	for _, c := range list {
		if c.Type == kind {
			return string(c.Status) + " " + c.Reason
		}
	}
	return "none"
}

func portsOf(s *corev1.Service) string {
	var all []string
	for _, p := range s.Spec.Ports {
		all = append(all, fmt.Sprintf("%s:%d/%s>%d", p.Name, p.Port, p.Protocol, p.TargetPort.IntVal))
	}
	return strings.Join(all, " ")
}

func TestEachGatewayHasAServiceAndPortsOfItsOwn(t *testing.T) {
	first, second := plainGateway("older", 80, 8080), plainGateway("new", 80)
	tls := gatewayv1.TLSModeTerminate
	first.Spec.Listeners = append(first.Spec.Listeners,
		gatewayv1.Listener{Name: "https", Port: 443, Protocol: gatewayv1.HTTPSProtocolType, TLS: &gatewayv1.ListenerTLSConfig{Mode: &tls}},
		gatewayv1.Listener{Name: "dns", Port: 53, Protocol: gatewayv1.UDPProtocolType},
		gatewayv1.Listener{Name: "unknown", Port: 99, Protocol: "example.com/other"},
	)
	first.Spec.Infrastructure = &gatewayv1.GatewayInfrastructure{
		Labels:      map[gatewayv1.LabelKey]gatewayv1.LabelValue{"team": "a", "gateway.networking.k8s.io/gateway-name": "stolen", "penstock.dev/gateway-uid": "stolen"},
		Annotations: map[gatewayv1.AnnotationKey]gatewayv1.AnnotationValue{"lb.example/size": "small", "penstock.dev/plugins": "[]"},
	}
	tr := proxies()
	r := tr.Translate(&translate.Objects{GatewayClasses: []*gatewayv1.GatewayClass{class()}, Gateways: []*gatewayv1.Gateway{second, first}})
	if len(r.Services) != 2 || len(r.ServiceAccounts) != 2 {
		t.Fatalf("got %d Services, %d ServiceAccounts; want 2 of each", len(r.Services), len(r.ServiceAccounts))
	}
	i := slices.IndexFunc(r.Services, func(s *corev1.Service) bool { return strings.HasPrefix(s.Name, "gw-apps-older-") })
	s, other := r.Services[i], r.Services[1-i]
	want := "udp-53:53/UDP>20003 tcp-80:80/TCP>20000 tcp-443:443/TCP>20002 udp-443:443/UDP>20002 tcp-8080:8080/TCP>20001"
	if got := portsOf(s); got != want {
		t.Errorf("got ports %s; want %s", got, want)
	}
	if got := portsOf(other); got != "tcp-80:80/TCP>20004" {
		t.Errorf("the other one: got %s", got)
	}
	if d := cmp.Diff(map[string]string{
		"team": "a", "gateway.networking.k8s.io/gateway-name": "older", "gateway.networking.k8s.io/gateway-class-name": "penstock",
		"penstock.dev/gateway-namespace": "apps", "penstock.dev/gateway-uid": "uid-older",
	}, s.Labels); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]string{"lb.example/size": "small"}, s.Annotations); d != "" {
		t.Error(d)
	}
	if s.Namespace != "penstock-system" || s.Spec.Type != corev1.ServiceTypeLoadBalancer || s.Spec.Selector["app"] != "penstock" || *s.Spec.IPFamilyPolicy != corev1.IPFamilyPolicyPreferDualStack || s.Kind != "Service" {
		t.Errorf("got %+v", s)
	}
	a := r.ServiceAccounts[i]
	if a.Namespace != "apps" || len(a.OwnerReferences) != 1 || a.OwnerReferences[0].UID != "uid-older" || a.Labels["team"] != "a" || *a.AutomountServiceAccountToken {
		t.Errorf("got ServiceAccount %+v", a)
	}
	for _, g := range r.Config.Gateways {
		for _, l := range g.Listeners {
			if l.BindPort < 20000 || l.Socket() == l.Port {
				t.Errorf("%s %s binds %d", g.Object, l.Name, l.Socket())
			}
		}
	}
	if err := r.Config.Validate(); err != nil {
		t.Error(err)
	}
	told := 0
	for _, p := range r.Problems {
		if strings.HasPrefix(p.Field, "spec.infrastructure.") {
			told++
		}
	}
	if told != 3 {
		t.Errorf("%d problems of metadata; want 3", told)
	}
}

func TestServiceNames(t *testing.T) {
	long := strings.Repeat("n", 60) + ".example"
	seen := map[string]bool{}
	for _, at := range [][2]string{{"a-b", "c"}, {"a", "b-c"}, {"a", "b.c"}, {"1", "2"}, {strings.Repeat("s", 63), long}, {strings.Repeat("s", 63), long + "x"}} {
		g := plainGateway(at[1], 80)
		g.Namespace = at[0]
		r := proxies().Translate(&translate.Objects{GatewayClasses: []*gatewayv1.GatewayClass{class()}, Gateways: []*gatewayv1.Gateway{g}})
		name := r.Services[0].Name
		if len(name) > 63 || seen[name] || !strings.HasPrefix(name, "gw-") || strings.ContainsAny(name, "._") || strings.Contains(name, "--") {
			t.Errorf("%v: got the name %s", at, name)
		}
		if v := r.Services[0].Labels["gateway.networking.k8s.io/gateway-name"]; len(v) > 63 || v == "" {
			t.Errorf("%v: got the label %s", at, v)
		}
		seen[name] = true
	}
}

func TestContainerPortsStay(t *testing.T) {
	objects := func(services []*corev1.Service, gateways ...*gatewayv1.Gateway) *translate.Objects {
		return &translate.Objects{GatewayClasses: []*gatewayv1.GatewayClass{class()}, Gateways: gateways, Services: services}
	}
	tr := proxies()
	older, younger := plainGateway("older", 80), plainGateway("new", 80)
	r := tr.Translate(objects(nil, younger))
	if got := portsOf(r.Services[0]); got != "tcp-80:80/TCP>20000" {
		t.Fatalf("got %s", got)
	}
	// What this Translator gave stays with who has it, though somebody older comes.
	r = tr.Translate(objects(nil, older, younger))
	if a, b := portsOf(r.Services[0]), portsOf(r.Services[1]); a != "tcp-80:80/TCP>20000" || b != "tcp-80:80/TCP>20001" {
		t.Fatalf("got %s and %s", a, b)
	}
	// Another process finds the same in the Services.
	again := proxies().Translate(objects(r.Services, older, younger))
	for i := range r.Services {
		if d := cmp.Diff(r.Services[i], again.Services[i]); d != "" {
			t.Error(d)
		}
	}
	// A Service that somebody edited to lead to another Gateway's port, or out of the
	// range, does not.
	stolen := r.Services[1].DeepCopy()
	stolen.Spec.Ports[0].TargetPort.IntVal = 20000
	got := proxies().Translate(objects([]*corev1.Service{r.Services[0], stolen}, older, younger))
	if a, b := got.Services[0].Spec.Ports[0].TargetPort.IntVal, got.Services[1].Spec.Ports[0].TargetPort.IntVal; a == b {
		t.Errorf("two Gateways have port %d", a)
	}
	stolen.Spec.Ports[0].TargetPort.IntVal = 6443
	got = proxies().Translate(objects([]*corev1.Service{stolen}, older))
	if p := got.Services[0].Spec.Ports[0].TargetPort.IntVal; p != 20000 {
		t.Errorf("got port %d", p)
	}
	// One that is of another Gateway of that name is nothing to go by.
	foreign := r.Services[1].DeepCopy()
	foreign.Labels["penstock.dev/gateway-uid"] = "gone"
	foreign.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
	got = proxies().Translate(objects([]*corev1.Service{foreign}, older))
	if s := gatewayStatus(t, got, "older"); len(s.Addresses) > 0 {
		t.Errorf("got addresses %v", s.Addresses)
	}
	// A port that is given back rests: proxies may still have connections on it.
	tr = proxies()
	tr.Translate(objects(nil, older))
	r = tr.Translate(objects(nil, younger))
	if got := portsOf(r.Services[0]); got != "tcp-80:80/TCP>20001" {
		t.Errorf("got %s", got)
	}
}

func TestMoreListenersThanContainerPorts(t *testing.T) {
	o := &translate.Objects{GatewayClasses: []*gatewayv1.GatewayClass{class()}}
	for i := range 200 {
		g := plainGateway(fmt.Sprintf("g%03d", i))
		for port := range int32(64) {
			g.Spec.Listeners = append(g.Spec.Listeners, gatewayv1.Listener{Name: gatewayv1.SectionName(fmt.Sprint("l", port)), Port: 1 + port, Protocol: gatewayv1.HTTPProtocolType})
		}
		o.Gateways = append(o.Gateways, g)
	}
	r := proxies().Translate(o)
	served, refused := 0, 0
	for _, g := range o.Gateways {
		for _, l := range gatewayStatus(t, r, g.Name).Listeners {
			switch condition(l.Conditions, "Accepted") {
			case "True Accepted":
				served++
			case "False PortUnavailable":
				refused++
			}
		}
	}
	if served != 12768 || refused != 200*64-12768 {
		t.Errorf("%d served, %d refused; want all ports from 20000 to 32767 in use", served, refused)
	}
	if err := r.Config.Validate(); err != nil {
		t.Error(err)
	}
}

func TestAddresses(t *testing.T) {
	ip := func(v string) gatewayv1.GatewaySpecAddress { return gatewayv1.GatewaySpecAddress{Value: v} }
	typed := func(kind gatewayv1.AddressType, v string) gatewayv1.GatewaySpecAddress {
		return gatewayv1.GatewaySpecAddress{Type: &kind, Value: v}
	}
	ingress := func(list ...corev1.LoadBalancerIngress) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Status.LoadBalancer.Ingress = list }
	}
	tests := map[string]struct {
		wanted         []gatewayv1.GatewaySpecAddress
		service        func(*corev1.Service)
		accepted       string
		programmed     string
		addresses      string
		loadBalancerIP string
	}{
		"none yet":                             {nil, nil, "True Accepted", "False AddressNotAssigned", "", ""},
		"an address":                           {nil, ingress(corev1.LoadBalancerIngress{IP: "192.0.2.1"}), "True Accepted", "True Programmed", "IPAddress 192.0.2.1", ""},
		"two families and a name":              {nil, ingress(corev1.LoadBalancerIngress{IP: "192.0.2.1"}, corev1.LoadBalancerIngress{IP: "2001:db8::1"}, corev1.LoadBalancerIngress{Hostname: "lb.example"}), "True Accepted", "True Programmed", "IPAddress 192.0.2.1, IPAddress 2001:db8::1, Hostname lb.example", ""},
		"external addresses":                   {nil, func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.9"} }, "True Accepted", "True Programmed", "IPAddress 192.0.2.9", ""},
		"a cluster's own":                      {nil, func(s *corev1.Service) { s.Spec.Type, s.Spec.ClusterIP = corev1.ServiceTypeClusterIP, "10.0.0.1" }, "True Accepted", "True Programmed", "IPAddress 10.0.0.1", ""},
		"a wanted one that came":               {[]gatewayv1.GatewaySpecAddress{ip("192.0.2.7")}, ingress(corev1.LoadBalancerIngress{IP: "192.0.2.7"}), "True Accepted", "True Programmed", "IPAddress 192.0.2.7", "192.0.2.7"},
		"a wanted one in another writing":      {[]gatewayv1.GatewaySpecAddress{ip("2001:DB8::0:7")}, ingress(corev1.LoadBalancerIngress{IP: "2001:db8::7"}), "True Accepted", "True Programmed", "IPAddress 2001:db8::7", "2001:db8::7"},
		"a wanted one that did not come":       {[]gatewayv1.GatewaySpecAddress{ip("192.0.2.7")}, ingress(corev1.LoadBalancerIngress{IP: "192.0.2.1"}), "True Accepted", "False AddressNotUsable", "IPAddress 192.0.2.1", "192.0.2.7"},
		"a wanted one, and none yet":           {[]gatewayv1.GatewaySpecAddress{ip("192.0.2.7")}, nil, "True Accepted", "False AddressNotUsable", "", "192.0.2.7"},
		"any of a type":                        {[]gatewayv1.GatewaySpecAddress{typed(gatewayv1.IPAddressType, "")}, ingress(corev1.LoadBalancerIngress{IP: "192.0.2.1"}), "True Accepted", "True Programmed", "IPAddress 192.0.2.1", ""},
		"any of a type, and none yet":          {[]gatewayv1.GatewaySpecAddress{typed(gatewayv1.IPAddressType, "")}, nil, "True Accepted", "False AddressNotAssigned", "", ""},
		"a name that came":                     {[]gatewayv1.GatewaySpecAddress{typed(gatewayv1.HostnameAddressType, "LB.example")}, ingress(corev1.LoadBalancerIngress{Hostname: "lb.example"}), "True Accepted", "True Programmed", "Hostname lb.example", ""},
		"a type that is not known":             {[]gatewayv1.GatewaySpecAddress{typed("test/fake", "x"), ip("192.0.2.7")}, nil, "False UnsupportedAddress", "False Invalid", "", "192.0.2.7"},
		"one wanted that came and one did not": {[]gatewayv1.GatewaySpecAddress{ip("192.0.2.250"), ip("192.0.2.1")}, ingress(corev1.LoadBalancerIngress{IP: "192.0.2.1"}), "True Accepted", "False AddressNotUsable", "IPAddress 192.0.2.1", "192.0.2.250"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := plainGateway("g", 80)
			g.Spec.Addresses = test.wanted
			o := &translate.Objects{GatewayClasses: []*gatewayv1.GatewayClass{class()}, Gateways: []*gatewayv1.Gateway{g}}
			tr := proxies()
			r := tr.Translate(o)
			if test.service != nil {
				s := r.Services[0].DeepCopy()
				test.service(s)
				o.Services = []*corev1.Service{s}
				r = tr.Translate(o)
			}
			s := gatewayStatus(t, r, "g")
			var got []string
			for _, a := range s.Addresses {
				got = append(got, string(*a.Type)+" "+a.Value)
			}
			if a, p, list := condition(s.Conditions, "Accepted"), condition(s.Conditions, "Programmed"), strings.Join(got, ", "); a != test.accepted || p != test.programmed || list != test.addresses {
				t.Errorf("got %s, %s, %s; want %s, %s, %s", a, p, list, test.accepted, test.programmed, test.addresses)
			}
			if ip := r.Services[0].Spec.LoadBalancerIP; ip != test.loadBalancerIP {
				t.Errorf("got loadBalancerIP %q; want %q", ip, test.loadBalancerIP)
			}
			for _, c := range s.Conditions {
				if c.ObservedGeneration != 3 || !c.LastTransitionTime.IsZero() {
					t.Errorf("got %+v", c)
				}
			}
		})
	}
}

func TestNoInfrastructureWithoutIt(t *testing.T) {
	r := translate.New(options()).Translate(&translate.Objects{GatewayClasses: []*gatewayv1.GatewayClass{class()}, Gateways: []*gatewayv1.Gateway{plainGateway("g", 80)}})
	if len(r.Services)+len(r.ServiceAccounts) > 0 || r.Config.Gateways[0].Listeners[0].BindPort != 0 {
		t.Errorf("got %v, %v", r.Services, r.Config.Gateways[0].Listeners[0])
	}
	if got := condition(gatewayStatus(t, r, "g").Conditions, "Programmed"); got != "True Programmed" {
		t.Errorf("got %s", got)
	}
}
