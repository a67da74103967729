package translate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

func pointer[T any](v T) *T { return &v }

func httpRoute(name string, parents ...gatewayv1.ParentReference) *gatewayv1.HTTPRoute {
	h := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: name, UID: "u", ResourceVersion: "1", Generation: 7}}
	h.Spec.ParentRefs = parents
	h.Spec.Rules = []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{BackendObjectReference: gatewayv1.BackendObjectReference{
		Name: "shop", Port: pointer(gatewayv1.PortNumber(80)),
	}}}}}}
	return h
}

func shop() *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "shop", UID: "shop", ResourceVersion: "1"}}
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}
	return s
}

func routeStatus(r *translate.Result, name string) *gatewayv1.RouteStatus {
	s, _ := r.Status.Of(config.Object{Kind: "HTTPRoute", Namespace: "apps", Name: name}).(*gatewayv1.RouteStatus)
	return s
}

func TestSupportedFeatures(t *testing.T) {
	r := translate.New(options()).Translate(&translate.Objects{GatewayClasses: []*gatewayv1.GatewayClass{class()}})
	s := r.Status.Of(config.Object{Kind: "GatewayClass", Name: "penstock"}).(*gatewayv1.GatewayClassStatus)
	var got []string
	for _, f := range s.SupportedFeatures {
		got = append(got, string(f.Name))
	}
	if !slices.IsSorted(got) {
		t.Error("the features are not sorted, as the API wants")
	}
	for f := range features.AllFeatures {
		if mesh := strings.HasPrefix(string(f.Name), "Mesh"); mesh == slices.Contains(got, string(f.Name)) {
			t.Errorf("feature %s: claimed %v", f.Name, !mesh)
		}
	}
	if len(got) > len(features.AllFeatures) {
		t.Error("there are features that Gateway API does not have")
	}
}

func TestStatusKeepsItsPointers(t *testing.T) {
	g := plainGateway("g", 80)
	s := shop()
	s.Annotations = map[string]string{"penstock.dev/plugins": "[transform]"}
	o := &translate.Objects{
		GatewayClasses: []*gatewayv1.GatewayClass{class()}, Gateways: []*gatewayv1.Gateway{g}, Services: []*corev1.Service{s},
		HTTPRoutes:   []*gatewayv1.HTTPRoute{httpRoute("a", gatewayv1.ParentReference{Name: "g"}), httpRoute("b", gatewayv1.ParentReference{Name: "g"})},
		Plugins:      []*api.Plugin{{ObjectMeta: metav1.ObjectMeta{Name: "p"}}},
		BackendTLS:   []*gatewayv1.BackendTLSPolicy{policyFor("shop")},
		ListenerSets: []*gatewayv1.ListenerSet{{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "l"}, Spec: gatewayv1.ListenerSetSpec{ParentRef: gatewayv1.ParentGatewayReference{Name: "g"}}}},
	}
	tr := proxies()
	first := tr.Translate(o)
	second := tr.Translate(o)
	if first.Status.Len() != 8 {
		t.Errorf("%d statuses: %v; want 8", first.Status.Len(), first.Status)
	}
	for object, v := range first.Status.All() {
		if second.Status.Of(object) != v {
			t.Errorf("%s: nothing changed, and its status is another", object)
		}
	}
	changed := httpRoute("b", gatewayv1.ParentReference{Name: "g", SectionName: pointer(gatewayv1.SectionName("none"))})
	changed.Generation = 8
	o.HTTPRoutes[1] = changed
	third := tr.Translate(o)
	for object, v := range first.Status.All() {
		// The Gateway counts its routes.
		if differs := object.Name == "b" || object.Kind == "Gateway"; (third.Status.Of(object) != v) != differs {
			t.Errorf("%s: changed %v; want %v", object, !differs, differs)
		}
	}
}

func policyFor(service gatewayv1.ObjectName) *gatewayv1.BackendTLSPolicy {
	p := &gatewayv1.BackendTLSPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "tls", Generation: 5}}
	p.Spec.TargetRefs = []gatewayv1.LocalPolicyTargetReferenceWithSectionName{{LocalPolicyTargetReference: gatewayv1.LocalPolicyTargetReference{Kind: "Service", Name: service}}}
	p.Spec.Validation = gatewayv1.BackendTLSPolicyValidation{Hostname: "shop.example", WellKnownCACertificates: pointer(gatewayv1.WellKnownCACertificatesSystem)}
	return p
}

func TestParentsOfARoute(t *testing.T) {
	others := gatewayv1.RouteParentStatus{ControllerName: "other.example/c", ParentRef: gatewayv1.ParentReference{Name: "theirs"}}
	ours := gatewayv1.RouteParentStatus{ControllerName: "penstock.dev/gateway-controller", ParentRef: gatewayv1.ParentReference{Name: "g"}}
	foreign := plainGateway("foreign", 80)
	foreign.Spec.GatewayClassName = "other"
	tests := map[string]struct {
		parents []gatewayv1.ParentReference
		status  []gatewayv1.RouteParentStatus
		want    string // "nothing": not in Result.Status
	}{
		"a Gateway of ours":                {[]gatewayv1.ParentReference{{Name: "g"}}, nil, "g: True Accepted, True ResolvedRefs"},
		"a Gateway of somebody else's":     {[]gatewayv1.ParentReference{{Name: "foreign"}}, []gatewayv1.RouteParentStatus{others}, "nothing"},
		"no such Gateway":                  {[]gatewayv1.ParentReference{{Name: "nobody"}}, nil, "nothing"},
		"a Service (mesh)":                 {[]gatewayv1.ParentReference{{Name: "shop", Kind: pointer(gatewayv1.Kind("Service")), Group: pointer(gatewayv1.Group(""))}}, nil, "nothing"},
		"ours went away":                   {[]gatewayv1.ParentReference{{Name: "foreign"}}, []gatewayv1.RouteParentStatus{others, ours}, ""},
		"two, of which one takes it":       {[]gatewayv1.ParentReference{{Name: "g", SectionName: pointer(gatewayv1.SectionName("l0"))}, {Name: "g", Port: pointer(gatewayv1.PortNumber(81))}}, nil, "g: True Accepted, True ResolvedRefs; g: False NoMatchingParent, True ResolvedRefs"},
		"a kind of Gateway API not known":  {[]gatewayv1.ParentReference{{Name: "g", Kind: pointer(gatewayv1.Kind("Mesh"))}}, nil, "nothing"},
		"a Gateway of another API's group": {[]gatewayv1.ParentReference{{Name: "g", Group: pointer(gatewayv1.Group("example.com"))}}, nil, "nothing"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := httpRoute("r", test.parents...)
			h.Status.Parents = test.status
			r := translate.New(options()).Translate(&translate.Objects{
				GatewayClasses: []*gatewayv1.GatewayClass{class()}, Gateways: []*gatewayv1.Gateway{plainGateway("g", 80), foreign},
				Services: []*corev1.Service{shop()}, HTTPRoutes: []*gatewayv1.HTTPRoute{h},
			})
			got := "nothing"
			if s := routeStatus(r, "r"); s != nil {
				var all []string
				for _, p := range s.Parents {
					all = append(all, fmt.Sprintf("%s: %s, %s", p.ParentRef.Name, condition(p.Conditions, "Accepted"), condition(p.Conditions, "ResolvedRefs")))
					if p.ControllerName != "penstock.dev/gateway-controller" || p.Conditions[0].ObservedGeneration != 7 {
						t.Errorf("got %+v", p)
					}
				}
				got = strings.Join(all, "; ")
			}
			if got != test.want {
				t.Errorf("got %s; want %s", got, test.want)
			}
			if r.Status.Of(config.Object{Kind: "Gateway", Namespace: "apps", Name: "foreign"}) != nil {
				t.Error("somebody else's Gateway has a status")
			}
		})
	}
}

func TestContentOfARoute(t *testing.T) {
	good := httpRoute("r").Spec.Rules[0]
	redirect, rewrite := gatewayv1.HTTPRouteFilter{Type: "RequestRedirect", RequestRedirect: &gatewayv1.HTTPRequestRedirectFilter{}}, gatewayv1.HTTPRouteFilter{Type: "URLRewrite", URLRewrite: &gatewayv1.HTTPURLRewriteFilter{}}
	with := func(filters ...gatewayv1.HTTPRouteFilter) gatewayv1.HTTPRouteRule {
		rule := good
		rule.Filters = filters
		return rule
	}
	to := func(ref gatewayv1.BackendObjectReference) gatewayv1.HTTPRouteRule {
		return gatewayv1.HTTPRouteRule{BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{BackendObjectReference: ref}}}}
	}
	port := pointer(gatewayv1.PortNumber(80))
	tests := map[string]struct {
		rules []gatewayv1.HTTPRouteRule
		want  string // Accepted, ResolvedRefs, PartiallyInvalid
	}{
		"good":                        {[]gatewayv1.HTTPRouteRule{good}, "True Accepted, True ResolvedRefs, none"},
		"filters that exclude":        {[]gatewayv1.HTTPRouteRule{with(redirect, rewrite)}, "False IncompatibleFilters, True ResolvedRefs, none"},
		"an unknown filter":           {[]gatewayv1.HTTPRouteRule{with(gatewayv1.HTTPRouteFilter{Type: "Unknown"})}, "False UnsupportedValue, True ResolvedRefs, none"},
		"an unknown filter in a rule": {[]gatewayv1.HTTPRouteRule{good, with(gatewayv1.HTTPRouteFilter{Type: "Unknown"})}, "True Accepted, True ResolvedRefs, True UnsupportedValue"},
		"no such Service":             {[]gatewayv1.HTTPRouteRule{good, to(gatewayv1.BackendObjectReference{Name: "x", Port: port})}, "True Accepted, False BackendNotFound, none"},
		"no Service":                  {[]gatewayv1.HTTPRouteRule{to(gatewayv1.BackendObjectReference{Name: "shop", Kind: pointer(gatewayv1.Kind("Bucket")), Port: port})}, "True Accepted, False InvalidKind, none"},
		"another namespace":           {[]gatewayv1.HTTPRouteRule{to(gatewayv1.BackendObjectReference{Name: "shop", Namespace: pointer(gatewayv1.Namespace("x")), Port: port})}, "True Accepted, False RefNotPermitted, none"},
	}
	for _, parent := range []string{"", "none"} { // what is wrong is told wherever it attaches
		for name, test := range tests {
			t.Run(name+" "+parent, func(t *testing.T) {
				ref := gatewayv1.ParentReference{Name: "g"}
				want := test.want
				if parent != "" {
					ref.SectionName = pointer(gatewayv1.SectionName(parent))
					_, rest, _ := strings.Cut(want, ", ")
					rest, _, _ = strings.Cut(rest, ", ")
					want = "False NoMatchingParent, " + rest + ", none"
				}
				h := httpRoute("r", ref)
				h.Spec.Rules = test.rules
				r := translate.New(options()).Translate(&translate.Objects{
					GatewayClasses: []*gatewayv1.GatewayClass{class()}, Gateways: []*gatewayv1.Gateway{plainGateway("g", 80)},
					Services: []*corev1.Service{shop()}, HTTPRoutes: []*gatewayv1.HTTPRoute{h},
				})
				c := routeStatus(r, "r").Parents[0].Conditions
				if got := fmt.Sprintf("%s, %s, %s", condition(c, "Accepted"), condition(c, "ResolvedRefs"), condition(c, "PartiallyInvalid")); got != want {
					t.Errorf("got %s; want %s", got, want)
				}
				count := int32(0)
				if strings.HasPrefix(want, "True Accepted") {
					count = 1
				}
				if got := gatewayStatus(t, r, "g").Listeners[0].AttachedRoutes; got != count {
					t.Errorf("%d routes attached; want %d", got, count)
				}
				for _, one := range c {
					if one.Type == "PartiallyInvalid" && !strings.HasPrefix(one.Message, "Dropped Rule") {
						t.Errorf("got %s", one.Message)
					}
				}
			})
		}
	}
}

func TestAncestorsOfABackendTLSPolicy(t *testing.T) {
	o := &translate.Objects{GatewayClasses: []*gatewayv1.GatewayClass{class()}, Services: []*corev1.Service{shop()}, BackendTLS: []*gatewayv1.BackendTLSPolicy{policyFor("shop")}}
	o.BackendTLS[0].Status.Ancestors = []gatewayv1.PolicyAncestorStatus{{ControllerName: "other.example/c"}, {ControllerName: "other.example/c"}}
	h := httpRoute("r")
	for i := range 20 {
		g := plainGateway(fmt.Sprintf("g%02d", i), 80)
		g.CreationTimestamp = metav1.NewTime(time.Unix(int64(1000-i), 0)) // the last is the oldest
		o.Gateways = append(o.Gateways, g)
		h.Spec.ParentRefs = append(h.Spec.ParentRefs, gatewayv1.ParentReference{Name: gatewayv1.ObjectName(g.Name)})
	}
	o.HTTPRoutes = []*gatewayv1.HTTPRoute{h}
	key := config.Object{Kind: "BackendTLSPolicy", Namespace: "apps", Name: "tls"}
	tr := proxies()
	r := tr.Translate(o)
	s := r.Status.Of(key).(*gatewayv1.PolicyStatus)
	if len(s.Ancestors) != 14 || s.Ancestors[0].AncestorRef.Name != "g19" || condition(s.Ancestors[0].Conditions, "Accepted") != "True Accepted" || s.Ancestors[0].Conditions[0].ObservedGeneration != 5 {
		t.Errorf("got %d ancestors, the first %+v; want 14 beside those of others, the oldest first", len(s.Ancestors), s.Ancestors[0])
	}
	if !slices.ContainsFunc(r.Problems, func(p translate.Problem) bool { return p.Reason == "TooManyAncestors" && p.Object == key }) {
		t.Error("nobody was told")
	}
	// Nobody leads to the Service any more: what we said is taken back, once.
	o.HTTPRoutes = nil
	o.BackendTLS[0].Status.Ancestors = append(o.BackendTLS[0].Status.Ancestors, s.Ancestors...)
	if s, ok := tr.Translate(o).Status.Of(key).(*gatewayv1.PolicyStatus); !ok || len(s.Ancestors) != 0 {
		t.Errorf("got %+v; want an empty list", s)
	}
	o.BackendTLS[0].Status.Ancestors = o.BackendTLS[0].Status.Ancestors[:2]
	if s := tr.Translate(o).Status.Of(key); s != nil {
		t.Errorf("got %+v; want nothing", s)
	}
}

func TestOverlappingTLS(t *testing.T) {
	g := plainGateway("g")
	for i, l := range []struct {
		hostname string
		port     int32
	}{{"foo.example.com", 443}, {"foo.example.org", 443}, {"*.example.com", 443}, {"*.a.b.example", 443}, {"*.b.example", 443}, {"b.example", 443}, {"", 8443}, {"x.example", 8443}, {"foo.example.com", 9443}} {
		g.Spec.Listeners = append(g.Spec.Listeners, gatewayv1.Listener{Name: gatewayv1.SectionName(fmt.Sprint(i)), Port: l.port, Protocol: gatewayv1.HTTPSProtocolType, Hostname: pointer(gatewayv1.Hostname(l.hostname))})
	}
	r := translate.New(options()).Translate(&translate.Objects{GatewayClasses: []*gatewayv1.GatewayClass{class()}, Gateways: []*gatewayv1.Gateway{g}})
	var got []string
	for _, l := range gatewayStatus(t, r, "g").Listeners {
		if condition(l.Conditions, "OverlappingTLSConfig") == "True OverlappingHostnames" {
			got = append(got, string(l.Name))
		}
	}
	if s := strings.Join(got, " "); s != "0 2 3 4 6 7" {
		t.Errorf("got %s", s)
	}
}

func TestLastGoodParametersAreNotAccepted(t *testing.T) {
	g := plainGateway("g", 80)
	g.Spec.Infrastructure = &gatewayv1.GatewayInfrastructure{ParametersRef: &gatewayv1.LocalParametersReference{Group: "penstock.dev", Kind: "ProxyParameters", Name: "p"}}
	p := &api.ProxyParameters{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "p", ResourceVersion: "1"}}
	o := &translate.Objects{GatewayClasses: []*gatewayv1.GatewayClass{class()}, Gateways: []*gatewayv1.Gateway{g}, Parameters: []*api.ProxyParameters{p}}
	tr := translate.New(options())
	for _, test := range []struct{ header, accepted, programmed string }{
		{"20s", "True Accepted", "True Programmed"},
		{"nonsense", "False InvalidParameters", "True Programmed"}, // the last good ones serve
		{"20s", "True Accepted", "True Programmed"},
	} {
		p.Spec.Timeouts = &api.ParameterTimeouts{Header: test.header}
		s := gatewayStatus(t, tr.Translate(o), "g")
		if a, b := condition(s.Conditions, "Accepted"), condition(s.Conditions, "Programmed"); a != test.accepted || b != test.programmed {
			t.Errorf("%s: got %s, %s; want %s, %s", test.header, a, b, test.accepted, test.programmed)
		}
	}
}
