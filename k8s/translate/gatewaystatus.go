package translate

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// gateway says what of a Gateway and of its ListenerSets is served, and where.
func (s *statuses) gateway(g *gateway) {
	addresses := s.addresses(g)
	unsupported, missing := s.addressFault(g, addresses)
	made := &gatewayv1.GatewayStatus{Addresses: addresses}
	overlaps := overlapping(g)
	for _, l := range g.own {
		made.Listeners = append(made.Listeners, l.status(g, overlaps[l]))
	}
	accepted := s.accepted(g, unsupported)
	programmed := s.programmed(g, accepted, missing)
	made.Conditions = []metav1.Condition{accepted, programmed, g.resolved()}
	if port, insecure := insecure(g.Gateway); insecure {
		c := holds(gatewayv1.GatewayConditionInsecureFrontendValidationMode, string(gatewayv1.GatewayReasonConfigurationChanged), g)
		c.Message = port + " lets clients in whose certificate is missing or not valid"
		made.Conditions = append(made.Conditions, c)
	}
	if len(g.sets) > 0 {
		attached := int32(0)
		for _, l := range g.sets {
			if s.listenerSet(l, g, programmed, overlaps) {
				attached++
			}
		}
		made.AttachedListenerSets = &attached
	}
	set(s, g.object, made)
}

const invalidParameters = string(gatewayv1.GatewayReasonInvalidParameters)

// accepted is the condition of that name of a Gateway.
func (s *statuses) accepted(g *gateway, unsupported *verdict) metav1.Condition {
	const kind = gatewayv1.GatewayConditionAccepted
	var bad []string
	for _, l := range g.own {
		if l.rejected != nil {
			bad = append(bad, fmt.Sprintf("%q: %s", l.Name, l.rejected.message))
		}
	}
	listeners := &verdict{string(gatewayv1.GatewayReasonListenersNotValid), "listeners that are not served: " + strings.Join(bad, "; ")}
	switch {
	case s.oldParameters[g.object]:
		return fails(kind, &verdict{invalidParameters, "its ProxyParameters are missing or wrong: the last good ones serve until they are right"}, g)
	case g.parameters == nil:
		why := slices.DeleteFunc(slices.Clone(s.problems[g.object]), func(p *Problem) bool { return p.Reason != invalidParameters })
		return fails(kind, &verdict{invalidParameters, messages(why)}, g)
	case unsupported != nil:
		return fails(kind, unsupported, g)
	case len(bad) == len(g.own):
		return fails(kind, listeners, g)
	case len(bad) > 0:
		c := holds(kind, listeners.reason, g)
		c.Message = bounded(listeners.message)
		return c
	}
	return holds(kind, string(gatewayv1.GatewayReasonAccepted), g)
}

// programmed is the condition of that name of a Gateway.
func (s *statuses) programmed(g *gateway, accepted metav1.Condition, missing *verdict) metav1.Condition {
	const kind = gatewayv1.GatewayConditionProgrammed
	invalid := string(gatewayv1.GatewayReasonInvalid)
	switch {
	case accepted.Status != metav1.ConditionTrue && !s.oldParameters[g.object]:
		return fails(kind, &verdict{invalid, "it is not accepted"}, g)
	case !slices.ContainsFunc(g.listeners(), func(l *listener) bool { return l.served }):
		return fails(kind, &verdict{invalid, "no listener is served"}, g)
	case missing != nil:
		return fails(kind, missing, g)
	}
	return holds(kind, string(gatewayv1.GatewayReasonProgrammed), g)
}

// resolved is the condition ResolvedRefs of a Gateway.
func (g *gateway) resolved() metav1.Condition {
	const kind = gatewayv1.GatewayConditionResolvedRefs
	if g.refs != nil {
		return fails(kind, g.refs, g)
	}
	var bad []string
	for _, l := range g.own {
		if l.refs != nil {
			bad = append(bad, fmt.Sprintf("%q: %s", l.Name, l.refs.message))
		}
	}
	if len(bad) > 0 {
		return fails(kind, &verdict{string(gatewayv1.GatewayReasonListenersNotResolved), "listeners: " + strings.Join(bad, "; ")}, g)
	}
	return holds(kind, string(gatewayv1.GatewayReasonResolvedRefs), g)
}

// insecure reports whether clients with any certificate, or none, are let in, and
// where.
func insecure(g *gatewayv1.Gateway) (where string, yes bool) {
	if g.Spec.TLS == nil || g.Spec.TLS.Frontend == nil {
		return "", false
	}
	f := g.Spec.TLS.Frontend
	unchecked := func(c *gatewayv1.TLSConfig) bool {
		return c.Validation != nil && c.Validation.Mode == gatewayv1.AllowInsecureFallback
	}
	if unchecked(&f.Default) {
		return "spec.tls.frontend.default", true
	}
	for i := range f.PerPort {
		if unchecked(&f.PerPort[i].TLS) {
			return fmt.Sprintf("spec.tls.frontend.perPort[%d]", i), true
		}
	}
	return "", false
}

// listenerSet says what of a ListenerSet is served, and returns whether it attaches.
func (s *statuses) listenerSet(l *listenerSet, g *gateway, parent metav1.Condition, overlaps map[*listener]bool) bool {
	const accepts, programs = gatewayv1.ListenerSetConditionAccepted, gatewayv1.ListenerSetConditionProgrammed
	if l.rejected != nil {
		set(s, l.object, &gatewayv1.ListenerSetStatus{Conditions: []metav1.Condition{fails(accepts, l.rejected, l), fails(programs, l.rejected, l)}})
		return false
	}
	made := &gatewayv1.ListenerSetStatus{}
	var bad []string
	for _, one := range l.listeners {
		made.Listeners = append(made.Listeners, gatewayv1.ListenerEntryStatus(one.status(g, overlaps[one])))
		switch {
		case one.rejected != nil:
			bad = append(bad, fmt.Sprintf("%q: %s", one.Name, one.rejected.message))
		case !one.served && one.refs != nil:
			bad = append(bad, fmt.Sprintf("%q: %s", one.Name, one.refs.message))
		}
	}
	invalid := &verdict{string(gatewayv1.ListenerSetReasonListenersNotValid), "listeners that are not served: " + strings.Join(bad, "; ")}
	attaches := len(bad) < len(l.listeners)
	var accepted, programmed metav1.Condition
	switch {
	case !attaches:
		accepted, programmed = fails(accepts, invalid, l), fails(programs, invalid, l)
	case len(bad) > 0:
		accepted = holds(accepts, invalid.reason, l)
		accepted.Message = bounded(invalid.message)
	default:
		accepted = holds(accepts, string(gatewayv1.ListenerSetReasonAccepted), l)
	}
	switch {
	case !attaches:
	case parent.Status != metav1.ConditionTrue:
		programmed = fails(programs, &verdict{"ParentNotProgrammed", fmt.Sprintf("%s: %s", g.object, parent.Message)}, l)
	default:
		programmed = holds(programs, string(gatewayv1.ListenerSetReasonProgrammed), l)
	}
	made.Conditions = []metav1.Condition{accepted, programmed}
	set(s, l.object, made)
	return attaches
}

// meta is the object that declares a listener.
func (l *listener) meta() metav1.Object {
	if l.set != nil {
		return l.set
	}
	return l.gateway
}

// status says whether a listener is served, and how many routes attach to it.
func (l *listener) status(g *gateway, overlaps bool) gatewayv1.ListenerStatus {
	made := gatewayv1.ListenerStatus{Name: l.Name, SupportedKinds: []gatewayv1.RouteGroupKind{}}
	for _, kind := range l.kinds {
		group := gatewayv1.Group(gatewayv1.GroupName)
		made.SupportedKinds = append(made.SupportedKinds, gatewayv1.RouteGroupKind{Group: &group, Kind: gatewayv1.Kind(kind)})
	}
	for _, a := range l.routes {
		if a.route.fault == nil {
			made.AttachedRoutes++
		}
	}
	o := l.meta()
	accepted := holds(gatewayv1.ListenerConditionAccepted, string(gatewayv1.ListenerReasonAccepted), o)
	programmed := holds(gatewayv1.ListenerConditionProgrammed, string(gatewayv1.ListenerReasonProgrammed), o)
	invalid := &verdict{string(gatewayv1.ListenerReasonInvalid), ""}
	switch {
	case l.rejected != nil:
		accepted = fails(gatewayv1.ListenerConditionAccepted, l.rejected, o)
		invalid.message = l.rejected.message
		if l.conflict {
			invalid.reason = l.rejected.reason
		}
	case g.parameters == nil:
		invalid.message = "the Gateway is not accepted"
	case !l.served && l.refs != nil:
		invalid.message = l.refs.message
	case !l.served:
		invalid.message = "it takes no routes"
	default:
		invalid = nil
	}
	if invalid != nil {
		programmed = fails(gatewayv1.ListenerConditionProgrammed, invalid, o)
	}
	refs := holds(gatewayv1.ListenerConditionResolvedRefs, string(gatewayv1.ListenerReasonResolvedRefs), o)
	if l.refs != nil {
		refs = fails(gatewayv1.ListenerConditionResolvedRefs, l.refs, o)
	}
	conflicted := fails(gatewayv1.ListenerConditionConflicted, &verdict{string(gatewayv1.ListenerReasonNoConflicts), ""}, o)
	if l.conflict {
		conflicted = holds(gatewayv1.ListenerConditionConflicted, l.rejected.reason, o)
		conflicted.Message = bounded(l.rejected.message)
	}
	made.Conditions = []metav1.Condition{accepted, programmed, refs, conflicted}
	if overlaps {
		c := holds(gatewayv1.ListenerConditionOverlappingTLSConfig, string(gatewayv1.ListenerReasonOverlappingHostnames), o)
		c.Message = "another listener of the port has a hostname within this one's, or one that this one's is within: requests over a connection for the other are answered 421"
		made.Conditions = append(made.Conditions, c)
	}
	return made
}

// overlapping returns the listeners that end TLS for hostnames that another one of the
// same port ends it for too.
func overlapping(g *gateway) map[*listener]bool {
	byPort := map[gatewayv1.PortNumber][]*listener{}
	for _, l := range g.listeners() {
		if l.rejected == nil && (l.Protocol == gatewayv1.HTTPSProtocolType || l.Protocol == gatewayv1.TLSProtocolType && !passthrough(l.Listener)) {
			byPort[l.Port] = append(byPort[l.Port], l)
		}
	}
	found := map[*listener]bool{}
	for _, list := range byPort {
		names := map[string]*listener{}
		for _, l := range list {
			names[strings.ToLower(value(l.Hostname))] = l
		}
		for _, l := range list {
			name := strings.ToLower(value(l.Hostname))
			if any := names[""]; any != nil && any != l {
				found[l], found[any] = true, true
			}
			for rest := strings.TrimPrefix(name, "*."); rest != ""; {
				_, after, _ := strings.Cut(rest, ".")
				if other := names["*."+after]; after != "" && other != nil && other != l {
					found[l], found[other] = true, true
				}
				rest = after
			}
		}
	}
	return found
}
