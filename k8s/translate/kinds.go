package translate

import (
	"cmp"
	"fmt"
	"slices"
)

// oneKind leaves out routes whose hostnames an older one of the other kind has at the
// same listener: HTTPRoutes and GRPCRoutes share none (Gateway API, GRPCRouteSpec). The
// order stays.
func (r *run) oneKind(l *listener) {
	all := l.routes
	if !slices.ContainsFunc(all, func(a attachedRoute) bool { return a.route.kind != all[0].route.kind }) {
		return
	}
	byAge := slices.Clone(all)
	slices.SortStableFunc(byAge, func(a, b attachedRoute) int {
		return cmp.Or(older(a.route, b.route), cmp.Compare(b.route.kind, a.route.kind))
	})
	kept := map[string][]attachedRoute{} // by kind
	out := map[*candidate]bool{}
	for _, a := range byAge {
		other := "GRPCRoute"
		if a.route.kind == other {
			other = "HTTPRoute"
		}
		i := slices.IndexFunc(kept[other], func(b attachedRoute) bool { return overlap(a.hostnames, b.hostnames) })
		if i < 0 {
			kept[a.route.kind] = append(kept[a.route.kind], a)
			continue
		}
		out[a.route] = true
		text := fmt.Sprintf("%s is older and has a hostname of it at listener %q: HTTPRoutes and GRPCRoutes share none", kept[other][i].route.object, l.Name)
		r.problem(a.route.object, "spec.hostnames", hostnameTaken.reason(), "%s", text)
		for _, p := range a.refs {
			p.come(hostnameTaken, text)
		}
	}
	l.crowded = len(out) > 0
	l.routes = slices.DeleteFunc(all, func(a attachedRoute) bool { return out[a.route] })
}

// overlap reports whether two lists of hostnames have names in common; nil is any.
func overlap(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return true
	}
	return slices.ContainsFunc(a, func(x string) bool {
		return slices.ContainsFunc(b, func(y string) bool { return narrower(x, y) != "" })
	})
}
