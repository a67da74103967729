package cluster

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

// What an object ran before its text broke is known to who leads, whom proxies tell.
// A process that does not lead learns it from ChainStatuses, so that it knows when its
// turn comes.

// Ran reports whether a ChainStatus has said that all proxies run the part with this
// hash. Any goroutine may call it.
func (s *Source) Ran(hash string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ran[hash]
}

// observe notes what a ChainStatus says to run, if it speaks of what is wanted now.
func (s *Source) observe(c *api.ChainStatus) {
	if s.writer.leads.Load() {
		return // its own word
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.result != nil {
		s.note(c)
	}
}

// note is observe; s.mu is held.
func (s *Source) note(c *api.ChainStatus) {
	o := config.Object{Kind: "ChainStatus", Namespace: c.Namespace, Name: c.Name}
	want, _ := s.result.Status.Of(o).(*api.ChainStatus)
	i := s.writer.mine(c)
	if want == nil || i < 0 || !programmed(&want.Status.Controllers[0], &c.Status.Controllers[i]) {
		return
	}
	for _, hash := range s.result.ChainParts[o] {
		s.ran[hash] = true
	}
}

// observeAll is observe for all ChainStatuses; what nothing is made of any more is
// forgotten.
func (s *Source) observeAll(r *translate.Result) {
	list := s.stores.chainStatus.list()
	leads := s.writer.leads.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.result = r
	known := map[string]bool{}
	for _, hashes := range r.ChainParts {
		for _, hash := range hashes {
			known[hash] = true
		}
	}
	maps.DeleteFunc(s.ran, func(hash string, _ bool) bool { return !known[hash] })
	for _, c := range list {
		if !leads {
			s.note(c)
		}
	}
}

// programmed reports whether have says that all proxies run what is wanted.
func programmed(want, have *api.ChainController) bool {
	return want.ObservedHash == have.ObservedHash &&
		slices.ContainsFunc(have.Conditions, func(c metav1.Condition) bool {
			return c.Type == api.ConditionProgrammed && c.Status == metav1.ConditionTrue
		}) &&
		slices.EqualFunc(want.Filters, have.Filters, func(a, b api.ChainFilter) bool {
			return a.Name == b.Name && a.Hash == b.Hash && a.Image == b.Image && b.State == "Ready" && a.RolledBack == nil && b.RolledBack == nil
		})
}
