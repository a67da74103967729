package translate

import (
	"fmt"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
)

// route returns a route as one Gateway serves it.
func (r *run) route(f *httpRoute, g *gatewayv1.Gateway) *config.Route {
	s := f.at(object("Gateway", g))
	if s.run == r.t.run {
		return s.config
	}
	s.run = r.t.run
	if s.plain && s.epoch == r.t.inputs.epoch && s.parameters == r.current && r.identity == nil && r.sameServices(s) && r.sameParts(s) {
		for i := range s.upstreams {
			r.restore(&s.upstreams[i])
		}
		r.problems = append(r.problems, s.problems...)
		return s.config
	}
	mark := len(r.problems)
	r.plain, r.simple, r.used, r.relied = r.identity == nil, r.identity == nil, nil, nil
	key := f.version
	rules := make([]*ruleParts, len(f.rules))
	for i := range f.rules {
		rules[i] = r.ruleParts(f, g, i)
		simple := rules[i].simple()
		r.plain, r.simple = r.plain && simple, r.simple && simple
		key += rules[i].key
	}
	if s.config == nil || s.key != key {
		f.compile(s, key, rules)
	}
	r.problems = append(r.problems, f.problems...)
	s.plain, s.simple, s.epoch, s.parameters, s.upstreams, s.relied, s.problems = r.plain, r.simple, r.t.inputs.epoch, r.current, r.used, r.relied, nil
	if s.plain {
		for _, p := range r.problems[mark:] {
			if p.Object == f.object {
				s.problems = append(s.problems, p)
			}
		}
	}
	return s.config
}

// sameServices reports whether the Services of a plain route are what they were.
func (r *run) sameServices(s *served) bool {
	return !slices.ContainsFunc(s.upstreams, func(u usedUpstream) bool { return r.services[u.serviceName] != u.service })
}

// sameParts reports whether the filters that the Services of a plain route declare are
// what they were.
func (r *run) sameParts(s *served) bool {
	for i := range s.relied {
		on := &s.relied[i]
		m, ok := r.made[on.id]
		if !ok || m.current != r.current {
			m.part = r.ofService(on.service, on.port)
		}
		if m.part != on.part {
			return false
		}
	}
	for i := range s.relied {
		if on := &s.relied[i]; on.part != nil {
			r.noteChain("Service", on.service, []*config.Part{on.part})
		}
	}
	return true
}

// compile makes the route; rules that did not change keep their pointers.
func (f *httpRoute) compile(s *served, key string, rules []*ruleParts) {
	before, keys := s.config, s.rules
	s.config, s.key, s.rules = &config.Route{Object: f.object, Created: f.GetCreationTimestamp().Time}, key, nil
	for i := range f.rules {
		ruleKey := f.rules[i].hash + rules[i].key
		s.rules = append(s.rules, ruleKey)
		if i < len(keys) && keys[i] == ruleKey {
			s.config.Rules = append(s.config.Rules, before.Rules[i])
		} else {
			s.config.Rules = append(s.config.Rules, f.rule(i, rules[i]))
		}
	}
}

// simple reports whether a rule has no filters but those that its Services declare.
func (p *ruleParts) simple() bool {
	return p.chain == nil && !slices.ContainsFunc(p.backends, func(b config.Backend) bool {
		return b.Chain != nil && slices.ContainsFunc(b.Chain.Parts, func(p *config.Part) bool { return p.Name != "service" })
	})
}

// ruleParts is what a rule depends on outside of its own object.
type ruleParts struct {
	backends []config.Backend
	steps    []config.Step
	chain    *config.Chain
	broken   bool // it names a PluginChain that there is not
	key      string
}

func (r *run) ruleParts(f *httpRoute, g *gatewayv1.Gateway, i int) *ruleParts {
	rule := &f.rules[i]
	field := fmt.Sprintf("spec.rules[%d]", i)
	p := &ruleParts{}
	parts, ok := r.extensions(f, &rule.filters, config.PartRule, field, fmt.Sprint(i))
	p.broken = !ok || rule.filters.broken
	p.steps = r.steps(f, &rule.filters, field)
	p.chain = r.join(r.routeParts(f.kind, f.Object, parts, nil, g, nil, ""))
	p.key = fmt.Sprintf(" %p %v%s", p.chain, p.broken, stepsKey(p.steps))
	for j := range rule.backends {
		b := r.backend(f, g, i, j, parts)
		p.backends = append(p.backends, b)
		p.key += fmt.Sprintf(" %s %d %p %s%s", b.Upstream, b.Status, b.Chain, b.CacheScope, stepsKey(b.Steps))
	}
	p.key += ";"
	return p
}

// steps returns the steps with what their mirrors copy to. A mirror whose backendRef
// is invalid is dropped (Gateway API).
func (r *run) steps(f *httpRoute, list *filterList, field string) []config.Step {
	if len(list.mirrors) == 0 {
		return list.steps
	}
	steps := slices.Clone(list.steps)
	for _, m := range slices.Backward(list.mirrors) {
		at := fmt.Sprintf("%s.filters[%d].requestMirror.backendRef", field, m.filter)
		service, port := r.serviceOf(f, &m.BackendObjectReference, at)
		if service == nil {
			r.plain = false // until there is one
			steps = slices.Delete(steps, m.step, m.step+1)
			continue
		}
		made := *steps[m.step].Mirror
		made.Service, made.Upstream = service.Namespace+"/"+service.Name, r.upstream(service, port, f.grpc())
		steps[m.step].Mirror = &made
	}
	return steps
}

// stepsKey tells steps apart whose text is the same.
func stepsKey(steps []config.Step) (key string) {
	for _, s := range steps {
		if s.Mirror != nil {
			key += " " + s.Mirror.Upstream
		}
	}
	return key
}

// backend resolves a backendRef; an invalid one answers an error for its weight.
func (r *run) backend(f *httpRoute, g *gatewayv1.Gateway, i, j int, before []*config.Part) config.Backend {
	ref := &f.rules[i].backends[j]
	field := fmt.Sprintf("spec.rules[%d].backendRefs[%d]", i, j)
	b := config.Backend{Weight: ref.weight, Status: f.refusal(), Service: cmpOr(value(ref.Namespace), f.object.Namespace) + "/" + string(ref.Name)}
	own, ok := r.extensions(f, &ref.filters, config.PartBackend, field, fmt.Sprintf("%d.%d", i, j))
	service, port := r.serviceOf(f, &ref.BackendObjectReference, field)
	r.plain = r.plain && service != nil // else until there is one
	if ref.filters.broken || !ok {
		b.Status = 500
		return b
	}
	if service == nil {
		return b
	}
	b.Steps, b.Redirect = r.steps(f, &ref.filters, field), ref.filters.redirect
	b.Upstream, b.Status = r.upstream(service, port, f.grpc()), 0
	b.Chain = r.join(r.routeParts(f.kind, f.Object, before, own, g, service, port.Name))
	if caches(b.Chain) {
		b.CacheScope = cacheScope(service, port)
	}
	return b
}

// refusal is the status of a request that has nowhere to go.
func (f *httpRoute) refusal() int {
	if f.grpc() {
		return 503 // UNAVAILABLE
	}
	return 500
}

// serviceOf returns the Service and its port that a reference names; nil if it names
// none, which is told.
func (r *run) serviceOf(f *httpRoute, ref *gatewayv1.BackendObjectReference, field string) (*corev1.Service, *corePort) {
	o, namespace := f.object, cmpOr(value(ref.Namespace), f.object.Namespace)
	switch {
	case ref.Kind != nil && *ref.Kind != "Service" || ref.Group != nil && *ref.Group != "":
		r.problem(o, field+".kind", string(gatewayv1.RouteReasonInvalidKind), "%s is not known here: want a Service", value(ref.Kind))
		return nil, nil
	case namespace != o.Namespace && !r.granted(f.kind, o.Namespace, "Service", namespace, string(ref.Name)):
		r.problem(o, field, string(gatewayv1.RouteReasonRefNotPermitted), "a Service of namespace %s needs a ReferenceGrant there", namespace)
		return nil, nil
	}
	name := namespace + "/" + string(ref.Name)
	service := r.services[name]
	if service == nil {
		r.problem(o, field+".name", string(gatewayv1.RouteReasonBackendNotFound), "there is no Service %s", name)
		return nil, nil
	}
	if ref.Port == nil {
		r.problem(o, field+".port", string(gatewayv1.RouteReasonBackendNotFound), "missing: a Service needs its port")
		return nil, nil
	}
	i := slices.IndexFunc(service.Spec.Ports, func(p corePort) bool { return p.Port == *ref.Port && p.Protocol != "UDP" })
	if i < 0 {
		r.problem(o, field+".port", string(gatewayv1.RouteReasonBackendNotFound), "Service %s has no port %d", name, *ref.Port)
		return nil, nil
	}
	port := &service.Spec.Ports[i]
	if f.grpc() && (appProtocol(port) == "kubernetes.io/ws" || appProtocol(port) == "kubernetes.io/wss") {
		r.problem(o, field+".port", string(gatewayv1.RouteReasonUnsupportedProtocol), "port %d of Service %s says appProtocol %s, which carries no gRPC", *ref.Port, name, *port.AppProtocol)
		return nil, nil
	}
	return service, port
}

// granted reports whether a ReferenceGrant lets objects of Gateway API of one
// namespace refer to a core object of another.
func (r *run) granted(fromKind, from, toKind, to, name string) bool {
	for _, g := range r.o.ReferenceGrants {
		if g.Namespace != to {
			continue
		}
		fromOK, toOK := false, false
		for _, f := range g.Spec.From {
			fromOK = fromOK || f.Group == gatewayv1.GroupName && string(f.Kind) == fromKind && string(f.Namespace) == from
		}
		for _, t := range g.Spec.To {
			toOK = toOK || t.Group == "" && string(t.Kind) == toKind && (t.Name == nil || string(*t.Name) == name)
		}
		if fromOK && toOK {
			return true
		}
	}
	return false
}

// rule builds a rule; what is wrong with it is told already.
func (f *httpRoute) rule(i int, p *ruleParts) *config.Rule {
	h := &f.rules[i]
	c := &config.Rule{
		Name: ruleName(f.object, h.name, i), Matches: h.matches, Steps: p.steps, Redirect: h.filters.redirect,
		Timeout: h.timeout, BackendTimeout: h.backendTimeout, Retry: h.retry, Session: h.session, Backends: p.backends, Chain: p.chain,
	}
	switch {
	case p.broken: // an unknown filter: Gateway API wants an error of HTTP
		c.Status, c.Backends, c.Redirect, c.Steps = 500, nil, nil, nil
	case c.Redirect != nil:
		c.Backends = nil
	case !slices.ContainsFunc(c.Backends, func(b config.Backend) bool { return b.Weight > 0 }):
		c.Status, c.Backends = f.refusal(), nil
	}
	if len(c.Matches) == 0 { // all were invalid: it matches nothing
		c.Matches = []config.Match{{PathType: config.PathRegex, Regex: regexp.MustCompile(`[^\s\S]`)}}
	}
	return c
}
