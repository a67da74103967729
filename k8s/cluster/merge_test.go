package cluster

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/k8s/api"
)

var (
	before = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	later  = before.Add(time.Hour)
)

func mergingWriter() *writer {
	return &writer{controllerName: "ours", now: func() time.Time { return later }}
}

func condition(kind, status, message string, at time.Time) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionStatus(status), Reason: "R", Message: message, LastTransitionTime: metav1.NewTime(at)}
}

func parent(controller, name string, list ...metav1.Condition) gatewayv1.RouteParentStatus {
	return gatewayv1.RouteParentStatus{ControllerName: gatewayv1.GatewayController(controller), ParentRef: gatewayv1.ParentReference{Name: gatewayv1.ObjectName(name)}, Conditions: list}
}

func ancestor(controller, name string, list ...metav1.Condition) gatewayv1.PolicyAncestorStatus {
	return gatewayv1.PolicyAncestorStatus{ControllerName: gatewayv1.GatewayController(controller), AncestorRef: gatewayv1.ParentReference{Name: gatewayv1.ObjectName(name)}, Conditions: list}
}

func TestParentsOfARoute(t *testing.T) {
	route := func(list ...gatewayv1.RouteParentStatus) *gatewayv1.HTTPRoute {
		return &gatewayv1.HTTPRoute{Status: gatewayv1.HTTPRouteStatus{RouteStatus: gatewayv1.RouteStatus{Parents: list}}}
	}
	yes, no := condition("Accepted", "True", "", before), condition("Accepted", "False", "", before)
	tests := map[string]struct{ have, want, result []gatewayv1.RouteParentStatus }{
		"a first status has the time of now": {nil, []gatewayv1.RouteParentStatus{parent("ours", "a", yes)}, []gatewayv1.RouteParentStatus{parent("ours", "a", condition("Accepted", "True", "", later))}},
		"the same is not written":            {[]gatewayv1.RouteParentStatus{parent("ours", "a", yes)}, []gatewayv1.RouteParentStatus{parent("ours", "a", yes)}, nil},
		"a time changes with the status alone": {
			[]gatewayv1.RouteParentStatus{parent("ours", "a", yes)}, []gatewayv1.RouteParentStatus{parent("ours", "a", condition("Accepted", "True", "other words", later))},
			[]gatewayv1.RouteParentStatus{parent("ours", "a", condition("Accepted", "True", "other words", before))},
		},
		"a time changes with the status": {
			[]gatewayv1.RouteParentStatus{parent("ours", "a", yes)}, []gatewayv1.RouteParentStatus{parent("ours", "a", no)},
			[]gatewayv1.RouteParentStatus{parent("ours", "a", condition("Accepted", "False", "", later))},
		},
		"the time is that of its own parent": {
			[]gatewayv1.RouteParentStatus{parent("ours", "a", yes), parent("other", "b", yes)}, []gatewayv1.RouteParentStatus{parent("ours", "b", yes)},
			[]gatewayv1.RouteParentStatus{parent("other", "b", yes), parent("ours", "b", condition("Accepted", "True", "", later))},
		},
		"others' parents stay, ours go": {
			[]gatewayv1.RouteParentStatus{parent("other", "a", no), parent("ours", "a", yes), parent("third", "b", yes)}, nil,
			[]gatewayv1.RouteParentStatus{parent("other", "a", no), parent("third", "b", yes)},
		},
		"nothing of ours among others is not written": {[]gatewayv1.RouteParentStatus{parent("other", "a", no)}, nil, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			have := route(test.have...)
			kept := have.DeepCopy()
			got := mergingWriter().merged(have, &gatewayv1.RouteStatus{Parents: test.want})
			switch {
			case test.result == nil && got != nil:
				t.Errorf("got %+v; want nothing to write", got)
			case test.result != nil && got == nil:
				t.Error("got nothing to write")
			case test.result != nil:
				if d := cmp.Diff(test.result, got.(*gatewayv1.HTTPRoute).Status.Parents); d != "" {
					t.Error(d)
				}
			}
			if d := cmp.Diff(kept, have); d != "" {
				t.Errorf("what the watch told was changed: %s", d)
			}
		})
	}
}

// TestMergesSettle: whatever stood there, others' entries stay in their order, ours are
// as wanted, the bounds of the API hold, and a second merge has nothing to write.
func TestMergesSettle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	controllers := []string{"ours", "other", "third"}
	conditions := func() (list []metav1.Condition) {
		for _, kind := range []string{"Accepted", "ResolvedRefs"} {
			if r.IntN(3) > 0 {
				list = append(list, condition(kind, []string{"True", "False"}[r.IntN(2)], fmt.Sprint(r.IntN(2)), before))
			}
		}
		return list
	}
	for range 2000 {
		policy := &gatewayv1.BackendTLSPolicy{}
		route := &gatewayv1.TLSRoute{}
		for i := range r.IntN(17) {
			c := controllers[r.IntN(3)]
			policy.Status.Ancestors = append(policy.Status.Ancestors, ancestor(c, fmt.Sprint(i), conditions()...))
			route.Status.Parents = append(route.Status.Parents, parent(c, fmt.Sprint(i), conditions()...))
		}
		ancestors, parents := &gatewayv1.PolicyStatus{}, &gatewayv1.RouteStatus{}
		for i := range r.IntN(17) {
			ancestors.Ancestors = append(ancestors.Ancestors, ancestor("ours", fmt.Sprint(i), conditions()...))
			parents.Parents = append(parents.Parents, parent("ours", fmt.Sprint(i), conditions()...))
		}
		w := mergingWriter()
		if got, ok := w.merged(policy, ancestors).(*gatewayv1.BackendTLSPolicy); ok {
			var others, now []gatewayv1.PolicyAncestorStatus
			mine := 0
			for _, a := range policy.Status.Ancestors {
				if a.ControllerName != "ours" {
					others = append(others, a)
				}
			}
			for _, a := range got.Status.Ancestors {
				if a.ControllerName != "ours" {
					now = append(now, a)
				} else {
					mine++
				}
			}
			if d := cmp.Diff(others, now); d != "" {
				t.Fatalf("others' ancestors changed: %s", d)
			}
			if len(got.Status.Ancestors) > maxAncestors || mine != min(len(ancestors.Ancestors), maxAncestors-len(others)) {
				t.Fatalf("%d ancestors, %d of them ours, of %d wanted", len(got.Status.Ancestors), mine, len(ancestors.Ancestors))
			}
			if again := w.merged(got, ancestors); again != nil {
				t.Fatalf("a second merge writes %+v", again)
			}
		}
		if got, ok := w.merged(route, parents).(*gatewayv1.TLSRoute); ok {
			if len(got.Status.Parents) > maxParents {
				t.Fatalf("%d parents", len(got.Status.Parents))
			}
			if again := w.merged(got, parents); again != nil {
				t.Fatalf("a second merge writes %+v", again)
			}
		}
	}
}

func TestParentsThatAPIServersTake(t *testing.T) {
	have := &gatewayv1.UDPRoute{}
	for i := range 30 {
		have.Status.Parents = append(have.Status.Parents, parent("other", fmt.Sprint(i)))
	}
	want := &gatewayv1.RouteStatus{}
	for i := range 4 {
		want.Parents = append(want.Parents, parent("ours", fmt.Sprint(i)))
	}
	got := mergingWriter().merged(have, want).(*gatewayv1.UDPRoute).Status.Parents
	if len(got) != maxParents || got[30].ControllerName != "ours" || got[31].ParentRef.Name != "1" {
		t.Errorf("got %d parents, %+v", len(got), got[30:])
	}
}

func TestListenersKeepTheirTimes(t *testing.T) {
	listener := func(name string, at time.Time) gatewayv1.ListenerStatus {
		return gatewayv1.ListenerStatus{Name: gatewayv1.SectionName(name), Conditions: []metav1.Condition{condition("Programmed", "True", "", at)}}
	}
	have := &gatewayv1.Gateway{Status: gatewayv1.GatewayStatus{Conditions: []metav1.Condition{condition("Programmed", "True", "", before)}, Listeners: []gatewayv1.ListenerStatus{listener("a", before), listener("gone", before)}}}
	want := &gatewayv1.GatewayStatus{Conditions: []metav1.Condition{condition("Programmed", "True", "", time.Time{})}, Listeners: []gatewayv1.ListenerStatus{listener("new", time.Time{}), listener("a", time.Time{})}}
	got := mergingWriter().merged(have, want).(*gatewayv1.Gateway)
	if d := cmp.Diff([]gatewayv1.ListenerStatus{listener("new", later), listener("a", before)}, got.Status.Listeners); d != "" {
		t.Error(d)
	}
	if !got.Status.Conditions[0].LastTransitionTime.Time.Equal(before) {
		t.Errorf("the Gateway's own: %v", got.Status.Conditions[0].LastTransitionTime)
	}
	if again := mergingWriter().merged(got, want); again != nil {
		t.Errorf("a second merge writes %+v", again)
	}
	// While proxies do not serve it, nothing is programmed, and the result stays as it was.
	p := pending(want, "0 of 2 proxies").(*gatewayv1.GatewayStatus)
	if c := p.Listeners[0].Conditions[0]; c.Status != metav1.ConditionFalse || c.Reason != "Pending" || c.Message != "0 of 2 proxies" || p.Conditions[0].Status != metav1.ConditionFalse {
		t.Errorf("pending: got %+v", p)
	}
	if want.Conditions[0].Status != metav1.ConditionTrue || want.Listeners[0].Conditions[0].Status != metav1.ConditionTrue {
		t.Error("pending changed the result")
	}
}

func TestControllersOfAChainStatus(t *testing.T) {
	entry := func(controller, hash string, list ...metav1.Condition) api.ChainController {
		return api.ChainController{ControllerName: controller, ObservedHash: hash, Conditions: list}
	}
	yes := condition("Accepted", "True", "", before)
	have := &api.ChainStatus{Status: api.ChainStatusState{Controllers: []api.ChainController{entry("other", "1", yes), entry("ours", "1", yes)}}}
	want := &api.ChainStatus{Status: api.ChainStatusState{Controllers: []api.ChainController{entry("ours", "2", condition("Accepted", "True", "", time.Time{}))}}}
	got := mergingWriter().merged(have, want).(*api.ChainStatus)
	if d := cmp.Diff([]api.ChainController{entry("other", "1", yes), entry("ours", "2", yes)}, got.Status.Controllers); d != "" {
		t.Error(d)
	}
	have.Status.Controllers = have.Status.Controllers[:1]
	got = mergingWriter().merged(have, want).(*api.ChainStatus)
	if d := cmp.Diff([]api.ChainController{entry("other", "1", yes), entry("ours", "2", condition("Accepted", "True", "", later))}, got.Status.Controllers); d != "" {
		t.Error(d)
	}
}
