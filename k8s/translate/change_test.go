package translate_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/k8s/translate"
)

// moved returns what differs between two lists, by namespace/name.
func moved[T interface {
	comparable
	metav1.Object
}](before, after []T) map[string]T {
	all := map[string]T{}
	for _, o := range after {
		if !slices.Contains(before, o) {
			all[o.GetNamespace()+"/"+o.GetName()] = o
		}
	}
	for _, o := range before {
		name := o.GetNamespace() + "/" + o.GetName()
		if !slices.ContainsFunc(after, func(x T) bool { return x.GetNamespace()+"/"+x.GetName() == name }) {
			var none T
			all[name] = none
		}
	}
	return all
}

// changes returns how two worlds differ; ok is false if they do by more than Change takes.
func changes(before, after *translate.Objects) (c *translate.Changes, ok bool) {
	c = &translate.Changes{
		HTTPRoutes: moved(before.HTTPRoutes, after.HTTPRoutes), GRPCRoutes: moved(before.GRPCRoutes, after.GRPCRoutes),
		Services: moved(before.Services, after.Services), CachePurges: moved(before.CachePurges, after.CachePurges),
		Consumers: moved(before.Consumers, after.Consumers), Credentials: moved(before.Credentials, after.Credentials), EndpointSlices: map[string][]*discoveryv1.EndpointSlice{},
	}
	for _, s := range moved(before.EndpointSlices, after.EndpointSlices) {
		if s != nil {
			c.EndpointSlices["apps/"+s.Labels[discoveryv1.LabelServiceName]] = nil
		}
	}
	for _, s := range before.EndpointSlices {
		if !slices.Contains(after.EndpointSlices, s) {
			c.EndpointSlices["apps/"+s.Labels[discoveryv1.LabelServiceName]] = nil
		}
	}
	for _, s := range after.EndpointSlices {
		if key := "apps/" + s.Labels[discoveryv1.LabelServiceName]; slices.Contains(slices.Collect(maps.Keys(c.EndpointSlices)), key) {
			c.EndpointSlices[key] = append(c.EndpointSlices[key], s)
		}
	}
	rest := func(o *translate.Objects) []any {
		return []any{o.Gateways, o.ReferenceGrants, o.Policies, o.BackendTLS, o.Namespaces, o.Parameters}
	}
	return c, cmp.Equal(rest(before), rest(after))
}

// TestChangesAlone: the way of a change comes to what the whole way does, says which
// statuses are others, and the whole way goes on from there.
func TestChangesAlone(t *testing.T) {
	alone := map[string]int{}
	for seed := range uint64(24) {
		w := &world{Rand: rand.New(rand.NewPCG(seed, 2)), plain: seed%3 > 0}
		w.GatewayClasses = []*gatewayv1.GatewayClass{class()}
		o := options()
		o.CheckEndpoints = seed%2 == 0
		old := translate.New(o)
		before := w.Objects
		last := old.Translate(&before)
		for step := range 300 {
			for range 1 + w.IntN(2) {
				w.change()
			}
			now := w.Objects
			now.HTTPRoutes, now.Services, now.EndpointSlices, now.Gateways = slices.Clone(now.HTTPRoutes), slices.Clone(now.Services), slices.Clone(now.EndpointSlices), slices.Clone(now.Gateways)
			now.CachePurges, now.Consumers, now.Credentials = slices.Clone(now.CachePurges), slices.Clone(now.Consumers), slices.Clone(now.Credentials)
			c, ok := changes(&before, &now)
			before = now
			var got *translate.Result
			if ok {
				got = old.Change(last, c)
			}
			if got == nil {
				last = old.Translate(&now)
				continue
			}
			want := translate.New(o).Translate(&now)
			if d := cmp.Diff(dump(want.Config, want.Problems)+statusText(t, want.Status), dump(got.Config, got.Problems)+statusText(t, got.Status)); d != "" {
				t.Fatalf("seed %d, step %d: %s", seed, step, d)
			}
			for o := range want.Status.All() {
				if got.Status.Of(o) != last.Status.Of(o) && !slices.Contains(got.Changed, o) {
					t.Fatalf("seed %d, step %d: the status of %s is another, and nothing is told of it", seed, step, o)
				}
			}
			if got.Config != last.Config {
				note(alone, c, dump(got.Config, nil))
			}
			if last = got; w.IntN(2) == 0 {
				if last = old.Translate(&now); last.Config != got.Config {
					t.Fatalf("seed %d, step %d: nothing changed, and the config is another", seed, step)
				}
			}
		}
	}
	for _, kind := range []string{"HTTPRoute", "GRPCRoute", "Service", "EndpointSlice", "CachePurge", "Consumer", "Credential", "with filters"} {
		if alone[kind] < 10 {
			t.Errorf("%d changes went alone: %s", alone[kind], kind)
		}
	}
}

func note(alone map[string]int, c *translate.Changes, text string) {
	if strings.Contains(text, "part service") {
		alone["with filters"]++
	}
	for kind, n := range map[string]int{"HTTPRoute": len(c.HTTPRoutes), "GRPCRoute": len(c.GRPCRoutes), "Service": len(c.Services), "EndpointSlice": len(c.EndpointSlices), "CachePurge": len(c.CachePurges), "Consumer": len(c.Consumers), "Credential": len(c.Credentials)} {
		if n > 0 {
			alone[kind]++
		}
	}
}
