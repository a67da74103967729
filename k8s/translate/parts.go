package translate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/annotation"
	"penstock.dev/penstock/k8s/api"
)

// parsed is the result of reading one annotation text.
type parsed struct {
	entries []api.Entry
	fault   *config.Fault
	used    bool
}

// place is where a part stands: what its entries may refer to, and who judges them.
type place struct {
	part, scope string
	object      config.Object
	namespace   string // of references, and of the policy
	trusted     bool   // the policy's own entries
	keep        bool   // last good may serve
	noCache     string // why no cache may stand here; empty: it may
	declarer    *policy
}

func (p *place) id() string { return p.part + " " + p.object.String() + " " + p.scope }

// join returns the chain of these parts; nil for none.
func (r *run) join(parts []*config.Part) *config.Chain {
	parts = slices.DeleteFunc(slices.Clone(parts), func(p *config.Part) bool { return p == nil })
	if len(parts) == 0 {
		return nil
	}
	key := ""
	for _, p := range parts {
		key += fmt.Sprintf("%p ", p)
	}
	return r.t.memo.chains.get(key, key, func() *config.Chain { return &config.Chain{Parts: parts} })
}

// listenerParts is the Gateway's part of the chain, for one listener.
func (r *run) listenerParts(l *listener) []*config.Part {
	g := l.gateway
	before, after := r.overrides(nil, g.Namespace)
	scope := ""
	if len(g.own) > 1 || l.set != nil {
		scope = l.section
	}
	own := r.declared("gateway", g.object, g, func(e *api.Entry) bool {
		return len(e.Listeners) == 0 || slices.Contains(e.Listeners, l.section)
	}, scope)
	parts := append(append(before, own), after...)
	if own != nil || slices.ContainsFunc(parts, broken) {
		r.noteChain("Gateway", g, parts)
	}
	return parts
}

// routeParts is the parts after the Gateway's, outermost first; service is nil for a
// rule without one. before are the parts that its rule declares, last those of its
// backendRef.
func (r *run) routeParts(kind string, route metav1.Object, before, last []*config.Part, g *gatewayv1.Gateway, service *corev1.Service, port string) []*config.Part {
	namespaces := []string{route.GetNamespace()}
	if service != nil && service.Namespace != route.GetNamespace() {
		namespaces = append(namespaces, service.Namespace)
	}
	first, after := r.overrides(r.of(g.Namespace).policies, namespaces...)
	listed := r.declared("route", object(kind, route), route, nil, "")
	parts := append(first, listed)
	parts = append(parts, before...)
	if listed != nil || some(before) || some(last) {
		r.noteChain(kind, route, slices.Concat(parts, after, last))
	}
	if service != nil {
		own := r.ofService(service, port)
		r.rely(service, port, own)
		var defaults []*config.Part
		if _, ok := service.Annotations[api.AnnotationPlugins]; !ok && own == nil {
			defaults = r.defaults(service.Namespace)
		}
		parts = append(parts, defaults...)
		gatewayFirst, gatewayLast := r.overrides(nil, g.Namespace) // of the Gateway's part
		declared := own
		own = r.required(service, own, slices.Concat(parts, after, last, gatewayFirst, gatewayLast))
		r.plain = r.plain && own == declared
		parts = append(parts, own)
		if own != nil || len(defaults) > 0 || slices.ContainsFunc(first, broken) {
			r.noteChain("Service", service, slices.Concat(first, defaults, []*config.Part{own}, after))
		}
	}
	return r.cached(append(append(parts, after...), last...), kind, route, service)
}

// ofService is the part that a Service declares for a port.
func (r *run) ofService(s *corev1.Service, port string) *config.Part {
	return r.declared("service", object("Service", s), s, func(e *api.Entry) bool {
		return len(e.Ports) == 0 || slices.Contains(e.Ports, port)
	}, serviceScope(s, port))
}

// serviceScope is the Scope of what a Service declares for a port.
func serviceScope(s *corev1.Service, port string) string {
	if len(s.Spec.Ports) > 1 {
		return port
	}
	return ""
}

// rely notes what the route at hand depends on.
func (r *run) rely(s *corev1.Service, port string, part *config.Part) {
	if len(s.Annotations) == 0 {
		return
	}
	at := place{part: "service", object: object("Service", s), scope: serviceScope(s, port)}
	r.relied = append(r.relied, reliance{at.id(), s, port, part})
}

// broken reports whether a part refuses all.
func broken(p *config.Part) bool { return p != nil && p.Fault != nil }

// some reports whether any part is there.
func some(parts []*config.Part) bool {
	return slices.ContainsFunc(parts, func(p *config.Part) bool { return p != nil })
}

// overrides are the mandatory parts of the policies of some namespaces, but
// those that the Gateway's part has run. A broken policy is a broken part.
func (r *run) overrides(done []*policy, namespaces ...string) (before, after []*config.Part) {
	var policies []*policy
	for _, n := range namespaces {
		for _, p := range r.of(n).policies {
			if !slices.Contains(done, p) && !slices.Contains(policies, p) {
				policies = append(policies, p)
			}
		}
	}
	slices.SortFunc(policies, func(a, b *policy) int { return strings.Compare(a.Name, b.Name) })
	for _, p := range policies {
		parts, done := r.policyParts[p]
		if !done {
			parts = r.overridesOf(p)
			r.policyParts[p] = parts
		}
		before, after = append(before, parts[0]), append(after, parts[1])
	}
	return before, after
}

// overridesOf returns what a policy runs before all others, and after them.
func (r *run) overridesOf(p *policy) [2]*config.Part {
	at := place{part: "policy", object: p.object, scope: config.ScopeBefore, namespace: r.t.o.InstallNamespace, trusted: true, keep: true, declarer: p}
	if p.fault != nil {
		return [2]*config.Part{r.part(&at, nil, p.fault)}
	}
	at.noCache = r.noCache(p)
	behind := at
	behind.scope = "after"
	return [2]*config.Part{r.partOf(&at, p.before), r.partOf(&behind, p.after)}
}

// defaults are what the policies of a namespace give its Services that have no
// list of their own; a broken policy is a broken part already.
func (r *run) defaults(namespace string) []*config.Part {
	var parts []*config.Part
	for _, p := range r.of(namespace).policies {
		if len(p.defaults) == 0 || p.fault != nil {
			continue
		}
		at := place{part: "policy", object: p.object, scope: scopeDefaults, namespace: r.t.o.InstallNamespace, trusted: true, keep: true, declarer: p}
		parts = append(parts, r.part(&at, p.defaults, nil))
	}
	return parts
}

// scopeDefaults is the Scope of the part that a policy gives Services.
const scopeDefaults = "defaults"

func (r *run) partOf(at *place, entries []api.Entry) *config.Part {
	if len(entries) == 0 {
		return nil
	}
	return r.part(at, entries, nil)
}

// declared is the part that an object's annotation declares; take chooses the
// entries for this port or listener. The scope does not depend on the text, so
// that a text that cannot be read finds what the one before it was.
func (r *run) declared(name string, o config.Object, meta metav1.Object, take func(*api.Entry) bool, scope string) *config.Part {
	at := place{part: name, object: o, scope: scope, namespace: o.Namespace, keep: true}
	if name == "gateway" {
		at.noCache = annotation.NoService
	}
	if m := r.made[at.id()]; r.changing && m.part != nil {
		return m.part
	}
	switch on, ok := meta.GetAnnotations()[api.AnnotationOnInvalid]; {
	case ok && on == "reject":
		at.keep = false
	case ok && on != "keep":
		r.warn(o, "metadata.annotations", "InvalidAnnotation", "%s: %q is neither keep nor reject: it counts as reject", api.AnnotationOnInvalid, on)
		at.keep = false
	}
	for _, key := range sortedNames(meta.GetAnnotations()) {
		if !knownAnnotation(key) {
			fault := &config.Fault{Reason: "InvalidAnnotation", Message: fmt.Sprintf("%s: unknown annotation %q: known are %s and %s", o, key, api.AnnotationPlugins, api.AnnotationOnInvalid)}
			return r.part(&at, nil, fault)
		}
	}
	text, ok := meta.GetAnnotations()[api.AnnotationPlugins]
	if !ok {
		return nil
	}
	p := r.parse(text, o.Kind)
	if p.fault != nil {
		fault := *p.fault
		fault.Message = o.String() + ": " + fault.Message
		return r.part(&at, nil, &fault)
	}
	entries := p.entries
	if take != nil && slices.ContainsFunc(entries, func(e api.Entry) bool { return len(e.Ports)+len(e.Listeners) > 0 }) {
		entries = slices.DeleteFunc(slices.Clone(entries), func(e api.Entry) bool { return !take(&e) })
	}
	return r.partOf(&at, entries)
}

func knownAnnotation(key string) bool {
	name, ours := strings.CutPrefix(key, "penstock.dev/")
	if !ours {
		return true
	}
	switch name {
	case "plugins", "on-invalid", "mesh", "mesh-exclude-ports", "mesh-exclude-cidrs":
		return true
	}
	return false
}

func sortedNames(m map[string]string) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// parse reads an annotation; a text is read once.
func (r *run) parse(text, kind string) parsed {
	key := kind + "\n" + text
	p, ok := r.t.texts[key]
	if !ok {
		entries, err := annotation.Parse(text, kind)
		p.entries = entries
		if err != nil {
			p.fault = &config.Fault{Reason: annotation.Reason(err), Message: api.AnnotationPlugins + ": " + oneLine(err)}
		}
	}
	p.used = true
	r.t.texts[key] = p
	return p
}

// part resolves entries, or takes the fault that kept them from being read,
// and looks for a last good form.
func (r *run) part(at *place, entries []api.Entry, fault *config.Fault) *config.Part {
	id := at.id()
	m, ok := r.made[id]
	if r.changing { // no part is another one
		if !ok { // what is made without it is good for nothing
			r.beyond, r.plain = true, false
		}
		return m.part
	}
	if ok && m.current == r.current {
		return m.part // the next of many routes that lead to it
	}
	p := r.kept(at, entries, fault)
	if p == nil {
		p = r.keep(at, entries, fault)
	}
	r.made[id] = madePart{p, r.current}
	return p
}

func (r *run) makePart(at *place, entries []api.Entry, fault *config.Fault) *config.Part {
	var filters []*config.Filter
	if fault == nil {
		filters, fault = r.resolve(at, entries)
	}
	if fault == nil {
		if fault = r.crowded(at, filters); fault != nil {
			filters = nil
		}
	}
	for _, f := range filters {
		if f.Canary != nil && f.Canary.Fault != nil {
			r.problem(at.object, fieldOf(at), f.Canary.Fault.Reason, "%s", f.Canary.Fault.Message)
		}
	}
	hash := partHash(at, filters, fault)
	fallback, until := r.lastGood(at, entries, hash, fault)
	previous, previousUntil := r.previous(at, hash, fault)
	p := &config.Part{Filters: filters, Fault: fault, Fallback: fallback, FallbackUntil: until, Previous: previous, PreviousUntil: previousUntil}
	if r.goBack(at, p) {
		hash = partHash(at, p.Filters, p.PreviousFault)
	}
	for _, f := range []*config.Fault{fault, p.PreviousFault} {
		if f != nil {
			r.problem(at.object, fieldOf(at), f.Reason, "%s", strings.TrimPrefix(f.Message, at.object.String()+": "))
		}
	}
	return r.intern(at, hash, p)
}

func fieldOf(at *place) string {
	switch at.part {
	case config.PartConsumer:
		return "spec.plugins"
	case "policy":
		if at.scope == scopeDefaults {
			return "spec.defaults.plugins"
		}
		return "spec.overrides"
	case config.PartRule:
		if i := strings.Split(at.scope, "."); len(i) == 2 {
			return fmt.Sprintf("spec.rules[%s].filters[%s]", i[0], i[1])
		}
	case config.PartBackend:
		if i := strings.Split(at.scope, "."); len(i) == 3 {
			return fmt.Sprintf("spec.rules[%s].backendRefs[%s].filters[%s]", i[0], i[1], i[2])
		}
	}
	return "metadata.annotations"
}

func partHash(at *place, filters []*config.Filter, fault *config.Fault) string {
	key := []string{at.id()}
	for _, f := range filters {
		key = append(key, f.Hash, f.Name, digest(f.Except), fmt.Sprint(f.OnError), digest(f.PullSecrets), f.Declaration, f.RolledBack)
		if c := f.Canary; c != nil {
			key = append(key, digest([]any{c.WeightPercent, c.Shadow, c.Fault}))
			if c.Filter != nil {
				key = append(key, c.Filter.Hash, digest(c.Filter.PullSecrets))
			}
		}
	}
	if fault != nil {
		key = append(key, fault.Reason, fault.Message)
	}
	return digest(key)
}

// intern returns the part with this content; one that is equal keeps its pointer.
func (r *run) intern(at *place, hash string, p *config.Part) *config.Part {
	key := partKey(at, hash, p)
	return r.t.memo.parts.get(key, key, func() *config.Part {
		p.Name, p.Object, p.Scope, p.Hash = at.part, at.object, at.scope, hash
		return p
	})
}

func partKey(at *place, hash string, p *config.Part) string {
	told := slices.ContainsFunc(p.Filters, func(f *config.Filter) bool { return f.Entry != nil })
	return fmt.Sprintf("%s %s %p %d %p %d %v", at.id(), hash, p.Fallback, p.FallbackUntil.UnixNano(), p.Previous, p.PreviousUntil.UnixNano(), told)
}
