package translate

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// maxAncestors is how many a policy's status may name (Gateway API, PolicyStatus).
const maxAncestors = 16

// backendPolicies says of each BackendTLSPolicy what the Gateways that lead to its
// Service make of it.
func (s *statuses) backendPolicies() {
	for _, p := range s.o.BackendTLS {
		others := 0
		for _, a := range p.Status.Ancestors {
			if string(a.ControllerName) != s.t.o.ControllerName {
				others++
			}
		}
		ancestors := slices.SortedStableFunc(slices.Values(s.ancestors[p]), func(a, b *gateway) int { return older(a, b) })
		if len(ancestors) == 0 && others == len(p.Status.Ancestors) {
			continue // it says nothing of us, and need not
		}
		if room := max(0, maxAncestors-others); len(ancestors) > room {
			ancestors = ancestors[:room]
		}
		conditions := s.policyConditions(p)
		made := &gatewayv1.PolicyStatus{Ancestors: []gatewayv1.PolicyAncestorStatus{}}
		for _, g := range ancestors {
			group, kind, namespace := gatewayv1.Group(gatewayv1.GroupName), gatewayv1.Kind("Gateway"), gatewayv1.Namespace(g.Namespace)
			made.Ancestors = append(made.Ancestors, gatewayv1.PolicyAncestorStatus{
				AncestorRef:    gatewayv1.ParentReference{Group: &group, Kind: &kind, Namespace: &namespace, Name: gatewayv1.ObjectName(g.Name)},
				ControllerName: gatewayv1.GatewayController(s.t.o.ControllerName), Conditions: conditions,
			})
		}
		set(s, object("BackendTLSPolicy", p), made)
	}
}

// policyConditions are the same for all ancestors.
func (s *statuses) policyConditions(p *gatewayv1.BackendTLSPolicy) []metav1.Condition {
	var refs, fault, conflict *verdict
	bad := map[string]bool{} // references to authorities
	for _, x := range s.problems[object("BackendTLSPolicy", p)] {
		v := &verdict{x.Reason, messages([]*Problem{x})}
		switch {
		case strings.HasPrefix(x.Field, "spec.validation.caCertificateRefs["):
			bad[x.Field] = true
			if refs == nil {
				refs = v
			}
		case x.Reason == string(gatewayv1.PolicyReasonConflicted):
			conflict = v
		case strings.HasPrefix(x.Field, "spec.options"), fault != nil:
		case x.Reason == string(gatewayv1.PolicyReasonTargetNotFound):
			fault = v
		default:
			fault = &verdict{string(gatewayv1.PolicyReasonInvalid), v.message}
		}
	}
	accepted := holds(gatewayv1.PolicyConditionAccepted, string(gatewayv1.PolicyReasonAccepted), p)
	switch {
	case conflict != nil:
		accepted = fails(gatewayv1.PolicyConditionAccepted, conflict, p)
	case refs != nil && len(bad) == len(p.Spec.Validation.CACertificateRefs):
		accepted = fails(gatewayv1.PolicyConditionAccepted, &verdict{string(gatewayv1.BackendTLSPolicyReasonNoValidCACertificate), refs.message}, p)
	case fault != nil:
		accepted = fails(gatewayv1.PolicyConditionAccepted, fault, p)
	}
	resolved := holds(gatewayv1.BackendTLSPolicyConditionResolvedRefs, string(gatewayv1.BackendTLSPolicyReasonResolvedRefs), p)
	if refs != nil {
		resolved = fails(gatewayv1.BackendTLSPolicyConditionResolvedRefs, refs, p)
	}
	return []metav1.Condition{accepted, resolved}
}

// crowdedPolicies tells of policies whose status has no place for all Gateways that they
// hold for.
func (r *run) crowdedPolicies() {
	for _, p := range r.o.BackendTLS {
		if n := len(r.ancestors[p]); n > maxAncestors {
			r.warn(object("BackendTLSPolicy", p), "status.ancestors", "TooManyAncestors", "%d Gateways lead to its Services: it holds for all of them, and its status names the %d oldest", n, maxAncestors)
		}
	}
}
