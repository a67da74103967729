package translate

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// refReasons are those of references of a route that lead nowhere.
var refReasons = []string{"RefNotPermitted", "InvalidKind", "BackendNotFound", "UnsupportedProtocol", "UnknownPlugin"}

// ruleOf returns the index of the rule that a field is of; ok is false for another.
func ruleOf(field string) (i int, ok bool) {
	rest, ok := strings.CutPrefix(field, "spec.rules[")
	if !ok {
		return 0, false
	}
	number, _, ok := strings.Cut(rest, "]")
	i, err := strconv.Atoi(number)
	return i, ok && err == nil
}

// content judges what a route says, whatever its parents.
func (s *statuses) content(c *candidate) {
	var bad []*Problem
	rules := map[int]bool{}
	for _, p := range s.problems[c.object] {
		i, inRule := ruleOf(p.Field)
		switch {
		case p.Reason == "PluginsNotApplicable":
			if c.fault == nil {
				c.fault = &verdict{p.Reason, p.Message}
			}
		case !inRule:
		case slices.Contains(refReasons, p.Reason):
			if c.broken == nil {
				c.broken = &verdict{p.Reason, messages([]*Problem{p})}
			}
		default:
			bad, rules[i] = append(bad, p), true
		}
	}
	total := 1
	if c.http != nil {
		total = len(c.http.rules)
	}
	switch {
	case len(bad) == 0 || c.fault != nil:
	case len(rules) >= total:
		c.fault = &verdict{bad[0].Reason, messages(bad)}
	default:
		c.partial = "Dropped Rule, as a whole or a part of it: " + messages(bad)
	}
}

// route says of each parent of ours whether it takes a route. A route that has none
// any more, and says it has, gets an empty list.
func (s *statuses) route(c *candidate) {
	known := slices.ContainsFunc(c.refs, func(p *parentRef) bool { return p.ours }) ||
		slices.ContainsFunc(c.status, func(p gatewayv1.RouteParentStatus) bool { return string(p.ControllerName) == s.t.o.ControllerName })
	if !known {
		return
	}
	if len(s.problems[c.object]) > 0 {
		s.content(c)
	}
	if c.http == nil {
		set(s, c.object, s.routeStatus(c))
		return
	}
	last := &c.http.said
	if !last.holds(c) {
		*last = saying(c)
		last.status = s.routeStatus(c)
		if old, ok := s.before.Of(c.object).(*gatewayv1.RouteStatus); ok && reflect.DeepEqual(old, last.status) {
			last.status = old
		}
	}
	s.now[c.object] = last.status
}

// saying notes what the status of a route depends on.
func saying(c *candidate) said {
	made := said{version: c.http.version, partial: c.partial}
	for _, p := range c.refs {
		near, why := p.reach, p.why
		if !p.ours {
			near = notOurs
		}
		made.near, made.why = append(made.near, near), append(made.why, why)
	}
	if c.fault != nil {
		made.fault = *c.fault
	}
	if c.broken != nil {
		made.broken = *c.broken
	}
	return made
}

// notOurs stands for a parent of somebody else.
const notOurs = reach(255)

// holds reports whether a route would have the same status again.
func (d *said) holds(c *candidate) bool {
	if d.status == nil || d.version != c.http.version || d.partial != c.partial || len(d.near) != len(c.refs) ||
		!d.fault.is(c.fault) || !d.broken.is(c.broken) {
		return false
	}
	for i, p := range c.refs {
		if p.ours != (d.near[i] != notOurs) || p.ours && (p.reach != d.near[i] || p.why != d.why[i]) {
			return false
		}
	}
	return true
}

func (v verdict) is(other *verdict) bool {
	if other == nil {
		return v == verdict{}
	}
	return v == *other
}

func (s *statuses) routeStatus(c *candidate) *gatewayv1.RouteStatus {
	made := &gatewayv1.RouteStatus{Parents: []gatewayv1.RouteParentStatus{}}
	for _, p := range c.refs {
		if p.ours {
			made.Parents = append(made.Parents, gatewayv1.RouteParentStatus{
				ParentRef: *p.ParentReference, ControllerName: gatewayv1.GatewayController(s.t.o.ControllerName), Conditions: p.conditions(),
			})
		}
	}
	return made
}

// conditions are those of a route at one parent.
func (p *parentRef) conditions() []metav1.Condition {
	c := p.route
	var all []metav1.Condition
	switch {
	case p.reach < attached:
		all = append(all, fails(gatewayv1.RouteConditionAccepted, &verdict{p.reach.reason(), p.reason()}, c))
	case c.fault != nil:
		all = append(all, fails(gatewayv1.RouteConditionAccepted, c.fault, c))
	default:
		all = append(all, holds(gatewayv1.RouteConditionAccepted, string(gatewayv1.RouteReasonAccepted), c))
	}
	if c.broken != nil {
		all = append(all, fails(gatewayv1.RouteConditionResolvedRefs, c.broken, c))
	} else {
		all = append(all, holds(gatewayv1.RouteConditionResolvedRefs, string(gatewayv1.RouteReasonResolvedRefs), c))
	}
	if c.partial != "" && p.reach == attached {
		partly := holds(gatewayv1.RouteConditionPartiallyInvalid, string(gatewayv1.RouteReasonUnsupportedValue), c)
		partly.Message = bounded(c.partial)
		all = append(all, partly)
	}
	return all
}
