package config_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"penstock.dev/penstock/core/config"
)

// TestOverlay: one with changes is what a map with them would be, and those before are
// what they were.
func TestOverlay(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	all := map[string]int{}
	now := config.OverlayOf(maps.Clone(all))
	first := now
	for step := range 2000 {
		before, held := now, maps.Clone(all)
		changed := map[string]int{}
		for range random.IntN(4) {
			key := fmt.Sprint(random.IntN(1500))
			if changed[key] = step + 1; random.IntN(3) == 0 {
				changed[key] = 0
			}
			if all[key] = changed[key]; all[key] == 0 {
				delete(all, key)
			}
		}
		now = now.With(changed)
		for _, x := range []struct {
			got  config.Overlay[string, int]
			want map[string]int
		}{{now, all}, {before, held}} {
			if x.got.Len() != len(x.want) {
				t.Fatalf("step %d: it is said that there are %d entries; want %d", step, x.got.Len(), len(x.want))
			}
			for key := range changed {
				if x.got.Of(key) != x.want[key] {
					t.Fatalf("step %d: %s is %d; want %d", step, key, x.got.Of(key), x.want[key])
				}
			}
		}
		if step%20 > 0 { // the rest looks at all
			continue
		}
		if got := maps.Collect(now.All()); !maps.Equal(got, all) || !now.Equal(config.OverlayOf(maps.Clone(all))) {
			t.Fatalf("step %d: %d entries, or others than wanted; want %d", step, len(got), len(all))
		}
		if !maps.Equal(maps.Collect(before.All()), held) {
			t.Fatalf("step %d: the one before has changed", step)
		}
		for name, from := range map[string]config.Overlay[string, int]{"the one before": before, "the first": first} {
			copied := maps.Collect(from.All())
			now.Differ(from, func(key string, v int) { copied[key] = v }, func(key string) { delete(copied, key) })
			if !maps.Equal(copied, all) {
				t.Fatalf("step %d: what differs from %s does not lead from it here", step, name)
			}
		}
		if step%500 == 0 {
			first = now
		}
	}
}
