package translate

import (
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// attachment is a route at a listener, under the hostnames that both have.
type attachment struct {
	route     *httpRoute
	hostnames []string // nil: any
}

// oneKind leaves out routes whose hostnames an older one of the other kind has at the
// same listener: HTTPRoutes and GRPCRoutes share none (Gateway API, GRPCRouteSpec). The
// order stays.
func (r *run) oneKind(all []attachment, listener string) []attachment {
	if !slices.ContainsFunc(all, func(a attachment) bool { return a.route.kind != all[0].route.kind }) {
		return all
	}
	byAge := slices.Clone(all)
	slices.SortStableFunc(byAge, func(a, b attachment) int { return older(a.route, b.route) })
	kept := map[string][]attachment{} // by kind
	out := map[*httpRoute]bool{}
	for _, a := range byAge {
		other := "GRPCRoute"
		if a.route.grpc() {
			other = "HTTPRoute"
		}
		i := slices.IndexFunc(kept[other], func(b attachment) bool { return overlap(a.hostnames, b.hostnames) })
		if i < 0 {
			kept[a.route.kind] = append(kept[a.route.kind], a)
			continue
		}
		out[a.route], r.displaced[a.route] = true, true
		r.problem(a.route.object, "spec.hostnames", string(gatewayv1.ListenerReasonHostnameConflict), "%s is older and has a hostname of it at listener %q: HTTPRoutes and GRPCRoutes share none", kept[other][i].route.object, listener)
	}
	return slices.DeleteFunc(all, func(a attachment) bool { return out[a.route] })
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
