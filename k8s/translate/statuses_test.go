package translate_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/translate"
)

// TestStatuses: changed ones say what a map would, and the ones before what they did.
func TestStatuses(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	all := map[config.Object]any{}
	now := translate.StatusesOf(maps.Clone(all))
	for step := range 3000 {
		before, held := now, maps.Clone(all)
		changed := map[config.Object]any{}
		for range random.IntN(4) {
			o := config.Object{Kind: "HTTPRoute", Name: fmt.Sprint(random.IntN(1500))}
			if changed[o] = step; random.IntN(3) == 0 {
				changed[o] = nil
			}
			if all[o] = changed[o]; all[o] == nil {
				delete(all, o)
			}
		}
		now = translate.With(now, changed)
		for _, x := range []struct {
			got  translate.Statuses
			want map[config.Object]any
		}{{now, all}, {before, held}} {
			if got := maps.Collect(x.got.All()); !maps.Equal(got, x.want) || x.got.Len() != len(x.want) {
				t.Fatalf("step %d: %d objects, said to be %d; want %d", step, len(got), x.got.Len(), len(x.want))
			}
			for o := range changed {
				if x.got.Of(o) != x.want[o] {
					t.Fatalf("step %d: of %s %v is said; want %v", step, o, x.got.Of(o), x.want[o])
				}
			}
		}
	}
}
