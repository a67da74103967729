package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/annotation"
	"penstock.dev/penstock/k8s/api"
)

// cache makes f the response cache. No policy judges it: it is no image, and runs no
// code of its author.
func (r *run) cache(at *place, f *config.Filter, e *api.Entry) error {
	f.Plugin, f.Config, f.VMID = config.PluginCache, nil, ""
	text, err := r.configuration(at, e, e.Config)
	if err != nil {
		return err
	}
	if f.Cache, err = annotation.Cache(text); err != nil {
		return fmt.Errorf("%s", oneLine(err))
	}
	if f.Except, err = exceptions(e); err != nil {
		return err
	}
	f.Hash = digest([]any{f.Owner, at.part, f.Name, f.Plugin, f.Cache, f.Namespace})
	return nil
}

// cacheFault says what is wrong with the caches of one part; nil: nothing.
func cacheFault(at *place, filters []*config.Filter) *config.Fault {
	i := slices.IndexFunc(filters, isCache)
	if i < 0 {
		return nil
	}
	fault := func(reason, format string, args ...any) *config.Fault {
		return &config.Fault{Reason: reason, Message: fmt.Sprintf("%s: (%s): ", at.object, filters[i].Name) + fmt.Sprintf(format, args...)}
	}
	if at.noCache != "" {
		return fault("NotSupported", "%s", at.noCache)
	}
	for _, f := range filters[i+1:] {
		switch {
		case isCache(f):
			return fault("InvalidConfig", "filter %q is the cache too: keep one of them", f.Name)
		case guards(f):
			return fault("InvalidConfig", afterCache+": write the cache after it", f.ID())
		}
	}
	return nil
}

// afterCache says why no guard may come after a cache.
const afterCache = "the guard %s comes after the cache, and would not see the requests that a stored response answers"

func isCache(f *config.Filter) bool { return f.Cache != nil }

// cacheOf returns the cache of a part that has one.
func cacheOf(p *config.Part) *config.Filter { return p.Filters[slices.IndexFunc(p.Filters, isCache)] }

// guards reports whether a filter, or what runs in its place, is known to be a guard.
func guards(f *config.Filter) bool {
	return f.Guard || f.Canary != nil && f.Canary.Filter != nil && f.Canary.Filter.Guard
}

// noCache says why no cache may stand among the overrides of a policy: those of a
// Gateway's namespace run in the Gateway's part.
func (r *run) noCache(p *policy) string {
	for _, g := range r.byName {
		if slices.Contains(r.of(g.Namespace).policies, p) {
			return fmt.Sprintf("overrides of namespace %s are in the part of %s: %s, or into spec.defaults.plugins", g.Namespace, g.object, annotation.NoService)
		}
	}
	return ""
}

// cached judges the caches of a chain that leads to a Service: the last one counts,
// which is told where others are, and no guard may come after it. The part of such a
// one refuses all.
func (r *run) cached(parts []*config.Part, kind string, route metav1.Object, service *corev1.Service) []*config.Part {
	if service == nil {
		return parts
	}
	at := -1
	for i, p := range slices.Backward(parts) {
		if p == nil || !slices.ContainsFunc(p.Filters, isCache) {
			continue
		}
		if at < 0 {
			at = i
			continue
		}
		r.plain = false
		r.warn(p.Object, fieldOf(&place{part: p.Name, scope: p.Scope}), "CacheOverridden", "cache %s does not count on the way to %s: %s of %s is nearer to it",
			cacheOf(p).ID(), object("Service", service), cacheOf(parts[at]).ID(), parts[at].Object)
	}
	if at < 0 {
		return parts
	}
	for _, p := range parts[at+1:] {
		if p == nil {
			continue
		}
		if i := slices.IndexFunc(p.Filters, guards); i >= 0 {
			parts[at] = r.unguarded(parts[at], p, p.Filters[i])
			r.plain = false
			if o := parts[at].Object; o == object("Service", service) {
				r.noteChain("Service", service, parts[at:at+1])
			} else if o.Kind == kind {
				r.noteChain(kind, route, parts[at:at+1])
			}
			break
		}
	}
	return parts
}

// unguarded is a part whose cache stands before a guard of another part: it refuses
// all, and is told to both. What the part was before serves while it may, if there
// was no cache in it.
func (r *run) unguarded(p, other *config.Part, guard *config.Filter) *config.Part {
	at := place{part: p.Name, object: p.Object, scope: p.Scope}
	message := fmt.Sprintf("(%s): "+afterCache+": write the cache behind it, on the Service for one, or the guard before the cache", cacheOf(p).Name, guard.ID()+" of "+other.Object.String())
	fault := &config.Fault{Reason: "InvalidConfig", Message: p.Object.String() + ": " + message}
	r.problem(p.Object, fieldOf(&at), fault.Reason, "%s", message)
	r.warn(other.Object, fieldOf(&place{part: other.Name, scope: other.Scope}), fault.Reason, "the cache of %s comes before the guard %s: what passes both is refused", p.Object, guard.ID())
	made := &config.Part{Fault: fault}
	if old := p.Fallback; old != nil && !slices.ContainsFunc(old.Filters, isCache) {
		made.Fallback, made.FallbackUntil = old, p.FallbackUntil
	}
	return r.intern(&at, partHash(&at, nil, fault), made)
}

// caches reports whether a cache is among the filters of a chain, or among those that
// may run in their place.
func caches(c *config.Chain) bool {
	if c == nil {
		return false
	}
	return slices.ContainsFunc(c.Parts, func(p *config.Part) bool {
		return slices.ContainsFunc([]*config.Part{p, p.Fallback, p.Previous}, func(p *config.Part) bool { return p != nil && slices.ContainsFunc(p.Filters, isCache) })
	})
}

// cacheScope is the CacheScope of a Service's port.
func cacheScope(s *corev1.Service, port *corePort) string {
	return strings.Join([]string{s.Namespace, fmt.Sprintf("%s:%d", cmp.Or(string(s.UID), s.Name), port.Port)}, "/")
}
