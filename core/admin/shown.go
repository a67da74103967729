package admin

import (
	"slices"
	"strings"

	"penstock.dev/penstock/core/config"
)

const redacted = "(redacted)"

// shown makes copies of a config for people: without any plugin's config, the
// values of environment variables, and logins.
type shown struct {
	// namespace is whose objects are shown, as far as they declare it; empty: all.
	namespace string
	// values of fields and parameters that routes set and compare are shown: they may
	// be logins. Who is on this machine may see them.
	values bool
}

// config returns what may be shown of c.
func (s shown) config(c *config.Config) *config.Config {
	out := &config.Config{Upstreams: c.Upstreams, Endpoints: c.Endpoints, Totals: c.Totals, Forbidden: c.Forbidden, ConsumerGrants: c.ConsumerGrants}
	out.Consumers = s.consumers(c.Consumers)
	if s.namespace != "" {
		s.services(c, out)
	}
	for _, g := range c.Gateways {
		if made := s.gateway(g); made != nil {
			out.Gateways = append(out.Gateways, made)
		}
	}
	return out
}

// has reports whether an object of this namespace is shown.
func (s shown) has(namespace string) bool { return s.namespace == "" || s.namespace == namespace }

// services shows what is of the namespace's Services: no Gateway's parameters, nor
// its certificate for upstreams.
func (s shown) services(c, out *config.Config) {
	out.ConsumerGrants = s.grants(c.ConsumerGrants)
	out.Upstreams, out.Totals = map[string]*config.Upstream{}, map[string]*config.Totals{}
	endpoints := map[string]*config.EndpointSet{}
	for name, u := range c.Upstreams {
		if !strings.HasPrefix(name, s.namespace+"/") {
			continue
		}
		made := config.Upstream{Name: s.upstream(name), Protocol: u.Protocol}
		if u.TLS != nil {
			secured := *u.TLS
			secured.Certificate = nil
			made.TLS = &secured
		}
		out.Upstreams[made.Name] = &made
		if e := c.Endpoints.Of(name); e != nil {
			endpoints[made.Name] = e
		}
	}
	out.Endpoints = config.OverlayOf(endpoints)
	if t := c.Totals[s.namespace]; t != nil {
		out.Totals[s.namespace] = t
	}
}

// grants shows who may use the namespace's Consumers.
func (s shown) grants(all *config.ConsumerGrants) *config.ConsumerGrants {
	if all == nil {
		return nil
	}
	own := &config.ConsumerGrants{}
	for _, g := range all.List {
		if g.Namespace == s.namespace {
			own.List = append(own.List, g)
		}
	}
	return own
}

// consumers shows who there is and what types of credentials each has: these themselves
// are never written.
func (s shown) consumers(all config.Overlay[string, *config.Consumer]) config.Overlay[string, *config.Consumer] {
	own := map[string]*config.Consumer{}
	for key, c := range all.All() {
		if !s.has(c.Namespace) {
			continue
		}
		if own[key] = c; c.Chain != nil {
			made := *c
			made.Chain = s.chain(c.Chain)
			own[key] = &made
		}
	}
	return config.OverlayOf(own)
}

// upstream is an upstream's name; in one namespace without the Gateway that has
// connections of its own to it.
func (s shown) upstream(name string) string {
	if s.namespace != "" {
		name, _, _ = strings.Cut(name, "@")
	}
	return name
}

// gateway shows a Gateway, of somebody else's only its name and the listeners that
// take the namespace's routes; nil: nothing.
func (s shown) gateway(g *config.Gateway) *config.Gateway {
	made := &config.Gateway{Object: g.Object}
	if s.namespace == "" {
		made.Parameters = g.Parameters // in one namespace they may be the GatewayClass'
	}
	for _, l := range g.Listeners {
		if one := s.listener(g, l); one != nil {
			made.Listeners = append(made.Listeners, one)
		}
	}
	if !s.has(g.Object.Namespace) && len(made.Listeners) == 0 {
		return nil
	}
	return made
}

func (s shown) listener(g *config.Gateway, l *config.Listener) *config.Listener {
	declared := g.Object.Namespace
	if set, _, ok := strings.Cut(l.Name, "/"); ok { // namespace/set/name of a ListenerSet's
		declared = set
	}
	made := &config.Listener{Name: l.Name, Protocol: l.Protocol}
	if s.has(declared) {
		copied := *l
		made = &copied
	}
	made.Chain = s.chain(l.Chain)
	made.Routes, made.RawRoutes = s.routes(l.Routes), s.rawRoutes(l.RawRoutes)
	none := (made.Routes == nil || len(made.Routes.Entries) == 0) && (made.RawRoutes == nil || len(made.RawRoutes.Entries) == 0)
	if !s.has(declared) && none {
		return nil
	}
	return made
}

func (s shown) routes(t *config.RouteTable) *config.RouteTable {
	if t == nil {
		return nil
	}
	out := &config.RouteTable{}
	for _, e := range t.Entries {
		if !s.has(e.Route.Object.Namespace) {
			continue
		}
		route := *e.Route
		route.Rules = nil
		for _, r := range e.Route.Rules {
			route.Rules = append(route.Rules, s.rule(r))
		}
		out.Entries = append(out.Entries, &config.RouteEntry{Hostnames: e.Hostnames, Route: &route})
	}
	return out
}

func (s shown) rule(r *config.Rule) *config.Rule {
	rule := *r
	rule.Chain, rule.Backends, rule.Steps = s.chain(r.Chain), s.backends(r.Backends), s.steps(r.Steps)
	if !s.values {
		rule.Matches = slices.Clone(r.Matches)
		for i := range rule.Matches {
			m := &rule.Matches[i]
			m.Headers, m.Query = hideMatches(m.Headers), hideMatches(m.Query)
		}
	}
	return &rule
}

func (s shown) rawRoutes(t *config.RawTable) *config.RawTable {
	if t == nil {
		return nil
	}
	out := &config.RawTable{}
	for _, e := range t.Entries {
		if !s.has(e.Route.Object.Namespace) {
			continue
		}
		route := *e.Route
		route.Backends = s.backends(e.Route.Backends)
		out.Entries = append(out.Entries, config.RawEntry{Hostnames: e.Hostnames, Route: &route})
	}
	return out
}

func (s shown) backends(list []config.Backend) []config.Backend {
	var out []config.Backend
	for _, b := range list {
		b.Chain, b.Steps, b.Upstream = s.chain(b.Chain), s.steps(b.Steps), s.upstream(b.Upstream)
		out = append(out, b)
	}
	return out
}

func (s shown) steps(list []config.Step) []config.Step {
	var out []config.Step
	for _, step := range list {
		if !s.values {
			step.Request, step.Response = hideModifier(step.Request), hideModifier(step.Response)
		}
		if step.Mirror != nil {
			mirror := *step.Mirror
			mirror.Upstream = s.upstream(mirror.Upstream)
			step.Mirror = &mirror
		}
		out = append(out, step)
	}
	return out
}

func hideMatches(list []config.ValueMatch) []config.ValueMatch {
	var out []config.ValueMatch
	for _, m := range list {
		out = append(out, config.ValueMatch{Name: m.Name, Value: redacted})
	}
	return out
}

func hideModifier(m *config.HeaderModifier) *config.HeaderModifier {
	if m == nil {
		return nil
	}
	hide := func(list []config.HeaderValue) []config.HeaderValue {
		var out []config.HeaderValue
		for _, v := range list {
			out = append(out, config.HeaderValue{Name: v.Name, Value: redacted})
		}
		return out
	}
	return &config.HeaderModifier{Set: hide(m.Set), Add: hide(m.Add), Remove: m.Remove}
}

// chain shows the parts that objects of the namespace declare.
func (s shown) chain(in *config.Chain) *config.Chain {
	if in == nil {
		return nil
	}
	var out config.Chain
	for _, p := range in.Parts {
		if s.has(p.Object.Namespace) {
			out.Parts = append(out.Parts, s.part(p))
		}
	}
	return &out
}

func (s shown) part(p *config.Part) *config.Part {
	if p == nil {
		return nil
	}
	made := *p
	made.Fallback, made.Previous, made.Filters = s.part(p.Fallback), s.part(p.Previous), nil
	for _, f := range p.Filters {
		made.Filters = append(made.Filters, s.filter(f))
	}
	return &made
}

func (s shown) filter(f *config.Filter) *config.Filter {
	made := *f
	made.Config, made.VMConfig, made.Env, made.PullSecrets = nil, nil, nil, nil
	for _, e := range f.Env {
		made.Env = append(made.Env, config.EnvVar{Name: e.Name, Value: redacted})
	}
	if s.namespace != "" { // what policies and Gateways say is not the namespace's
		made.Trust, made.DeniedDigests, made.ModuleSource, made.Redis = nil, nil, "", nil
	}
	if f.Canary != nil {
		canary := *f.Canary
		if canary.Filter != nil {
			canary.Filter = s.filter(canary.Filter)
		}
		made.Canary = &canary
	}
	return &made
}
