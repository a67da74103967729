package translate

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
)

// httpRoute is a HTTPRoute or GRPCRoute: both become a config.Route. It is read once
// for each version of its object; what depends on other objects is not in it.
type httpRoute struct {
	metav1.Object
	kind      string
	object    config.Object
	parents   []gatewayv1.ParentReference
	hostnames []gatewayv1.Hostname
	rules     []httpRule
	problems  []Problem // of its own text

	version   string     // that was read
	seen      uint64     // the run that saw it last
	candidate *candidate // of the run at hand
	served    []*served
	narrowed  []narrowed
	said      said
}

// httpRule is a rule of either kind.
type httpRule struct {
	name     string
	hash     string // of its text
	matches  []config.Match
	filters  filterList
	backends []httpBackend
	retry    *config.Retry
	session  *config.Session
	// timeout and backendTimeout as config.Rule has them.
	timeout, backendTimeout time.Duration
}

// httpBackend is a backendRef of either kind.
type httpBackend struct {
	gatewayv1.BackendObjectReference
	weight  int
	filters filterList
}

func (f *httpRoute) grpc() bool { return f.kind == "GRPCRoute" }

func readHTTPRoute(x *gatewayv1.HTTPRoute) *httpRoute {
	f := &httpRoute{Object: x, kind: "HTTPRoute", object: object("HTTPRoute", x), parents: x.Spec.ParentRefs, hostnames: x.Spec.Hostnames}
	r := &run{} // gathers the problems
	for i := range x.Spec.Rules {
		rule := &x.Spec.Rules[i]
		field := fmt.Sprintf("spec.rules[%d]", i)
		h := httpRule{name: value(rule.Name), hash: digest(rule)}
		h.matches = r.matches(f.object, rule, i)
		h.filters = r.filterList(f.object, field, rule.Filters)
		for j := range rule.BackendRefs {
			ref := &rule.BackendRefs[j]
			h.backends = append(h.backends, r.httpBackend(f.object, fmt.Sprintf("%s.backendRefs[%d]", field, j), &ref.BackendRef, ref.Filters))
		}
		h.timeout, h.backendTimeout = r.timeouts(f.object, field+".timeouts", rule.Timeouts)
		h.retry = r.retry(f.object, field+".retry", rule.Retry)
		h.session = r.session(f.object, field+".sessionPersistence", ruleName(f.object, h.name, i), h.matches, rule.SessionPersistence)
		r.prefixes(f.object, field, &h)
		f.rules = append(f.rules, h)
	}
	r.ruleNames(f)
	f.problems = r.problems
	return f
}

func (r *run) httpBackend(o config.Object, field string, ref *gatewayv1.BackendRef, list []gatewayv1.HTTPRouteFilter) httpBackend {
	return httpBackend{BackendObjectReference: ref.BackendObjectReference, weight: r.weight(o, field, ref.Weight), filters: r.filterList(o, field, list)}
}

// ruleName is what logs and metrics call a rule.
func ruleName(o config.Object, name string, i int) string {
	if name == "" {
		name = fmt.Sprint(i)
	}
	return o.String() + "/" + name
}

// ruleNames tells of a name that two rules have.
func (r *run) ruleNames(f *httpRoute) {
	for i, h := range f.rules {
		if h.name != "" && slices.ContainsFunc(f.rules[:i], func(o httpRule) bool { return o.name == h.name }) {
			r.warn(f.object, fmt.Sprintf("spec.rules[%d].name", i), string(gatewayv1.RouteReasonUnsupportedValue), "%q is the name of another rule too: logs and metrics do not tell them apart", h.name)
		}
	}
}

// weight reads a backendRef's; one that is wrong is none.
func (r *run) weight(o config.Object, field string, weight *int32) int {
	switch {
	case weight == nil:
		return 1
	case *weight < 0 || *weight > 1_000_000:
		r.problem(o, field+".weight", string(gatewayv1.RouteReasonUnsupportedValue), "%d is not in 0..1000000", *weight)
		return 0
	}
	return int(*weight)
}
