package translate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
)

// route returns a HTTPRoute as one Gateway serves it.
func (r *run) route(route *gatewayv1.HTTPRoute, g *gatewayv1.Gateway) *config.Route {
	id := g.Namespace + "/" + g.Name + " " + route.Namespace + "/" + route.Name
	if done := r.routes[id]; done != nil {
		return done
	}
	o := object("HTTPRoute", route)
	key := version(route)
	rules := make([]*ruleParts, len(route.Spec.Rules))
	for i := range route.Spec.Rules {
		rules[i] = r.ruleParts(route, g, i)
		key += rules[i].key
	}
	c := r.t.memo.routes.get(id, key, func() *config.Route {
		c := &config.Route{Object: o, Created: route.CreationTimestamp.Time}
		for i := range route.Spec.Rules {
			rule := &route.Spec.Rules[i]
			c.Rules = append(c.Rules, r.t.memo.rules.get(fmt.Sprint(id, " ", i), digest(rule)+rules[i].key, func() *config.Rule {
				return r.rule(o, rule, i, rules[i])
			}))
		}
		return c
	})
	r.routes[id] = c
	if c.Rules != nil { // keep the rules of a route that did not change
		for i := range route.Spec.Rules {
			r.t.memo.rules.keep(fmt.Sprint(id, " ", i))
		}
	}
	r.tellRoute(o, route)
	return c
}

// ruleParts is what a rule depends on outside of its own object.
type ruleParts struct {
	backends []config.Backend
	chain    *config.Chain
	broken   bool // it names a PluginChain that there is not
	key      string
}

func (r *run) ruleParts(route *gatewayv1.HTTPRoute, g *gatewayv1.Gateway, i int) *ruleParts {
	rule := &route.Spec.Rules[i]
	p := &ruleParts{}
	for j := range rule.BackendRefs {
		b := r.backend(route, g, i, j)
		p.backends = append(p.backends, b)
		p.key += fmt.Sprintf(" %s %d %p", b.Upstream, b.Status, b.Chain)
	}
	p.chain = r.join(r.chainParts(route, g, i, nil, ""))
	p.broken = r.unresolved(route, i)
	p.key += fmt.Sprintf(" %p %v;", p.chain, p.broken)
	return p
}

// backend resolves a backendRef; an invalid one answers 500 for its weight.
func (r *run) backend(route *gatewayv1.HTTPRoute, g *gatewayv1.Gateway, i, j int) config.Backend {
	ref := &route.Spec.Rules[i].BackendRefs[j]
	o, field := object("HTTPRoute", route), fmt.Sprintf("spec.rules[%d].backendRefs[%d]", i, j)
	b := config.Backend{Weight: r.weight(o, field, ref.Weight)}
	namespace := route.Namespace
	if ref.Namespace != nil {
		namespace = string(*ref.Namespace)
	}
	b.Service = namespace + "/" + string(ref.Name)
	b.Status = 500
	filters, ok := r.builtin(o, field, ref.Filters, true)
	b.Request, b.Response = filters.request, filters.response
	switch {
	case !ok:
		return b
	case ref.Kind != nil && *ref.Kind != "Service" || ref.Group != nil && *ref.Group != "":
		r.problem(o, field+".kind", "InvalidKind", "want a Service")
		return b
	case namespace != route.Namespace && !r.granted("HTTPRoute", route.Namespace, "Service", namespace, string(ref.Name)):
		r.problem(o, field, "RefNotPermitted", "a Service of namespace %s needs a ReferenceGrant there", namespace)
		return b
	}
	service := r.services[b.Service]
	if service == nil {
		r.problem(o, field+".name", "BackendNotFound", "there is no Service %s", b.Service)
		return b
	}
	if ref.Port == nil {
		r.problem(o, field+".port", "Invalid", "missing: a Service needs its port")
		return b
	}
	port := slices.IndexFunc(service.Spec.Ports, func(p corePort) bool { return p.Port == *ref.Port && p.Protocol != "UDP" })
	if port < 0 {
		r.problem(o, field+".port", "BackendNotFound", "Service %s has no port %d", b.Service, *ref.Port)
		return b
	}
	b.Upstream, b.Status = r.upstream(service, &service.Spec.Ports[port]), 0
	b.Chain = r.join(r.chainParts(route, g, i, service, service.Spec.Ports[port].Name))
	return b
}

// weight reads a backendRef's; one that is wrong is none.
func (r *run) weight(o config.Object, field string, weight *int32) int {
	switch {
	case weight == nil:
		return 1
	case *weight < 0 || *weight > 1_000_000:
		r.problem(o, field+".weight", "Invalid", "%d is not in 0..1000000", *weight)
		return 0
	}
	return int(*weight)
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

// rule builds a rule; what is wrong with it is told by tellRoute and here.
func (r *run) rule(o config.Object, rule *gatewayv1.HTTPRouteRule, i int, p *ruleParts) *config.Rule {
	c := &config.Rule{Name: fmt.Sprintf("%s/%d", o, i), Backends: p.backends, Chain: p.chain}
	if rule.Name != nil {
		c.Name = o.String() + "/" + string(*rule.Name)
	}
	quiet := &run{} // told already
	filters, ok := quiet.builtin(o, "", rule.Filters, false)
	c.Request, c.Response, c.Redirect, c.Rewrite = filters.request, filters.response, filters.redirect, filters.rewrite
	c.Matches, _ = quiet.matches(o, rule, i)
	c.Timeout, c.BackendTimeout, _ = timeouts(rule)
	switch {
	case !ok || p.broken: // an unknown filter: Gateway API wants 500
		c.Status, c.Backends, c.Redirect = 500, nil, nil
	case c.Redirect != nil:
		c.Backends = nil
	case len(c.Backends) == 0 || !slices.ContainsFunc(c.Backends, func(b config.Backend) bool { return b.Weight > 0 }):
		c.Status, c.Backends = 500, nil
	}
	if len(c.Matches) == 0 { // all were invalid: it matches nothing
		c.Matches = []config.Match{{PathType: config.PathRegex, Regex: regexp.MustCompile(`[^\s\S]`)}}
	}
	return c
}

// tellRoute reports what is wrong within a route's own text.
func (r *run) tellRoute(o config.Object, route *gatewayv1.HTTPRoute) {
	for i := range route.Spec.Rules {
		rule := &route.Spec.Rules[i]
		field := fmt.Sprintf("spec.rules[%d]", i)
		_, _ = r.builtin(o, field, rule.Filters, false)
		for j := range rule.Filters {
			if f := &rule.Filters[j]; extension(f) && r.chains[route.Namespace+"/"+string(f.ExtensionRef.Name)] == nil {
				r.problem(o, fmt.Sprintf("%s.filters[%d].extensionRef", field, j), "UnknownPlugin", "there is no PluginChain %s in namespace %s: the rule answers 500", f.ExtensionRef.Name, route.Namespace)
			}
		}
		if rule.Retry != nil {
			r.warn(o, field+".retry", "UnsupportedValue", "not supported yet: it has no effect")
		}
		if rule.SessionPersistence != nil {
			r.warn(o, field+".sessionPersistence", "UnsupportedValue", "not supported yet: it has no effect")
		}
		r.matches(o, rule, i)
		if _, _, err := timeouts(rule); err != nil {
			r.problem(o, field+".timeouts", "Invalid", "%v", err)
		}
	}
}

func timeouts(rule *gatewayv1.HTTPRouteRule) (total, backend time.Duration, err error) {
	if rule.Timeouts == nil {
		return 0, 0, nil
	}
	read := func(d *gatewayv1.Duration) time.Duration {
		if d == nil {
			return 0
		}
		v, parseErr := time.ParseDuration(string(*d))
		if parseErr != nil || v < 0 {
			err = fmt.Errorf("%q is no duration", *d)
			return 0
		}
		return v
	}
	total, backend = read(rule.Timeouts.Request), read(rule.Timeouts.BackendRequest)
	if backend == 0 || total > 0 && backend > total {
		backend = total
	}
	return total, backend, err
}

// filters are a rule's or backend's built-in filters.
type filters struct {
	request, response []config.HeaderModifier
	redirect          *config.Redirect
	rewrite           *config.Rewrite
}

// builtin reads the filters that Gateway API defines; ok is false if one is
// not supported, which must answer 500.
func (r *run) builtin(o config.Object, field string, list []gatewayv1.HTTPRouteFilter, backend bool) (f filters, ok bool) {
	ok = true
	for i := range list {
		at := fmt.Sprintf("%s.filters[%d]", field, i)
		switch x := &list[i]; {
		case x.Type == gatewayv1.HTTPRouteFilterRequestHeaderModifier && x.RequestHeaderModifier != nil:
			f.request = append(f.request, modifier(x.RequestHeaderModifier))
		case x.Type == gatewayv1.HTTPRouteFilterResponseHeaderModifier && x.ResponseHeaderModifier != nil:
			f.response = append(f.response, modifier(x.ResponseHeaderModifier))
		case x.Type == gatewayv1.HTTPRouteFilterRequestRedirect && x.RequestRedirect != nil:
			f.redirect = redirect(x.RequestRedirect)
		case x.Type == gatewayv1.HTTPRouteFilterURLRewrite && x.URLRewrite != nil:
			f.rewrite = &config.Rewrite{Hostname: value(x.URLRewrite.Hostname), Path: pathModifier(x.URLRewrite.Path)}
		case extension(x) && !backend:
			// joined by chainParts
		default:
			r.problem(o, at, "UnsupportedValue", "filter %q is not supported here yet: the rule answers 500", x.Type)
			ok = false
			continue
		}
		if why := invalidFilter(&list[i]); why != "" {
			r.problem(o, at, "Invalid", "%s: the rule answers 500", why)
			ok = false
		}
	}
	if f.redirect != nil && (f.rewrite != nil || backend) {
		r.problem(o, field+".filters", "IncompatibleFilters", "a redirect allows no rewrite beside it and stands in no backendRef: the rule answers 500")
		ok = false
	}
	if f.rewrite != nil && backend {
		r.problem(o, field+".filters", "UnsupportedValue", "URLRewrite of one backendRef is not supported yet: the rule answers 500")
		ok = false
	}
	return f, ok
}

func modifier(m *gatewayv1.HTTPHeaderFilter) config.HeaderModifier {
	var c config.HeaderModifier
	for _, h := range m.Set {
		c.Set = append(c.Set, config.HeaderValue{Name: string(h.Name), Value: h.Value})
	}
	for _, h := range m.Add {
		c.Add = append(c.Add, config.HeaderValue{Name: string(h.Name), Value: h.Value})
	}
	c.Remove = m.Remove
	return c
}

func redirect(x *gatewayv1.HTTPRequestRedirectFilter) *config.Redirect {
	c := &config.Redirect{Hostname: value(x.Hostname), Path: pathModifier(x.Path), Status: 302}
	if x.Scheme != nil {
		c.Scheme = *x.Scheme
	}
	if x.Port != nil {
		c.Port = uint16(*x.Port)
	}
	if x.StatusCode != nil {
		c.Status = *x.StatusCode
	}
	return c
}

func pathModifier(m *gatewayv1.HTTPPathModifier) *config.PathModifier {
	switch {
	case m == nil:
		return nil
	case m.Type == gatewayv1.FullPathHTTPPathModifier && m.ReplaceFullPath != nil:
		return &config.PathModifier{IsFull: true, Full: *m.ReplaceFullPath}
	case m.Type == gatewayv1.PrefixMatchHTTPPathModifier && m.ReplacePrefixMatch != nil:
		return &config.PathModifier{Prefix: *m.ReplacePrefixMatch}
	}
	return nil
}

// matches reads a rule's matches; those that are invalid are left out.
func (r *run) matches(o config.Object, rule *gatewayv1.HTTPRouteRule, i int) (list []config.Match, ok bool) {
	if len(rule.Matches) == 0 {
		return []config.Match{{PathType: config.PathPrefix, Path: "/"}}, true
	}
	for j := range rule.Matches {
		m, err := match(&rule.Matches[j])
		if err != nil {
			r.problem(o, fmt.Sprintf("spec.rules[%d].matches[%d]", i, j), "Invalid", "%v", err)
			continue
		}
		if m.Method == "CONNECT" && (m.PathType != config.PathPrefix || m.Path != "/" || len(m.Query) > 0) {
			r.warn(o, fmt.Sprintf("spec.rules[%d].matches[%d]", i, j), "UnsupportedValue", "a CONNECT has neither path nor query, so this never matches: leave them out")
		}
		list = append(list, m)
	}
	return list, len(list) == len(rule.Matches)
}

func match(m *gatewayv1.HTTPRouteMatch) (config.Match, error) {
	c := config.Match{PathType: config.PathPrefix, Path: "/", Method: value(m.Method)}
	if m.Path != nil {
		text := "/"
		if m.Path.Value != nil {
			text = *m.Path.Value
		}
		kind := gatewayv1.PathMatchPathPrefix
		if m.Path.Type != nil {
			kind = *m.Path.Type
		}
		if err := pathMatch(&c, string(kind), text); err != nil {
			return c, err
		}
	}
	for _, h := range m.Headers {
		v, err := valueMatch(strings.ToLower(string(h.Name)), h.Value, h.Type != nil && *h.Type == gatewayv1.HeaderMatchRegularExpression)
		if err != nil {
			return c, fmt.Errorf("headers: %w", err)
		}
		if !slices.ContainsFunc(c.Headers, func(o config.ValueMatch) bool { return o.Name == v.Name }) { // the first counts
			c.Headers = append(c.Headers, v)
		}
	}
	for _, q := range m.QueryParams {
		v, err := valueMatch(string(q.Name), q.Value, q.Type != nil && *q.Type == gatewayv1.QueryParamMatchRegularExpression)
		if err != nil {
			return c, fmt.Errorf("queryParams: %w", err)
		}
		if !slices.ContainsFunc(c.Query, func(o config.ValueMatch) bool { return o.Name == v.Name }) {
			c.Query = append(c.Query, v)
		}
	}
	return c, nil
}

func pathMatch(c *config.Match, kind, text string) error {
	switch kind {
	case "Exact", "PathPrefix":
		if !strings.HasPrefix(text, "/") {
			return fmt.Errorf("path.value: %q does not start with /", text)
		}
		if !normalPath(text) {
			return fmt.Errorf("path.value: %q is not normalised: it must not hold //, /./, /../, %%2f, # or a control character", text)
		}
		c.PathType, c.Path = config.PathPrefix, text
		if kind == "Exact" {
			c.PathType = config.PathExact
		}
		return nil
	case "RegularExpression":
		expression, err := whole(text)
		c.PathType, c.Path, c.Regex = config.PathRegex, "", expression
		return err
	}
	return fmt.Errorf("path.type: %q is none of Exact, PathPrefix and RegularExpression", kind)
}

// whole compiles an expression (RE2) that must match all of a value.
func whole(text string) (*regexp.Regexp, error) {
	if len(text) > 1024 {
		return nil, fmt.Errorf("a regular expression of %d bytes, at most 1024", len(text))
	}
	if _, err := regexp.Compile(text); err != nil {
		return nil, err
	}
	return regexp.Compile("^(?:" + text + ")$")
}

func valueMatch(name, text string, isRegex bool) (config.ValueMatch, error) {
	v := config.ValueMatch{Name: name, Value: text}
	if !isRegex {
		return v, nil
	}
	var err error
	v.Value = ""
	v.Regex, err = whole(text)
	return v, err
}
