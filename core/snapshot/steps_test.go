package snapshot

import (
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
)

// TestPartsAmongSteps: what stands among the filters of a rule or a backendRef is a
// chain of its own for each place, in order; the rest runs before or after these.
func TestPartsAmongSteps(t *testing.T) {
	b := newRunBed(t)
	part := func(name, scope string, images ...string) *config.Part {
		p := &config.Part{Name: name, Object: config.Object{Kind: "HTTPRoute", Namespace: "ns", Name: "r"}, Scope: scope, Hash: name + scope}
		for _, image := range images {
			f := filterOf(name + scope + image)
			f.Image = image
			p.Filters = append(p.Filters, f)
		}
		return p
	}
	c := configOf(part("policy", config.ScopeBefore, "a"), part("route", "", "b"), part(config.PartRule, "0.1", "c", "d"), part(config.PartRule, "0.3", "e"),
		part("service", "", "f"), part("policy", "after", "g"), part(config.PartBackend, "0.0.0", "h"))
	if err := b.Apply(c); err != nil {
		t.Fatal(err)
	}
	var chain *Chain
	for _, one := range b.Load().chains {
		chain = one
	}
	deadline := time.Now().Add(10 * time.Second)
	for !chain.Settled() && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	l, err := chain.Acquire()
	if err != nil || l.Fault != nil {
		t.Fatal(err, l.Fault)
	}
	defer l.Release()
	lengths := func(chains ...*filter.Chain) (n []int) {
		for _, c := range chains {
			n = append(n, c.Len())
		}
		return n
	}
	for name, test := range map[string]struct {
		got  []int
		want []int
	}{
		"before the rule's filters": {lengths(l.Outer), []int{2}},
		"among them":                {lengths(l.Rule...), []int{2, 1}},
		"after them":                {lengths(l.Inner), []int{2}},
		"among the backendRef's":    {lengths(l.Backend...), []int{1}},
	} {
		if len(test.got) != len(test.want) {
			t.Errorf("%s: got %v; want %v", name, test.got, test.want)
			continue
		}
		for i := range test.got {
			if test.got[i] != test.want[i] {
				t.Errorf("%s: got %v; want %v", name, test.got, test.want)
			}
		}
	}
}
