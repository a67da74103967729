package translate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// filterList is the filters of a rule or backendRef, as far as their own text says
// what they do.
type filterList struct {
	steps    []config.Step
	redirect *config.Redirect
	// extensions are the PluginChains that steps with Plugins stand for, mirrors what
	// steps with a Mirror copy to, both in order.
	extensions []extensionRef
	mirrors    []mirrorRef
	broken     bool // requests are answered with an error
	prefix     bool // it replaces the prefix that matched
}

// extensionRef is a PluginChain at its place.
type extensionRef struct {
	name   string
	filter int // its index among the filters
}

// mirrorRef is what a RequestMirror copies to.
type mirrorRef struct {
	gatewayv1.BackendObjectReference
	step, filter int // its indexes
}

const (
	unsupported  = string(gatewayv1.RouteReasonUnsupportedValue)
	incompatible = string(gatewayv1.RouteReasonIncompatibleFilters)
)

// filterList reads filters in their order. One that cannot be done leaves requests
// with an error: none is skipped (Gateway API).
func (r *run) filterList(o config.Object, field string, list []gatewayv1.HTTPRouteFilter) (f filterList) {
	for i := range list {
		at := fmt.Sprintf("%s.filters[%d]", field, i)
		x := &list[i]
		switch {
		case x.Type == gatewayv1.HTTPRouteFilterRequestHeaderModifier && x.RequestHeaderModifier != nil:
			f.steps = append(f.steps, config.Step{Request: modifier(x.RequestHeaderModifier)})
		case x.Type == gatewayv1.HTTPRouteFilterResponseHeaderModifier && x.ResponseHeaderModifier != nil:
			f.steps = append(f.steps, config.Step{Response: modifier(x.ResponseHeaderModifier)})
		case x.Type == gatewayv1.HTTPRouteFilterRequestRedirect && x.RequestRedirect != nil:
			f.redirect = redirect(x.RequestRedirect)
			f.prefix = f.prefix || prefixed(x.RequestRedirect.Path)
		case x.Type == gatewayv1.HTTPRouteFilterURLRewrite && x.URLRewrite != nil:
			f.steps = append(f.steps, config.Step{Rewrite: &config.Rewrite{Hostname: value(x.URLRewrite.Hostname), Path: pathModifier(x.URLRewrite.Path)}})
			f.prefix = f.prefix || prefixed(x.URLRewrite.Path)
		case x.Type == gatewayv1.HTTPRouteFilterCORS && x.CORS != nil:
			f.steps = append(f.steps, config.Step{CORS: cors(x.CORS)})
		case x.Type == gatewayv1.HTTPRouteFilterRequestMirror && x.RequestMirror != nil:
			f.mirrors = append(f.mirrors, mirrorRef{x.RequestMirror.BackendRef, len(f.steps), i})
			f.steps = append(f.steps, config.Step{Mirror: mirror(x.RequestMirror)})
		case x.Type == gatewayv1.HTTPRouteFilterExtensionRef && x.ExtensionRef != nil:
			if x.ExtensionRef.Group != api.Group || x.ExtensionRef.Kind != "PluginChain" {
				r.problem(o, at+".extensionRef", string(gatewayv1.RouteReasonInvalidKind), "%s/%s is not known here: want %s/PluginChain; requests are answered 500", x.ExtensionRef.Group, x.ExtensionRef.Kind, api.Group)
				f.broken = true
				continue
			}
			f.extensions = append(f.extensions, extensionRef{string(x.ExtensionRef.Name), i})
			f.steps = append(f.steps, config.Step{Plugins: true})
		default:
			r.problem(o, at, unsupported, "filter %q is not supported here: requests are answered 500", x.Type)
			f.broken = true
			continue
		}
		if why := invalidFilter(x); why != "" {
			r.problem(o, at, unsupported, "%s: requests are answered 500", why)
			f.broken = true
		}
		if i := repeated(list[:i], x.Type); i >= 0 {
			r.problem(o, at, incompatible, "%s stands at filters[%d] already, and may not be repeated: requests are answered 500", x.Type, i)
			f.broken = true
		}
	}
	if f.redirect != nil && slices.ContainsFunc(f.steps, func(s config.Step) bool { return s.Rewrite != nil }) {
		r.problem(o, field+".filters", incompatible, "RequestRedirect and URLRewrite exclude each other: requests are answered 500")
		f.broken = true
	}
	return f
}

// repeated returns the place of a filter that may stand only once; -1: it does.
func repeated(before []gatewayv1.HTTPRouteFilter, t gatewayv1.HTTPRouteFilterType) int {
	switch t {
	case gatewayv1.HTTPRouteFilterRequestMirror, gatewayv1.HTTPRouteFilterExtensionRef:
		return -1
	}
	return slices.IndexFunc(before, func(f gatewayv1.HTTPRouteFilter) bool { return f.Type == t })
}

// extensions are the PluginChains that filters name, a part for each; ok is false if
// there is not one of them: the request is then answered with an error, whatever else
// ran (Gateway API).
func (r *run) extensions(f *httpRoute, list *filterList, part, field, scope string) (parts []*config.Part, ok bool) {
	ok = true
	for _, e := range list.extensions {
		if r.chains[f.object.Namespace+"/"+e.name] == nil {
			r.problem(f.object, fmt.Sprintf("%s.filters[%d].extensionRef", field, e.filter), string(gatewayv1.RouteReasonBackendNotFound), "there is no PluginChain %s in namespace %s: requests are answered 500", e.name, f.object.Namespace)
			ok = false
			continue
		}
		at := place{part: part, object: f.object, scope: fmt.Sprintf("%s.%d", scope, e.filter), namespace: f.object.Namespace, keep: true}
		parts = append(parts, r.part(&at, []api.Entry{{Chain: e.name, Name: e.name}}, nil))
	}
	return parts, ok
}

// prefixes tells of a prefix that is to be replaced where a match has none.
func (r *run) prefixes(o config.Object, field string, h *httpRule) {
	all := []*filterList{&h.filters}
	for i := range h.backends {
		all = append(all, &h.backends[i].filters)
	}
	for i, f := range all {
		if !f.prefix || !slices.ContainsFunc(h.matches, func(m config.Match) bool { return m.PathType != config.PathPrefix }) {
			continue
		}
		at := field + ".filters"
		if i > 0 {
			at = fmt.Sprintf("%s.backendRefs[%d].filters", field, i-1)
		}
		r.problem(o, at, unsupported, "ReplacePrefixMatch replaces what a match of type PathPrefix matched, and the rule has another match: requests are answered 500")
		f.broken = true
	}
}

func prefixed(m *gatewayv1.HTTPPathModifier) bool {
	return m != nil && m.Type == gatewayv1.PrefixMatchHTTPPathModifier
}

func modifier(m *gatewayv1.HTTPHeaderFilter) *config.HeaderModifier {
	c := &config.HeaderModifier{Remove: m.Remove}
	for _, h := range m.Set {
		c.Set = append(c.Set, config.HeaderValue{Name: string(h.Name), Value: h.Value})
	}
	for _, h := range m.Add {
		c.Add = append(c.Add, config.HeaderValue{Name: string(h.Name), Value: h.Value})
	}
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

// mirror reads which share is copied; its upstream is found later.
func mirror(x *gatewayv1.HTTPRequestMirrorFilter) *config.Mirror {
	m := &config.Mirror{Numerator: 1, Denominator: 1}
	switch {
	case x.Percent != nil:
		m.Numerator, m.Denominator = uint32(max(*x.Percent, 0)), 100
	case x.Fraction != nil:
		m.Numerator, m.Denominator = uint32(max(x.Fraction.Numerator, 0)), 100
		if x.Fraction.Denominator != nil {
			m.Denominator = uint32(max(*x.Fraction.Denominator, 1))
		}
	}
	return m
}

// leastAge is how long a preflight's answer may be kept where nothing is said.
const leastAge = 5 * time.Second

// cors reads a CORS filter; invalidCORS has looked at it.
func cors(x *gatewayv1.HTTPCORSFilter) *config.CORS {
	c := &config.CORS{Credentials: x.AllowCredentials != nil && *x.AllowCredentials, MaxAge: time.Duration(x.MaxAge) * time.Second}
	if c.MaxAge <= 0 {
		c.MaxAge = leastAge
	}
	for _, text := range x.AllowOrigins {
		if text == "*" {
			c.AnyOrigin = true
		} else if o, ok := origin(string(text)); ok {
			c.Origins = append(c.Origins, o)
		}
	}
	c.Methods, c.AnyMethod = commaList(x.AllowMethods)
	c.Headers, c.AnyHeader = commaList(x.AllowHeaders)
	c.Exposed, c.AnyExposed = commaList(x.ExposeHeaders)
	return c
}

// commaList joins names; wildcard says that one of them is "*".
func commaList[T ~string](names []T) (text string, wildcard bool) {
	var all []string
	for _, n := range names {
		if n == "*" {
			return "", true
		}
		all = append(all, string(n))
	}
	return strings.Join(all, ", "), false
}

// origin reads scheme://hostname[:port], where the hostname may be "*", or begin
// with "*.".
func origin(text string) (o config.Origin, ok bool) {
	scheme, rest, ok := strings.Cut(strings.ToLower(text), "://")
	switch {
	case !ok:
		return o, false
	case scheme == "http":
		o.Port = 80
	case scheme == "https":
		o.Port = 443
	default:
		return o, false
	}
	name, port, hasPort := strings.Cut(rest, ":")
	if hasPort {
		var n int
		if _, err := fmt.Sscanf(port, "%d", &n); err != nil || n < 1 || n > 65535 || fmt.Sprint(n) != port {
			return o, false
		}
		o.Port = uint16(n)
	}
	o.Scheme, o.Hostname = scheme, name
	return o, name == "*" || wildcard(name)
}
