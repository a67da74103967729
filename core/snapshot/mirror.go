package snapshot

import (
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
	t.mirrors[[2]string{route, service}]++
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

// eachMirror calls f for what counts the rule's copies.
func (r *Rule) eachMirror(f func(*MirrorCounters)) {
	for _, m := range r.Mirrors {
		f(m.Counters)
	}
	for i := range r.Backends {
		for _, m := range r.Backends[i].Mirrors {
			f(m.Counters)
		}
	}
}
