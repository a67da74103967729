package translate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
)

// matches reads a rule's matches; those that are invalid are left out.
func (r *run) matches(o config.Object, rule *gatewayv1.HTTPRouteRule, i int) (list []config.Match) {
	if len(rule.Matches) == 0 {
		return []config.Match{{PathType: config.PathPrefix, Path: "/"}}
	}
	for j := range rule.Matches {
		m, err := match(&rule.Matches[j])
		if err != nil {
			r.problem(o, fmt.Sprintf("spec.rules[%d].matches[%d]", i, j), string(gatewayv1.RouteReasonUnsupportedValue), "%v: the match is left out", err)
			continue
		}
		if m.Method == "CONNECT" && (m.PathType != config.PathPrefix || m.Path != "/" || len(m.Query) > 0) {
			r.warn(o, fmt.Sprintf("spec.rules[%d].matches[%d]", i, j), string(gatewayv1.RouteReasonUnsupportedValue), "a CONNECT has neither path nor query, so this never matches: leave them out")
		}
		list = append(list, m)
	}
	return list
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
		kind := gatewayv1.HeaderMatchExact
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
	for _, q := range m.QueryParams {
		kind := gatewayv1.QueryParamMatchExact
		if q.Type != nil {
			kind = *q.Type
		}
		v, err := valueMatch(string(q.Name), q.Value, string(kind))
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

// valueMatch compares a header field or query parameter; kind is the type's name,
// which is the same for all of them.
func valueMatch(name, text, kind string) (v config.ValueMatch, err error) {
	v.Name = name
	switch kind {
	case "Exact":
		v.Value = text
	case "RegularExpression":
		v.Regex, err = whole(text)
	default:
		err = fmt.Errorf("type: %q is none of Exact and RegularExpression", kind)
	}
	return v, err
}
