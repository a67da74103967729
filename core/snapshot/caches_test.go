package snapshot

import (
	"testing"

	"penstock.dev/penstock/core/cache"
	"penstock.dev/penstock/core/config"
)

func cacheOf(hash string) *config.Filter {
	return &config.Filter{Part: "service", Name: "cache", Hash: hash, Cache: &config.Cache{}}
}

func named(image, hash string) *config.Filter {
	f := filterOf(image + hash)
	f.Image, f.Name = image, "f"
	return f
}

// TestACacheStandsBehindGuards: that a filter is a guard is known once its image is.
func TestACacheStandsBehindGuards(t *testing.T) {
	route := func(filters ...*config.Filter) *config.Part {
		p := partOf("route", filters...)
		p.Name, p.Object.Kind = "route", "HTTPRoute"
		return p
	}
	tests := map[string]struct {
		parts []*config.Part
		want  int
	}{
		"a guard before it":               {[]*config.Part{partOf("p", named("r.example/guard-ok:1", ""), cacheOf("c"))}, 200},
		"a guard behind it":               {[]*config.Part{partOf("p", cacheOf("c"), named("r.example/guard-ok:1", ""))}, 503},
		"a guard of a later part":         {[]*config.Part{route(cacheOf("c")), partOf("p", named("r.example/guard-ok:1", ""))}, 503},
		"a guard of a part before":        {[]*config.Part{route(named("r.example/guard-ok:1", "")), partOf("p", cacheOf("c"))}, 200},
		"another filter behind it":        {[]*config.Part{partOf("p", cacheOf("c"), named("r.example/ok:1", ""))}, 200},
		"the first of two does not count": {[]*config.Part{route(cacheOf("c")), partOf("p", named("r.example/ok:1", ""), cacheOf("d"))}, 200},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newRunBed(t)
			if err := b.Apply(configOf(test.parts...)); err != nil {
				t.Fatal(err)
			}
			b.eventually(t, "it is settled", func() bool { return b.Settled() && b.exchange(t) == test.want })
			for _, r := range b.Reports() {
				if broken := r.State == "Broken"; broken != (test.want == 503 && r.Filters[0].Name == "service/cache") {
					t.Errorf("%s is %s: %s", r.Part, r.State, r.Message)
				}
			}
		})
	}
}

// TestWhatACacheIsBefore: what one list of filters made never serves for another.
func TestWhatACacheIsBefore(t *testing.T) {
	fingerprint := func(filters ...*config.Filter) (of cache.Fingerprint, caches int) {
		b := newRunBed(t)
		if err := b.Apply(configOf(partOf("p", filters...))); err != nil {
			t.Fatal(err)
		}
		b.eventually(t, "it is settled", func() bool { return b.Settled() })
		l, err := b.only(t).Acquire()
		if err != nil || l.Fault != nil {
			t.Fatal(err, l.Fault)
		}
		defer l.Release()
		for _, e := range l.Inner.Entries() {
			if f, ok := e.Filter.(*cache.Filter); ok {
				of = f.Fingerprint()
				caches++
			}
		}
		return of, caches
	}
	base, n := fingerprint(cacheOf("c"), named("r.example/ok:1", "a"))
	if n != 1 {
		t.Fatalf("%d caches; want one", n)
	}
	tests := map[string]struct {
		filters []*config.Filter
		same    bool
	}{
		"the same again":           {[]*config.Filter{cacheOf("c"), named("r.example/ok:1", "a")}, true},
		"another filter before it": {[]*config.Filter{named("r.example/ok:2", "x"), cacheOf("c"), named("r.example/ok:1", "a")}, true},
		"another version":          {[]*config.Filter{cacheOf("c"), named("r.example/ok:2", "a")}, false},
		"another config":           {[]*config.Filter{cacheOf("c"), named("r.example/ok:1", "b")}, false},
		"one filter less":          {[]*config.Filter{cacheOf("c")}, false},
		"one filter more":          {[]*config.Filter{cacheOf("c"), named("r.example/ok:1", "a"), named("r.example/ok:3", "a")}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got, _ := fingerprint(test.filters...); (got == base) != test.same {
				t.Errorf("equal: %v; want %v", got == base, test.same)
			}
		})
	}
}

// only returns the one chain that there is.
func (b *runBed) only(t *testing.T) *Chain {
	t.Helper()
	for _, c := range b.Load().chains {
		return c
	}
	t.Fatal("no chain")
	return nil
}
