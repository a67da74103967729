package translate

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
)

func readGRPCRoute(x *gatewayv1.GRPCRoute) *httpRoute {
	f := &httpRoute{Object: x, kind: "GRPCRoute", object: object("GRPCRoute", x), parents: x.Spec.ParentRefs, hostnames: x.Spec.Hostnames}
	r := &run{} // gathers the problems
	for i := range x.Spec.Rules {
		rule := &x.Spec.Rules[i]
		field := fmt.Sprintf("spec.rules[%d]", i)
		h := httpRule{name: value(rule.Name), hash: digest(rule)}
		h.matches = r.grpcMatches(f.object, field, rule)
		h.filters = r.filterList(f.object, field, httpFilters(rule.Filters))
		for j := range rule.BackendRefs {
			ref := &rule.BackendRefs[j]
			h.backends = append(h.backends, r.httpBackend(f.object, fmt.Sprintf("%s.backendRefs[%d]", field, j), &ref.BackendRef, httpFilters(ref.Filters)))
		}
		h.session = r.session(f.object, field+".sessionPersistence", ruleName(f.object, h.name, i), nil, rule.SessionPersistence)
		f.rules = append(f.rules, h)
	}
	r.ruleNames(f)
	f.problems = r.problems
	return f
}

// httpFilters gives the filters of a GRPCRoute the form that those of a HTTPRoute
// have: its types are among theirs, under the same names.
func httpFilters(list []gatewayv1.GRPCRouteFilter) []gatewayv1.HTTPRouteFilter {
	var all []gatewayv1.HTTPRouteFilter
	for _, f := range list {
		all = append(all, gatewayv1.HTTPRouteFilter{
			Type: gatewayv1.HTTPRouteFilterType(f.Type), RequestHeaderModifier: f.RequestHeaderModifier,
			ResponseHeaderModifier: f.ResponseHeaderModifier, RequestMirror: f.RequestMirror, ExtensionRef: f.ExtensionRef,
		})
	}
	return all
}

// grpcMatches reads a rule's matches; those that are invalid are left out.
func (r *run) grpcMatches(o config.Object, field string, rule *gatewayv1.GRPCRouteRule) (list []config.Match) {
	if len(rule.Matches) == 0 {
		return []config.Match{{PathType: config.PathPrefix, Path: "/", GRPC: true}}
	}
	for i := range rule.Matches {
		m, err := grpcMatch(&rule.Matches[i])
		if err != nil {
			r.problem(o, fmt.Sprintf("%s.matches[%d]", field, i), string(gatewayv1.RouteReasonUnsupportedValue), "%v: the match is left out", err)
			continue
		}
		list = append(list, m)
	}
	return list
}

func grpcMatch(m *gatewayv1.GRPCRouteMatch) (config.Match, error) {
	c := config.Match{PathType: config.PathPrefix, Path: "/", GRPC: true}
	if m.Method != nil {
		if err := methodMatch(&c, m.Method); err != nil {
			return c, fmt.Errorf("method: %w", err)
		}
	}
	for _, h := range m.Headers {
		kind := gatewayv1.GRPCHeaderMatchExact
		if h.Type != nil {
			kind = *h.Type
		}
		v, err := valueMatch(strings.ToLower(string(h.Name)), h.Value, string(kind))
		if err != nil {
			return c, fmt.Errorf("headers: %w", err)
		}
		if !slices.ContainsFunc(c.Headers, func(o config.ValueMatch) bool { return o.Name == v.Name }) { // the first counts
			c.Headers = append(c.Headers, v)
		}
	}
	return c, nil
}

// methodMatch compares the path, which is "/service/method" (gRPC over HTTP/2). A
// service or method that is not named may be any. What names the service exactly goes
// before expressions; among these the longer service counts, then the longer method.
func methodMatch(c *config.Match, m *gatewayv1.GRPCMethodMatch) error {
	service, method := value(m.Service), value(m.Method)
	if service == "" && method == "" {
		return errors.New("neither service nor method is named")
	}
	if len(service) > 1024 || len(method) > 1024 {
		return errors.New("more than 1024 bytes")
	}
	kind := gatewayv1.GRPCMethodMatchExact
	if m.Type != nil {
		kind = *m.Type
	}
	switch kind {
	case gatewayv1.GRPCMethodMatchExact:
		for _, name := range []string{service, method} {
			if strings.Contains(name, "/") || name != "" && !normalPath("/"+name) {
				return fmt.Errorf("%q is no name of a service or method", name)
			}
		}
		switch {
		case method == "":
			c.Path = "/" + service
			return nil
		case service != "":
			c.PathType, c.Path = config.PathExact, "/"+service+"/"+method
			return nil
		}
		method = regexp.QuoteMeta(method)
	case gatewayv1.GRPCMethodMatchRegularExpression:
	default:
		return fmt.Errorf("type: %q is none of Exact and RegularExpression", kind)
	}
	for _, text := range []string{service, method} {
		if _, err := whole(text); err != nil {
			return err
		}
	}
	c.PathType, c.Path, c.Rank = config.PathMethod, "", len(service)<<16|len(method)
	var err error
	c.Regex, err = regexp.Compile("^/(?:" + orAny(service) + ")/(?:" + orAny(method) + ")$")
	return err
}

// orAny returns an expression for one segment of a path; empty is any.
func orAny(text string) string {
	if text == "" {
		return "[^/]+"
	}
	return text
}
