package translate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

const (
	// purgesAtOnce bounds the purges of one namespace that are under way, and those of
	// it that are completed and kept: one tenant's flood is no other's delay.
	purgesAtOnce = 256
	// purgesInAll bounds both of all namespaces together: proxies tell what became of
	// each, and control does not read more than 10,000 of one proxy.
	purgesInAll = 8192
	// PurgeKept is how long a completed purge is kept for proxies that were away, within the
	// bounds above.
	PurgeKept = time.Hour
)

// purges puts the CachePurges that are to be carried out into the config.
func (r *run) purges() {
	waiting, done := map[string][]*api.CachePurge{}, map[string][]completedPurge{} // by namespace
	for _, p := range r.cachePurges {
		switch at, completed := purged(p); {
		case !completed:
			waiting[p.Namespace] = append(waiting[p.Namespace], p)
		case r.t.o.Now().Sub(at) < PurgeKept:
			done[p.Namespace] = append(done[p.Namespace], completedPurge{p, at})
		}
	}
	var all []*config.Purge
	add := func(p *api.CachePurge) {
		all = append(all, r.t.memo.purges.get(p.Namespace+"/"+p.Name, version(p), func() *config.Purge { return purge(p) }))
	}
	var turn []ranked
	for _, list := range waiting {
		n := 0
		slices.SortFunc(list, olderPurge)
		for _, p := range list {
			o := object("CachePurge", p)
			if faults := config.PurgeFaults(purge(p)); len(faults) > 0 {
				f := &faults[0]
				r.problem(o, strings.TrimSuffix("spec."+f.Field, "."), "Invalid", "%s", f.Why)
			} else if n++; n > purgesAtOnce {
				r.problem(o, "", "TooManyPurges", "%d purges of namespace %s are under way: it waits for them", purgesAtOnce, p.Namespace)
			} else {
				turn = append(turn, ranked{p, n})
			}
		}
	}
	slices.SortFunc(turn, func(a, b ranked) int { return cmp.Or(cmp.Compare(a.rank, b.rank), olderPurge(a.purge, b.purge)) })
	for i, one := range turn {
		if i < purgesInAll {
			add(one.purge)
		} else {
			r.problem(object("CachePurge", one.purge), "", "TooManyPurges", "%d purges of all namespaces are under way: it waits for them", purgesInAll)
		}
	}
	// Those that were completed last: who was away misses the others soonest, and what left
	// would be done again if it came back.
	var kept []completedPurge
	for _, list := range done {
		slices.SortFunc(list, lastCompleted)
		kept = append(kept, list[:min(len(list), purgesAtOnce)]...)
	}
	slices.SortFunc(kept, lastCompleted)
	for _, c := range kept[:min(len(kept), purgesInAll-len(all))] {
		add(c.purge)
	}
	slices.SortFunc(all, func(a, b *config.Purge) int { return cmp.Compare(a.ID, b.ID) })
	if r.config.Purges = all; r.t.last != nil && slices.Equal(r.t.last.Purges, all) {
		r.config.Purges = r.t.last.Purges
	}
}

// ranked is a purge and which one it is of its namespace: each has its first carried out
// before any has its second.
type ranked struct {
	purge *api.CachePurge
	rank  int
}

// completedPurge is a purge and when it was completed.
type completedPurge struct {
	purge *api.CachePurge
	at    time.Time
}

// lastCompleted orders purges by when they were completed, the last one first.
func lastCompleted(a, b completedPurge) int {
	return cmp.Or(b.at.Compare(a.at), olderPurge(b.purge, a.purge))
}

// olderPurge orders purges by age.
func olderPurge(a, b *api.CachePurge) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// purged returns since when a purge is completed, and whether it is.
func purged(p *api.CachePurge) (time.Time, bool) {
	for _, c := range p.Status.Conditions {
		if c.Type == api.ConditionCompleted && c.Status == metav1.ConditionTrue && c.ObservedGeneration == p.Generation {
			return c.LastTransitionTime.Time, true
		}
	}
	return time.Time{}, false
}

// PurgeID returns the config.Purge.ID of a CachePurge.
func PurgeID(p *api.CachePurge) string { return p.Namespace + "/" + p.Name + "/" + string(p.UID) }

func purge(p *api.CachePurge) *config.Purge {
	s := &p.Spec
	return &config.Purge{
		ID: PurgeID(p), Namespace: p.Namespace, Created: p.CreationTimestamp.UTC(),
		URLs: s.URLs, Prefixes: s.Prefixes, Hostnames: s.Hostnames, Tags: s.Tags, Soft: s.Soft,
	}
}

// purge says of a CachePurge whether it is carried out; on which proxies it was,
// somebody else fills in.
func (s *statuses) purge(p *api.CachePurge) {
	o := object("CachePurge", p)
	accepted := holds(api.ConditionAccepted, "Accepted", p)
	if list := s.problems[o]; len(list) > 0 {
		accepted = fails(api.ConditionAccepted, &verdict{list[0].Reason, messages(list)}, p)
	}
	set(s, o, &api.CachePurgeStatus{ObservedGeneration: p.Generation, Conditions: []metav1.Condition{accepted}})
}

// purges takes over the changed CachePurges; false: one of them could not be carried
// out, or something else is to be told of any now.
func (c *change) purges() bool {
	if len(c.changes.CachePurges) == 0 {
		return true
	}
	mark := len(c.problems)
	for name, p := range c.changes.CachePurges {
		if first, last := about(c.last.Problems, objectNamed("CachePurge", name)); last > first {
			return false
		}
		if p == nil {
			delete(c.cachePurges, name)
		} else {
			c.cachePurges[name] = p
		}
	}
	c.run.purges()
	fresh := tidied(c.problems[mark:])
	c.problems = c.problems[:mark]
	same := 0 // of what was told before, which is in this order
	for i := range c.last.Problems {
		p := &c.last.Problems[i]
		if p.Object.Kind != "CachePurge" {
			continue
		}
		if same == len(fresh) || fresh[same] != *p {
			return false
		}
		same++
	}
	return same == len(fresh)
}
