package translate_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

// backend returns the only backend of the first route.
func backend(c *config.Config) config.Backend {
	return c.Gateways[0].Listeners[0].Routes.Entries[0].Route.Rules[0].Backends[0]
}

// withCache is one route to a Service with that UID and annotation.
func withCache(uid, text string) *translate.Objects {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "shop", UID: types.UID(uid), ResourceVersion: uid + text}}
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
	if text != "" {
		s.Annotations = map[string]string{api.AnnotationPlugins: text}
	}
	g := plainGateway("edge", 80)
	g.Namespace = "apps"
	h := httpRoute("r")
	h.Namespace = "apps"
	h.Spec.ParentRefs = []gatewayv1.ParentReference{{Name: "edge"}}
	h.Spec.Rules[0].BackendRefs[0].Name = "shop"
	return &translate.Objects{GatewayClasses: []*gatewayv1.GatewayClass{class()}, Gateways: []*gatewayv1.Gateway{g}, HTTPRoutes: []*gatewayv1.HTTPRoute{h}, Services: []*corev1.Service{s}}
}

// TestAServiceMadeAgainHasAnotherCacheScope: by the whole way and by that of a change,
// and though its chain is the same.
func TestAServiceMadeAgainHasAnotherCacheScope(t *testing.T) {
	tr := translate.New(options())
	first := tr.Translate(withCache("u1", "[cache]"))
	if got := backend(first.Config).CacheScope; got != "apps/u1:80" {
		t.Errorf("got %q; want apps/u1:80", got)
	}
	if again := tr.Translate(withCache("u1", "[cache]")); again.Config != first.Config {
		t.Error("nothing changed, and the config is another")
	}
	o := withCache("u2", "[cache]")
	last := first
	if made := tr.Change(last, &translate.Changes{Services: map[string]*corev1.Service{"apps/shop": o.Services[0]}}); made != nil {
		t.Errorf("the change went alone: %+v", backend(made.Config))
	}
	second := tr.Translate(o)
	if got := backend(second.Config); got.CacheScope != "apps/u2:80" || got.Chain != backend(first.Config).Chain {
		t.Errorf("got %q; want apps/u2:80, and the chain of before", got.CacheScope)
	}
	if got := backend(tr.Translate(withCache("u2", "[transform]")).Config).CacheScope; got != "" {
		t.Errorf("without a cache got %q", got)
	}
	if got := backend(tr.Translate(withCache("", "[cache]")).Config).CacheScope; got != "apps/shop:80" {
		t.Errorf("without a UID got %q", got)
	}
}

// TestACacheHashCoversItsConfig: another config is another filter, an equal one is not.
func TestACacheHashCoversItsConfig(t *testing.T) {
	tr := translate.New(options())
	hash := func(text string) string {
		return backend(tr.Translate(withCache("u", text)).Config).Chain.Parts[0].Filters[0].Hash
	}
	a := hash("- {use: cache, config: {ttl: 60s}}")
	for name, text := range map[string]string{
		"the ttl": "- {use: cache, config: {ttl: 61s}}", "a part of the key": "- {use: cache, config: {ttl: 60s, key: {consumer: true}}}",
		"what is ignored": "- {use: cache, config: {ttl: 60s, ignore: [private]}}",
	} {
		if hash(text) == a {
			t.Errorf("%s is another, and the hash is the same", name)
		}
	}
	if hash("- {use: cache, config: {ttl: 1m}}") != a {
		t.Error("the same config has another hash")
	}
}

// TestLastGoodServesForACacheBeforeAGuard: a list that is wrong does not stop what ran.
func TestLastGoodServesForACacheBeforeAGuard(t *testing.T) {
	f := newFolder(t)
	f.write("s.yaml", service("s", "[key-auth]", ""))
	f.ran[part(t, f.load()).Hash] = true
	f.load()
	f.write("s.yaml", service("s", "[cache, key-auth]", ""))
	p := part(t, f.load())
	if p.Fault == nil || p.Fault.Reason != "InvalidConfig" || p.Fallback == nil || p.Fallback.Filters[0].Name != "key-auth" {
		t.Errorf("got %+v; want a fault, and key-auth as what serves", p)
	}
	f.write("s.yaml", service("s", "[key-auth, cache]", ""))
	if p := part(t, f.load()); p.Fault != nil || p.Filters[1].Cache == nil {
		t.Errorf("got %+v; want both filters", p)
	}
}

// TestACacheOfARouteBeforeAServicesGuard: what the route was before serves, unless that
// has a cache too.
func TestACacheOfARouteBeforeAServicesGuard(t *testing.T) {
	annotated := func(text string) string {
		return strings.Replace(service("s", "[key-auth]", ""), "metadata: {name: s}", `metadata: {name: s, annotations: {"penstock.dev/plugins": "`+text+`"}}`, 1)
	}
	first := func(c *config.Config) *config.Part {
		return c.Gateways[0].Listeners[0].Routes.Entries[0].Route.Rules[0].Backends[0].Chain.Parts[0]
	}
	f := newFolder(t)
	f.write("s.yaml", annotated("[transform]"))
	f.ran[first(f.load()).Hash] = true
	f.load()
	f.write("s.yaml", annotated("[cache]"))
	c := f.load()
	if p := first(c); p.Fault == nil || p.Fallback == nil || p.Fallback.Filters[0].Name != "transform" || p.Name != "route" {
		t.Errorf("got %+v; want a fault, and transform as what serves", p)
	}
	if f.load() != c {
		t.Error("nothing changed, and the config is another")
	}
	g := newFolder(t)
	g.write("s.yaml", annotated("[cache]"))
	if p := first(g.load()); p.Fault == nil || p.Fallback != nil {
		t.Errorf("got %+v; want a fault alone", p)
	}
}

// TestNoRollBackTouchesACache: whatever a report or a status says.
func TestNoRollBackTouchesACache(t *testing.T) {
	o := withCache("u", "[cache]")
	owner := config.Object{Kind: "Service", Namespace: "apps", Name: "shop"}
	d := translate.DeclarationOf(owner, "service", &api.Entry{Use: "cache", Name: "cache"})
	left, to := "sha256:"+strings.Repeat("a", 64), "sha256:"+strings.Repeat("b", 64)
	tr := translate.New(options())
	plain := dump(tr.Translate(o).Config, nil)
	o.RollBacks = map[string]*translate.RollBack{d: {Declaration: d, Left: left, To: d, Digest: to, Namespace: "apps"}}
	made := tr.Translate(o).Config
	if f := backend(made).Chain.Parts[0].Filters[0]; f.Declaration != d || f.RolledBack != "" {
		t.Errorf("got %+v", f)
	}
	if diff := cmp.Diff(plain, dump(made, nil)); diff != "" {
		t.Error(diff)
	}
}
