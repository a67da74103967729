package translate

import (
	"fmt"
	"maps"
	"strings"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/annotation"
	"penstock.dev/penstock/k8s/api"
)

// The ranges of totals.
const (
	mostFilters, mostSeries     = 100_000, 100_000
	mostShare, mostCompiles     = 10_000, 10_000
	leastMemory, mostMemory     = 1 << 20, 1 << 40
	leastModule, mostModuleSize = 1 << 10, 64 << 20
)

// totalsOf reads a policy's totals over base. The error names every field that
// is out of range.
func totalsOf(t *api.Totals, base *config.Totals, policy string) (*config.Totals, error) {
	c := *base
	c.Policies = map[string]string{}
	if t == nil {
		return &c, nil
	}
	var problems []string
	number := func(field string, v *int32, to *int, low, high int) {
		switch {
		case v == nil:
		case int(*v) < low || int(*v) > high:
			problems = append(problems, fmt.Sprintf("%s: %d: want %d to %d", field, *v, low, high))
		default:
			*to, c.Policies[field] = int(*v), policy
		}
	}
	size := func(field, text string, to *int64, low, high int64, want string) {
		if text == "" {
			return
		}
		n, ok := annotation.Bytes(text)
		if !ok || n < low || n > high {
			problems = append(problems, fmt.Sprintf("%s: %.40q: want a size from %s", field, text, want))
			return
		}
		*to, c.Policies[field] = n, policy
	}
	number("filters", t.Filters, &c.Filters, 0, mostFilters)
	size("memory", t.Memory, &c.MemoryBytes, leastMemory, mostMemory, "1Mi to 1024Gi")
	number("cpuShare", t.CPUShare, &c.CPUPercent, 1, mostShare)
	number("compilesPerHour", t.CompilesPerHour, &c.CompilesPerHour, 0, mostCompiles)
	size("moduleSize", t.ModuleSize, &c.ModuleBytes, leastModule, mostModuleSize, "1Ki to 64Mi")
	number("metricSeries", t.MetricSeries, &c.MetricSeries, 0, mostSeries)
	if len(problems) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(problems, "; "))
	}
	return &c, nil
}

// totals returns what the policies of a namespace say together: the smallest
// value of each that is named, else the default.
func (n *namespacePolicy) totals() *config.Totals {
	c := config.DefaultTotals()
	c.Policies = map[string]string{}
	for _, p := range n.policies {
		t, err := totalsOf(p.Spec.Limits.Totals, c, p.Name)
		if err != nil {
			continue // a broken policy closes its namespaces
		}
		smaller(c, t, "filters", &c.Filters, t.Filters)
		smaller(c, t, "memory", &c.MemoryBytes, t.MemoryBytes)
		smaller(c, t, "cpuShare", &c.CPUPercent, t.CPUPercent)
		smaller(c, t, "compilesPerHour", &c.CompilesPerHour, t.CompilesPerHour)
		smaller(c, t, "moduleSize", &c.ModuleBytes, t.ModuleBytes)
		smaller(c, t, "metricSeries", &c.MetricSeries, t.MetricSeries)
	}
	return c
}

// smaller takes t's value of a field that t names, if no policy before named a
// smaller one.
func smaller[N int | int64](c, t *config.Totals, field string, have *N, other N) {
	if name, ok := t.Policies[field]; ok && (c.Policies[field] == "" || other < *have) {
		*have, c.Policies[field] = other, name
	}
}

// totals puts the totals of all namespaces into the config.
func (r *run) totals() {
	for name, n := range r.namespaces {
		c := n.totals()
		if len(c.Policies) == 0 {
			continue // the defaults
		}
		r.config.Totals[name] = r.t.memo.totals.get(name, digest(c), func() *config.Totals { return c })
	}
}

// total returns the totals of a namespace.
func (r *run) total(namespace string) *config.Totals {
	if t := r.config.Totals[namespace]; t != nil {
		return t
	}
	return config.DefaultTotals()
}

// share is a namespace's filters by object and kind of part: how many were
// admitted last time, and which ones this translation has admitted.
type share struct {
	last    map[string]int
	now     map[string]map[string]bool // by filter hash: ports and rules share filters
	used    int                        // sum of now
	owed    int                        // of last that are not in now
	refused map[string]*config.Fault   // parts that this translation refused
	bare    map[string]bool            // parts whose canaries it refused
}

func newShare(last map[string]int, owed int) *share {
	return &share{last: last, now: map[string]map[string]bool{}, owed: owed, refused: map[string]*config.Fault{}, bare: map[string]bool{}}
}

// need returns how many filters the namespace has if a part has these. What was
// admitted before keeps its place: what is new has what that leaves.
func (s *share) need(key string, set map[string]bool) int {
	before, seen := s.now[key]
	n := s.used - len(before) + len(set)
	if len(set) > s.last[key] {
		n += s.owed
		if !seen {
			n -= s.last[key]
		}
	}
	return n
}

func (s *share) take(key string, set map[string]bool) {
	before, seen := s.now[key]
	if !seen {
		s.owed -= s.last[key]
	}
	s.used += len(set) - len(before)
	s.now[key] = set
}

// crowded refuses a part whose filters are too many for its namespace. A canary
// that is one too many is left out.
func (r *run) crowded(at *place, filters []*config.Filter) *config.Fault {
	if at.object.Namespace == "" || len(filters) == 0 {
		return nil
	}
	s := r.t.shares[at.object.Namespace]
	if s == nil {
		s = newShare(nil, 0)
		r.t.shares[at.object.Namespace] = s
	}
	id, key, t := at.id(), at.part+" "+at.object.String(), r.total(at.object.Namespace)
	if fault := s.refused[id]; fault != nil {
		return fault // another route leads to it
	}
	before := s.now[key]
	if all := hashes(before, filters, true); !s.bare[id] && (s.need(key, all) <= t.Filters || len(all) == len(before)) {
		s.take(key, all)
		return nil
	}
	set := hashes(before, filters, false)
	need := s.need(key, set)
	if need > t.Filters && len(set) > len(before) {
		s.refused[id] = &config.Fault{Reason: "RefusedByPolicy", Message: fmt.Sprintf(
			"%s: it has %d filters, and namespace %s may have %d in all by %s: the others have %d; remove filters, or raise it",
			at.object, len(set), at.object.Namespace, t.Filters, t.Source("filters"), need-len(set))}
		return s.refused[id]
	}
	s.bare[id] = true
	for _, f := range filters {
		if c := f.Canary; c != nil && c.Filter != nil {
			f.Canary = &config.Canary{WeightPercent: c.WeightPercent, Shadow: c.Shadow, Fault: &config.Fault{Reason: "RefusedByPolicy", Message: fmt.Sprintf(
				"(%s): canary: it is one filter more, and namespace %s may have %d in all by %s; the filter itself runs for all exchanges",
				f.Name, at.object.Namespace, t.Filters, t.Source("filters"))}}
		}
	}
	s.take(key, set)
	return nil
}

// hashes returns the filters of a set and these, with their canaries or without.
func hashes(set map[string]bool, filters []*config.Filter, canaries bool) map[string]bool {
	all := maps.Clone(set)
	if all == nil {
		all = map[string]bool{}
	}
	for _, f := range filters {
		all[f.Hash] = true
		if canaries && f.Canary != nil && f.Canary.Filter != nil {
			all[f.Canary.Filter.Hash] = true
		}
	}
	return all
}

// turnShares makes this translation the last one. again is true if a part was
// refused for others that turned out to be gone: then translating once more
// finds the room.
func (t *Translator) turnShares() (again bool) {
	for name, s := range t.shares {
		again = again || len(s.refused)+len(s.bare) > 0 && s.owed > 0
		if len(s.now) == 0 {
			delete(t.shares, name)
			continue
		}
		last := map[string]int{}
		for key, set := range s.now {
			last[key] = len(set)
		}
		t.shares[name] = newShare(last, s.used)
	}
	return again
}
