package translate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/annotation"
	"penstock.dev/penstock/k8s/api"
)

// A guard that only its image's manifest makes one is known here where a text must not
// lose it, by what is stored (Options.GuardImage); the plugin manager looks at the
// manifest of each image that is loaded.

// guards returns the names in the catalogue of all known guards, with the
// repositories that they come from.
func (r *run) guards() map[string][]string {
	if r.known != nil {
		return r.known
	}
	r.known = map[string][]string{}
	for _, b := range r.t.o.Bundled {
		if b.Guard && r.plugins[b.Name] == nil {
			r.known[b.Name] = []string{repository(b.Image)}
		}
	}
	for name, p := range r.plugins {
		if name == annotation.UseCache { // nothing runs it
			continue
		}
		if !p.Spec.Guard && !slices.Contains(p.Spec.Capabilities, capabilityConsumer) {
			continue
		}
		r.known[name] = []string{}
		for _, v := range p.Spec.Versions {
			r.known[name] = append(r.known[name], repository(v.Image))
		}
	}
	return r.known
}

// repository returns an image reference without tag and digest.
func repository(image string) string {
	name, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name
}

// guardImage reports whether an image is that of a known guard.
func (r *run) guardImage(image string) bool {
	for _, repositories := range r.guards() {
		if slices.Contains(repositories, repository(image)) {
			return true
		}
	}
	return false
}

// lacksGuard reports whether entries name a known guard that old does not run.
// It looks at the entries, for one of them may be what cannot be resolved.
func (r *run) lacksGuard(at *place, entries []api.Entry, old []*config.Filter) bool {
	for i := range entries {
		e := &entries[i]
		switch {
		case e.Chain != "":
			if c := r.chains[at.namespace+"/"+e.Chain]; c != nil {
				if inner, err := annotation.Check(c.Entries(), "PluginChain"); err == nil && r.lacksGuard(at, withoutChains(inner), old) {
					return true
				}
			}
		case e.Use != "":
			name, _, _ := strings.Cut(e.Use, "@")
			repositories, ok := r.guards()[name]
			if f := new(config.Filter); !ok {
				if _, err := r.catalogue(f, e.Use); err == nil && r.t.o.GuardImage(f.Image) {
					repositories, ok = []string{repository(f.Image)}, true
				}
			}
			if ok && !runsOne(old, repositories) {
				return true
			}
		case (r.guardImage(e.Image) || r.t.o.GuardImage(e.Image)) && !runsOne(old, []string{repository(e.Image)}):
			return true
		}
	}
	return false
}

func withoutChains(entries []api.Entry) []api.Entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e api.Entry) bool { return e.Chain != "" })
}

func runsOne(filters []*config.Filter, repositories []string) bool {
	return slices.ContainsFunc(filters, func(f *config.Filter) bool { return slices.Contains(repositories, repository(f.Image)) })
}

// required refuses a Service without the guards that its policies want. Last
// good must have them too. A fault of the Service's own comes first, unless
// last good would stand in for it.
func (r *run) required(s *corev1.Service, own *config.Part, others []*config.Part) *config.Part {
	if own != nil && own.Fault != nil && own.Fallback == nil {
		return own
	}
	for _, p := range r.of(s.Namespace).policies {
		for _, name := range p.Spec.Require {
			if slices.ContainsFunc(others, func(o *config.Part) bool { return r.has(o, name) }) {
				continue
			}
			serving, fallback := own, own
			if own != nil && own.Fault != nil {
				serving = own.Fallback
			}
			if own != nil && own.Fallback != nil {
				fallback = own.Fallback
			}
			if r.has(serving, name) && r.has(fallback, name) {
				continue
			}
			if r.has(serving, name) { // only last good lacks it
				at := place{part: own.Name, object: own.Object, scope: own.Scope}
				own = r.intern(&at, own.Hash, &config.Part{Filters: own.Filters, Fault: own.Fault, FallbackUntil: own.FallbackUntil, Previous: own.Previous, PreviousUntil: own.PreviousUntil, PreviousFault: own.PreviousFault})
				continue
			}
			at := place{part: "service", object: object("Service", s), namespace: s.Namespace}
			if own != nil {
				at.scope = own.Scope
			}
			fault := &config.Fault{Reason: "GuardMissing", Message: fmt.Sprintf("%s: PluginPolicy %s requires the guard %q: add \"- use: %s\"", at.object, p.Name, name, name)}
			r.problem(at.object, fieldOf(&at), fault.Reason, "%s", strings.TrimPrefix(fault.Message, at.object.String()+": "))
			return r.intern(&at, partHash(&at, nil, fault), &config.Part{Fault: fault})
		}
	}
	return own
}

// has reports whether a part runs the guard of that name in the catalogue; in
// a policy's own list the entry's name counts. An entry of that name which runs
// something else is no guard.
func (r *run) has(p *config.Part, name string) bool {
	return p != nil && slices.ContainsFunc(p.Filters, func(f *config.Filter) bool {
		if f.Cache != nil {
			return false
		}
		if p.Name == "policy" && f.Name == name {
			return true
		}
		known := r.guards()[name]
		if c := f.Canary; c != nil && c.Filter != nil && !c.Shadow && !slices.Contains(known, repository(c.Filter.Image)) {
			return false // some exchanges would pass something else
		}
		return slices.Contains(known, repository(f.Image))
	})
}
