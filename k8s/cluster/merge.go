package cluster

import (
	"reflect"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/k8s/api"
)

// What a status may hold (Gateway API): an API server refuses more.
const (
	maxAncestors = 16
	maxParents   = 32
)

// merged returns a copy of an object with our part of its status as wanted, that
// of others as it is, and times that only change with what they are of. It
// returns nil if that is what it has already.
func (w *writer) merged(current object, want any) object {
	o := current.DeepCopyObject().(object)
	now := metav1.NewTime(w.now().Truncate(time.Second))
	switch o := o.(type) {
	case *gatewayv1.GatewayClass:
		s := want.(*gatewayv1.GatewayClassStatus)
		o.Status.Conditions = timed(o.Status.Conditions, s.Conditions, now)
		o.Status.SupportedFeatures = s.SupportedFeatures
	case *gatewayv1.Gateway:
		s := want.(*gatewayv1.GatewayStatus)
		old := o.Status
		o.Status = *s.DeepCopy()
		o.Status.Conditions = timed(old.Conditions, s.Conditions, now)
		for i := range o.Status.Listeners {
			l := &o.Status.Listeners[i]
			j := slices.IndexFunc(old.Listeners, func(x gatewayv1.ListenerStatus) bool { return x.Name == l.Name })
			var before []metav1.Condition
			if j >= 0 {
				before = old.Listeners[j].Conditions
			}
			l.Conditions = timed(before, l.Conditions, now)
		}
	case *gatewayv1.ListenerSet:
		s := want.(*gatewayv1.ListenerSetStatus)
		old := o.Status
		o.Status = *s.DeepCopy()
		o.Status.Conditions = timed(old.Conditions, s.Conditions, now)
		for i := range o.Status.Listeners {
			l := &o.Status.Listeners[i]
			j := slices.IndexFunc(old.Listeners, func(x gatewayv1.ListenerEntryStatus) bool { return x.Name == l.Name })
			var before []metav1.Condition
			if j >= 0 {
				before = old.Listeners[j].Conditions
			}
			l.Conditions = timed(before, l.Conditions, now)
		}
	case *gatewayv1.HTTPRoute:
		o.Status.Parents = w.parents(o.Status.Parents, want.(*gatewayv1.RouteStatus).Parents, now)
	case *gatewayv1.GRPCRoute:
		o.Status.Parents = w.parents(o.Status.Parents, want.(*gatewayv1.RouteStatus).Parents, now)
	case *gatewayv1.TCPRoute:
		o.Status.Parents = w.parents(o.Status.Parents, want.(*gatewayv1.RouteStatus).Parents, now)
	case *gatewayv1.TLSRoute:
		o.Status.Parents = w.parents(o.Status.Parents, want.(*gatewayv1.RouteStatus).Parents, now)
	case *gatewayv1.UDPRoute:
		o.Status.Parents = w.parents(o.Status.Parents, want.(*gatewayv1.RouteStatus).Parents, now)
	case *gatewayv1.BackendTLSPolicy:
		o.Status.Ancestors = w.ancestors(o.Status.Ancestors, want.(*gatewayv1.PolicyStatus).Ancestors, now)
	case *api.PluginPolicy:
		o.Status.Conditions = timed(o.Status.Conditions, want.(*api.ObjectStatus).Conditions, now)
	case *api.Plugin:
		o.Status.Conditions = timed(o.Status.Conditions, want.(*api.ObjectStatus).Conditions, now)
	case *api.PluginChain:
		o.Status.Conditions = timed(o.Status.Conditions, want.(*api.ObjectStatus).Conditions, now)
	case *api.ProxyParameters:
		o.Status.Conditions = timed(o.Status.Conditions, want.(*api.ObjectStatus).Conditions, now)
	case *api.Consumer:
		o.Status.Conditions = timed(o.Status.Conditions, want.(*api.ObjectStatus).Conditions, now)
	case *api.CachePurge:
		s := want.(*api.CachePurgeStatus)
		old := o.Status
		o.Status = *s.DeepCopy()
		o.Status.Conditions = timed(old.Conditions, s.Conditions, now)
	case *api.ChainStatus:
		s := &want.(*api.ChainStatus).Status.Controllers[0]
		list := slices.Clone(o.Status.Controllers)
		i := slices.IndexFunc(list, func(c api.ChainController) bool { return c.ControllerName == s.ControllerName })
		mine := *s.DeepCopy()
		if i < 0 {
			mine.Conditions = timed(nil, mine.Conditions, now)
			list = append(list, mine)
		} else {
			mine.Conditions = timed(list[i].Conditions, mine.Conditions, now)
			list[i] = mine
		}
		o.Status.Controllers = list
	}
	if equality.Semantic.DeepEqual(current, o) {
		return nil
	}
	return o
}

// timed gives conditions the time of their last transition: that of the same one
// before if its status has not changed.
func timed(have, want []metav1.Condition, now metav1.Time) []metav1.Condition {
	list := slices.Clone(want)
	for i := range list {
		list[i].LastTransitionTime = now
		for _, c := range have {
			if c.Type == list[i].Type && c.Status == list[i].Status {
				list[i].LastTransitionTime = c.LastTransitionTime
			}
		}
	}
	return list
}

// parents puts what we say of a route among what other controllers say.
func (w *writer) parents(have, want []gatewayv1.RouteParentStatus, now metav1.Time) []gatewayv1.RouteParentStatus {
	list := []gatewayv1.RouteParentStatus{} // null is refused
	for _, p := range have {
		if string(p.ControllerName) != w.controllerName {
			list = append(list, p)
		}
	}
	for _, p := range want {
		if len(list) == maxParents {
			break
		}
		var before []metav1.Condition
		for _, q := range have {
			if q.ControllerName == p.ControllerName && reflect.DeepEqual(q.ParentRef, p.ParentRef) {
				before = q.Conditions
			}
		}
		p.Conditions = timed(before, p.Conditions, now)
		list = append(list, p)
	}
	return list
}

// ancestors is parents for a policy.
func (w *writer) ancestors(have, want []gatewayv1.PolicyAncestorStatus, now metav1.Time) []gatewayv1.PolicyAncestorStatus {
	list := []gatewayv1.PolicyAncestorStatus{}
	for _, p := range have {
		if string(p.ControllerName) != w.controllerName {
			list = append(list, p)
		}
	}
	for _, p := range want {
		if len(list) == maxAncestors {
			break
		}
		var before []metav1.Condition
		for _, q := range have {
			if q.ControllerName == p.ControllerName && reflect.DeepEqual(q.AncestorRef, p.AncestorRef) {
				before = q.Conditions
			}
		}
		p.Conditions = timed(before, p.Conditions, now)
		list = append(list, p)
	}
	return list
}

// pending returns a status in which nothing counts as programmed, if why is not
// empty.
func pending(want any, why string) any {
	if why == "" {
		return want
	}
	switch s := want.(type) {
	case *gatewayv1.GatewayStatus:
		c := s.DeepCopy()
		unprogrammed(c.Conditions, why)
		for i := range c.Listeners {
			unprogrammed(c.Listeners[i].Conditions, why)
		}
		return c
	case *gatewayv1.ListenerSetStatus:
		c := s.DeepCopy()
		unprogrammed(c.Conditions, why)
		for i := range c.Listeners {
			unprogrammed(c.Listeners[i].Conditions, why)
		}
		return c
	}
	return want
}

func unprogrammed(list []metav1.Condition, why string) {
	for i := range list {
		if c := &list[i]; c.Type == api.ConditionProgrammed && c.Status == metav1.ConditionTrue {
			c.Status, c.Reason, c.Message = metav1.ConditionFalse, string(gatewayv1.GatewayReasonPending), why
		}
	}
}
