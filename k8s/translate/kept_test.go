package translate_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

// TestWhatIsKeptChangesNothing: of two Translators with the same past, the one that
// keeps parts says what the other one says, whatever has run since and whenever.
func TestWhatIsKeptChangesNothing(t *testing.T) {
	texts := []string{"[transform]", "[nobody]", "[{use: transform, config: {a: 1}}]", "[{use: transform, configFrom: [{configMapKeyRef: {name: c, key: k}}]}]", "[key-auth, transform]"}
	back := 0
	for seed := range uint64(12) {
		w := &world{Rand: rand.New(rand.NewPCG(seed, 3)), plain: seed%2 == 0}
		w.GatewayClasses = []*gatewayv1.GatewayClass{class()}
		for _, name := range []string{"s0", "s1", "s2"} {
			h := httpRoute("to-"+name, gatewayv1.ParentReference{Name: "a"})
			h.Spec.Rules[0].BackendRefs[0].Name = gatewayv1.ObjectName(name)
			w.HTTPRoutes, w.Services = append(w.HTTPRoutes, h), append(w.Services, w.service(name))
		}
		w.Gateways = append(w.Gateways, plainGateway("a", 80))
		ran, now := map[string]bool{}, time.Unix(1000, 0)
		o := options()
		o.Ran, o.Now = func(hash string) bool { return ran[hash] }, func() time.Time { return now }
		kept, plain := translate.New(o), translate.New(o)
		for step := range 150 {
			switch w.IntN(8) {
			case 0:
				s := w.service(w.one("s0", "s1", "s2"))
				s.Annotations = map[string]string{api.AnnotationPlugins: texts[w.IntN(len(texts))]}
				w.Services = append(slices.DeleteFunc(slices.Clone(w.Services), func(o *corev1.Service) bool { return o.Name == s.Name }), s)
			case 1:
				w.ConfigMaps = nil
				if w.IntN(4) > 0 {
					w.ConfigMaps = []*corev1.ConfigMap{{ObjectMeta: w.meta("apps", "c", false), Data: map[string]string{"k": fmt.Sprintf("b: %d", w.IntN(2))}}}
				}
			case 2:
				w.Plugins = nil
				if w.IntN(2) == 0 {
					p := &api.Plugin{ObjectMeta: w.meta("", "transform", true)}
					p.Spec.Versions = []api.PluginVersion{{Name: "1", Image: "r.example/transform:" + w.one("1", "2")}}
					w.Plugins = append(w.Plugins, p)
				}
			case 3:
				now = now.Add(time.Duration(w.IntN(20)) * time.Minute)
			}
			if w.IntN(10) == 0 {
				w.change()
			}
			objects := w.Objects
			plain.Unkeep()
			got, want := kept.Translate(&objects), plain.Translate(&objects)
			if d := cmp.Diff(dump(want.Config, want.Problems)+statusText(t, want.Status), dump(got.Config, got.Problems)+statusText(t, got.Status)); d != "" {
				t.Fatalf("seed %d, step %d: %s", seed, step, d)
			}
			if d := cmp.Diff(want.References, got.References); d != "" {
				t.Fatalf("seed %d, step %d: references: %s", seed, step, d)
			}
			if d := cmp.Diff(want.ChainParts, got.ChainParts); d != "" {
				t.Fatalf("seed %d, step %d: parts: %s", seed, step, d)
			}
			if got, want := pasts(got.Config), pasts(want.Config); !slices.Equal(got, want) {
				t.Fatalf("seed %d, step %d: got %v; want %v", seed, step, got, want)
			}
			got.Config.Chains(func(c *config.Chain) {
				for _, p := range c.Parts {
					if w.IntN(6) == 0 {
						ran[p.Hash] = w.IntN(3) > 0
					}
					if p.Fallback != nil || p.Previous != nil {
						back++
					}
				}
			})
		}
	}
	if back < 100 {
		t.Errorf("%d parts have something to go back to", back)
	}
}

// pasts says of each part what it may go back to.
func pasts(c *config.Config) (all []string) {
	c.Chains(func(chain *config.Chain) {
		for _, p := range chain.Parts {
			text := p.Hash
			if p.Fallback != nil {
				text += fmt.Sprint(" last good ", p.Fallback.Hash, p.FallbackUntil.Unix())
			}
			if p.Previous != nil {
				text += fmt.Sprint(" previous ", p.Previous.Hash, p.PreviousUntil.Unix())
			}
			all = append(all, text)
		}
	})
	slices.Sort(all)
	return all
}
