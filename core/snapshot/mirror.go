package snapshot

import (
	"slices"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/core/upstream"
)

// Mirror is a compiled config.Mirror.
type Mirror struct {
	Config   *config.Mirror
	Upstream *upstream.Group
	Counters *MirrorCounters
}

// MirrorCounters count the copies that one rule sends to one Service.
type MirrorCounters struct {
	key [2]string // rule, Service
	// Sent ones were answered, Failed ones were not, Cut ones were too far behind their
	// request, Dropped ones were one too many.
	Sent, Failed, Cut, Dropped telemetry.Counter
}

var mirrorResults = [...]string{"sent", "failed", "cut", "dropped"}

func (t *Metrics) mirrorOf(route, service string) *MirrorCounters {
	of := func(i int) telemetry.Counter { return t.mirrored.With(route, service, mirrorResults[i]) }
	return &MirrorCounters{key: [2]string{route, service}, Sent: of(0), Failed: of(1), Cut: of(2), Dropped: of(3)}
}

// mirrors compiles those of a rule's or a backend's steps, in their order.
func (c *compiler) mirrors(rule string, steps []config.Step) (all []Mirror) {
	for i := range steps {
		if m := steps[i].Mirror; m != nil {
			all = append(all, Mirror{Config: m, Upstream: c.group(m.Upstream), Counters: c.metrics.mirrorOf(rule, m.Service)})
		}
	}
	return all
}

func sameMirrors(a, b []Mirror) bool {
	return slices.EqualFunc(a, b, func(a, b Mirror) bool { return a.Config == b.Config && a.Upstream == b.Upstream })
}

// mirrorKeys calls f for what counts the rule's copies.
func (r *Rule) mirrorKeys(f func([2]string)) {
	for _, m := range r.Mirrors {
		f(m.Counters.key)
	}
	for i := range r.Backends {
		for _, m := range r.Backends[i].Mirrors {
			f(m.Counters.key)
		}
	}
}

// forgetMirrors removes the series of copies that no rule makes any more.
func (t *Metrics) forgetMirrors(old, current *Snapshot) {
	gone := map[[2]string]bool{}
	for cfg, r := range old.rules {
		if current.rules[cfg] != r {
			r.mirrorKeys(func(k [2]string) { gone[k] = true })
		}
	}
	if len(gone) == 0 {
		return
	}
	for _, r := range current.rules {
		r.mirrorKeys(func(k [2]string) { delete(gone, k) })
	}
	for k := range gone {
		for _, result := range mirrorResults {
			t.mirrored.Delete(k[0], k[1], result)
		}
	}
}
