package snapshot

import (
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/oci"
)

// TestLastGoodNeverLeavesAGuardOut: a new text names a guard by its image's manifest and
// cannot run; what ran before stands in only if it has that guard too. An image that was
// never pulled counts as none.
func TestLastGoodNeverLeavesAGuardOut(t *testing.T) {
	filter := func(name, image string) *config.Filter {
		f := filterOf(name + " " + image)
		f.Name, f.Image = name, image
		return f
	}
	skipping := func(f *config.Filter) *config.Filter { // refused for a guard, once its manifest is read
		f.OnError, f.Hash = config.Skip, f.Hash+" skip"
		return f
	}
	const unpulled = "r.example/guard-unknown:1"
	tests := map[string]struct {
		before, after []*config.Filter
		want          int
	}{
		"last good lacks it":           {[]*config.Filter{filter("x", "r.example/ok:1")}, []*config.Filter{filter("x", "r.example/ok:1"), skipping(filter("auth", "r.example/guard-ok:1"))}, 503},
		"it has another of its name":   {[]*config.Filter{filter("auth", "r.example/ok:1")}, []*config.Filter{skipping(filter("auth", "r.example/guard-ok:1"))}, 503},
		"last good has it":             {[]*config.Filter{filter("auth", "r.example/guard-ok:1")}, []*config.Filter{skipping(filter("auth", "r.example/guard-ok:1"))}, 200},
		"no guard":                     {[]*config.Filter{filter("x", "r.example/ok:1")}, []*config.Filter{filter("bad", unpulled+"2")}, 200},
		"an image that was not pulled": {[]*config.Filter{filter("x", "r.example/ok:1")}, []*config.Filter{filter("auth", unpulled)}, 200},
		"it, and one that was not":     {[]*config.Filter{filter("x", "r.example/ok:1")}, []*config.Filter{filter("bad", unpulled), skipping(filter("auth", "r.example/guard-ok:1"))}, 503},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newRunBed(t)
			b.refused[unpulled], b.refused[unpulled+"2"] = oci.ErrImage, oci.ErrImage
			good := partOf("good "+name, test.before...)
			b.apply(t, good)
			b.eventually(t, "the first form runs", func() bool { return b.exchange(t) == 200 })
			next := partOf("next "+name, test.after...)
			next.Fallback, next.FallbackUntil = good, time.Now().Add(time.Hour)
			b.apply(t, next)
			b.eventually(t, "the new form is settled", func() bool {
				for _, r := range b.plugins.Runtimes() {
					if s := r.State(); s.Phase != "Ready" && s.Phase != "Failed" {
						return false
					}
				}
				return b.exchange(t) == test.want
			})
		})
	}
}
