package translate

import (
	"fmt"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
)

// What the API server's schemas refuse, refused here: with a folder of files
// nobody else looks, and what passes is written onto the wire.

// invalidFilter says what is wrong with a built-in filter, "" if nothing is.
func invalidFilter(f *gatewayv1.HTTPRouteFilter) string {
	switch f.Type {
	case gatewayv1.HTTPRouteFilterRequestHeaderModifier:
		return invalidModifier(f.RequestHeaderModifier)
	case gatewayv1.HTTPRouteFilterResponseHeaderModifier:
		return invalidModifier(f.ResponseHeaderModifier)
	case gatewayv1.HTTPRouteFilterRequestRedirect:
		return invalidRedirect(f.RequestRedirect)
	case gatewayv1.HTTPRouteFilterURLRewrite:
		if h := f.URLRewrite.Hostname; h != nil && !config.ValidHostname(string(*h)) {
			return fmt.Sprintf("urlRewrite.hostname: %q is no hostname", *h)
		}
		return invalidPath("urlRewrite.path", f.URLRewrite.Path)
	case gatewayv1.HTTPRouteFilterCORS:
		return invalidCORS(f.CORS)
	case gatewayv1.HTTPRouteFilterRequestMirror:
		return invalidMirror(f.RequestMirror)
	}
	return ""
}

func invalidModifier(m *gatewayv1.HTTPHeaderFilter) string {
	for _, h := range slices.Concat(m.Set, m.Add) {
		if !token(string(h.Name)) {
			return fmt.Sprintf("%q is no header name", h.Name)
		}
		if !fieldValue(h.Value) {
			return fmt.Sprintf("the value of header %q holds a control character", h.Name)
		}
	}
	for _, name := range m.Remove {
		if !token(name) {
			return fmt.Sprintf("%q is no header name", name)
		}
	}
	return ""
}

func invalidRedirect(x *gatewayv1.HTTPRequestRedirectFilter) string {
	switch {
	case x.Scheme != nil && *x.Scheme != "http" && *x.Scheme != "https":
		return fmt.Sprintf("requestRedirect.scheme: %q is neither http nor https", *x.Scheme)
	case x.Hostname != nil && !config.ValidHostname(string(*x.Hostname)):
		return fmt.Sprintf("requestRedirect.hostname: %q is no hostname", *x.Hostname)
	case x.Port != nil && (*x.Port < 1 || *x.Port > 65535):
		return fmt.Sprintf("requestRedirect.port: %d is not in 1..65535", *x.Port)
	case x.StatusCode != nil && !slices.Contains([]int{301, 302, 303, 307, 308}, *x.StatusCode):
		return fmt.Sprintf("requestRedirect.statusCode: %d is none of 301, 302, 303, 307, 308", *x.StatusCode)
	}
	return invalidPath("requestRedirect.path", x.Path)
}

func invalidCORS(x *gatewayv1.HTTPCORSFilter) string {
	for _, text := range x.AllowOrigins {
		if _, ok := origin(string(text)); !ok && text != "*" {
			return fmt.Sprintf("cors.allowOrigins: %q is no origin, as https://name:8443, https://*.name or *", text)
		}
	}
	for _, m := range x.AllowMethods {
		if !token(string(m)) {
			return fmt.Sprintf("cors.allowMethods: %q is no method", m)
		}
	}
	for _, name := range slices.Concat(x.AllowHeaders, x.ExposeHeaders) {
		if !token(string(name)) {
			return fmt.Sprintf("cors: %q is no header name", name)
		}
	}
	if x.MaxAge < 0 {
		return fmt.Sprintf("cors.maxAge: %d is less than 1", x.MaxAge)
	}
	return ""
}

func invalidMirror(x *gatewayv1.HTTPRequestMirrorFilter) string {
	switch f := x.Fraction; {
	case x.Percent != nil && f != nil:
		return "requestMirror: percent and fraction exclude each other"
	case x.Percent != nil && (*x.Percent < 0 || *x.Percent > 100):
		return fmt.Sprintf("requestMirror.percent: %d is not in 0..100", *x.Percent)
	case f != nil:
		whole := int32(100)
		if f.Denominator != nil {
			whole = *f.Denominator
		}
		if f.Numerator < 0 || whole < 1 || f.Numerator > whole {
			return fmt.Sprintf("requestMirror.fraction: %d of %d is no fraction from 0 to 1", f.Numerator, whole)
		}
	}
	return ""
}

func invalidPath(field string, m *gatewayv1.HTTPPathModifier) string {
	if m == nil {
		return ""
	}
	text := ""
	switch {
	case m.Type == gatewayv1.FullPathHTTPPathModifier && m.ReplaceFullPath != nil && m.ReplacePrefixMatch == nil:
		text = *m.ReplaceFullPath
	case m.Type == gatewayv1.PrefixMatchHTTPPathModifier && m.ReplacePrefixMatch != nil && m.ReplaceFullPath == nil:
		text = *m.ReplacePrefixMatch
	default:
		return field + ": want type ReplaceFullPath or ReplacePrefixMatch and the value of that name"
	}
	if len(text) > 1024 || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '#' }) {
		return fmt.Sprintf("%s: %q holds a character that no path has, or is too long", field, text)
	}
	return ""
}

// token reports whether s is a field name (RFC 9110, section 5.6.2).
func token(s string) bool {
	return s != "" && len(s) <= 256 && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", c)
	})
}

// fieldValue reports whether s can be a field's value (RFC 9110, section 5.5).
func fieldValue(s string) bool {
	return len(s) <= 4096 && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

// wildcard reports whether s is a hostname, maybe with "*" as its first label.
func wildcard(s string) bool { return config.ValidHostname(strings.TrimPrefix(s, "*.")) }

// normalPath reports whether a path can equal one that a request was
// normalised to.
func normalPath(s string) bool {
	lower := strings.ToLower(s)
	for _, bad := range []string{"//", "/./", "/../", "%2f", "#"} {
		if strings.Contains(lower, bad) {
			return false
		}
	}
	return len(s) <= 1024 && !strings.HasSuffix(s, "/.") && !strings.HasSuffix(s, "/..") &&
		!strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
}
