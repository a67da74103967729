package translate

import (
	"fmt"
	"slices"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
)

// duration reads a Duration of Gateway API; nil is 0. What is wrong is told.
func (r *run) duration(o config.Object, field string, d *gatewayv1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	v, err := time.ParseDuration(string(*d))
	if err != nil || v < 0 {
		r.problem(o, field, unsupported, "%q is no duration, as 500ms or 1h30m: it is left out", *d)
		return 0
	}
	return v
}

// timeouts reads a rule's. Zero means that there is none.
func (r *run) timeouts(o config.Object, field string, t *gatewayv1.HTTPRouteTimeouts) (total, backend time.Duration) {
	if t == nil {
		return 0, 0
	}
	read := func(name string, d *gatewayv1.Duration) time.Duration {
		before := len(r.problems)
		v := r.duration(o, field+"."+name, d)
		if d != nil && v == 0 && len(r.problems) == before {
			v = config.NoTimeout
		}
		return v
	}
	total, backend = read("request", t.Request), read("backendRequest", t.BackendRequest)
	switch {
	case backend == 0:
		backend = total
	case total > 0 && backend > total:
		if backend != config.NoTimeout {
			r.warn(o, field+".backendRequest", unsupported, "%v is longer than request: that counts", backend)
		}
		backend = total
	}
	return total, backend
}

// maxAttempts bounds how often one request is sent again.
const maxAttempts = 100

// retry reads a rule's; nil: it has none.
func (r *run) retry(o config.Object, field string, x *gatewayv1.HTTPRouteRetry) *config.Retry {
	if x == nil {
		return nil
	}
	c := config.DefaultRetry()
	for i, code := range x.Codes {
		if code < 400 || code > 599 {
			r.problem(o, fmt.Sprintf("%s.codes[%d]", field, i), unsupported, "%d is not in 400..599: it is left out", code)
			continue
		}
		c.Codes = append(c.Codes, int(code))
	}
	slices.Sort(c.Codes)
	c.Codes = slices.Compact(c.Codes)
	if x.Attempts != nil {
		c.Attempts = *x.Attempts
		if c.Attempts < 1 || c.Attempts > maxAttempts {
			r.problem(o, field+".attempts", unsupported, "%d is not in 1..%d", c.Attempts, maxAttempts)
			c.Attempts = min(max(c.Attempts, 1), maxAttempts)
		}
	}
	if d := r.duration(o, field+".backoff", x.Backoff); d > 0 {
		c.Backoff = d
	}
	return &c
}

// session reads a rule's session persistence; nil: it has none. One that is wrong is
// left out: requests are served without.
func (r *run) session(o config.Object, field, rule string, matches []config.Match, x *gatewayv1.SessionPersistence) *config.Session {
	if x == nil {
		return nil
	}
	kind := gatewayv1.CookieBasedSessionPersistence
	if x.Type != nil {
		kind = *x.Type
	}
	c := &config.Session{Name: value(x.SessionName), Header: kind == gatewayv1.HeaderBasedSessionPersistence, Path: cookiePath(matches)}
	if c.Name == "" {
		c.Name = "session-" + digest(rule)[:12]
	}
	c.Lifetime = r.duration(o, field+".absoluteTimeout", x.AbsoluteTimeout)
	if k := x.CookieConfig; k != nil && k.LifetimeType != nil {
		switch *k.LifetimeType {
		case gatewayv1.PermanentCookieLifetimeType:
			c.Permanent = true
		case gatewayv1.SessionCookieLifetimeType:
		default:
			r.problem(o, field+".cookieConfig.lifetimeType", unsupported, "%q is neither Permanent nor Session: there is no session persistence", *k.LifetimeType)
			return nil
		}
	}
	switch {
	case !c.Header && kind != gatewayv1.CookieBasedSessionPersistence:
		r.problem(o, field+".type", unsupported, "%q is neither Cookie nor Header: there is no session persistence", kind)
		return nil
	case !token(c.Name) || len(c.Name) > 128:
		r.problem(o, field+".sessionName", unsupported, "%q is no name of a cookie or header: there is no session persistence", c.Name)
		return nil
	case c.Permanent && c.Lifetime < time.Second:
		r.problem(o, field+".absoluteTimeout", unsupported, "a permanent cookie needs one, of a second at least: there is no session persistence")
		return nil
	}
	return c
}

// cookiePath is where a rule's cookie is sent: to the path that all its matches
// share, if they do and it can stand in an attribute.
func cookiePath(matches []config.Match) string {
	if len(matches) == 0 {
		return "/"
	}
	first := matches[0]
	for _, m := range matches {
		if m.PathType != config.PathPrefix && m.PathType != config.PathExact || m.Path != first.Path {
			return "/"
		}
	}
	for _, c := range []byte(first.Path) {
		if c <= ' ' || c >= 0x7f || c == ';' {
			return "/"
		}
	}
	return first.Path
}
