package translate

import (
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// statuses is what a run says of objects. Values that did not change keep their
// pointers.
type statuses struct {
	*run
	before   Statuses
	now      map[config.Object]any
	problems map[config.Object][]*Problem // but warnings
}

// status returns what is to be said of every object of ours, by the problems that
// the run has found.
func (r *run) status() Statuses {
	s := &statuses{run: r, before: r.t.statuses, now: make(map[config.Object]any, r.t.statuses.Len()), problems: map[config.Object][]*Problem{}}
	for i := range r.problems {
		if p := &r.problems[i]; !p.Warning {
			s.problems[p.Object] = append(s.problems[p.Object], p)
		}
	}
	for _, c := range r.routesOfAll {
		s.route(c)
	}
	for _, g := range r.byName {
		s.gateway(g)
	}
	for _, c := range r.classes {
		s.class(c)
	}
	s.backendPolicies()
	s.own()
	s.chains()
	r.t.statuses = config.OverlayOf(s.now)
	return r.t.statuses
}

// set says something of an object; what is equal to what was said before keeps
// its pointer.
func set[T any](s *statuses, o config.Object, made *T) {
	if old, ok := s.before.Of(o).(*T); ok && reflect.DeepEqual(old, made) {
		made = old
	}
	s.now[o] = made
}

// own says of objects of our own kinds whether they are right.
func (s *statuses) own() {
	for _, o := range s.o.Policies {
		judge(s, "PluginPolicy", o)
	}
	for _, o := range s.o.Plugins {
		judge(s, "Plugin", o)
	}
	for _, o := range s.o.Chains {
		judge(s, "PluginChain", o)
	}
	for _, o := range s.o.Parameters {
		judge(s, "ProxyParameters", o)
	}
	for _, p := range s.o.CachePurges {
		s.purge(p)
	}
	for _, c := range s.o.Consumers {
		s.consumer(c)
	}
}

func judge(s *statuses, kind string, meta metav1.Object) {
	o := object(kind, meta)
	accepted := holds(api.ConditionAccepted, "Accepted", meta)
	if list := s.problems[o]; len(list) > 0 {
		accepted = fails(api.ConditionAccepted, &verdict{list[0].Reason, messages(list)}, meta)
	}
	set(s, o, &api.ObjectStatus{Conditions: []metav1.Condition{accepted}})
}

// holds is a condition that is true.
func holds[T ~string](kind T, reason string, meta metav1.Object) metav1.Condition {
	return metav1.Condition{Type: string(kind), Status: metav1.ConditionTrue, Reason: reason, ObservedGeneration: meta.GetGeneration()}
}

// fails is a condition that is false.
func fails[T ~string](kind T, v *verdict, meta metav1.Object) metav1.Condition {
	return metav1.Condition{Type: string(kind), Status: metav1.ConditionFalse, Reason: v.reason, Message: bounded(v.message), ObservedGeneration: meta.GetGeneration()}
}

// maxMessage bounds a condition's message; the API server's bound is 32 KiB.
const maxMessage = 1024

func bounded(text string) string {
	if len(text) <= maxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:maxMessage-3], "") + "..."
}

// messages joins what is wrong with an object.
func messages(list []*Problem) string {
	var all []string
	for _, p := range list {
		text := p.Message
		if p.Field != "" {
			text = p.Field + ": " + text
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

// class says whether a GatewayClass can be used, and what for.
func (s *statuses) class(c *gatewayv1.GatewayClass) {
	o := object("GatewayClass", c)
	accepted := holds(gatewayv1.GatewayClassConditionStatusAccepted, string(gatewayv1.GatewayClassReasonAccepted), c)
	if s.badClass[c.Name] {
		v := &verdict{string(gatewayv1.GatewayClassReasonInvalidParameters), "its ProxyParameters are wrong: see their status"}
		if list := s.problems[o]; len(list) > 0 {
			v.message = messages(list)
		}
		accepted = fails(gatewayv1.GatewayClassConditionStatusAccepted, v, c)
	}
	set(s, o, &gatewayv1.GatewayClassStatus{Conditions: []metav1.Condition{accepted}, SupportedFeatures: supportedFeatures()})
}
