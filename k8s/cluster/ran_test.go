package cluster

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

// TestRanAsChainStatusesSay: who does not lead knows what has run, if it is what is
// wanted now, and as long as it is.
func TestRanAsChainStatusesSay(t *testing.T) {
	chain := func() *api.ChainStatus {
		return &api.ChainStatus{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "service-s"}, Status: api.ChainStatusState{Controllers: []api.ChainController{{
			ControllerName: "ours", ObservedHash: "text", Conditions: []metav1.Condition{condition("Programmed", "True", "", before)},
			Filters: []api.ChainFilter{{Name: "service/x", Hash: ran, Image: "r.example/x:1", State: "Ready", Digest: one}},
		}}}}
	}
	want := chain()
	want.Status.Controllers[0].Conditions, want.Status.Controllers[0].Filters[0].State, want.Status.Controllers[0].Filters[0].Digest = nil, "", ""
	o := config.Object{Kind: "ChainStatus", Namespace: "n", Name: "service-s"}
	result := &translate.Result{Status: config.OverlayOf(map[config.Object]any{o: want}), ChainParts: map[config.Object][]string{o: {"h"}}}
	tests := map[string]struct {
		change func(c *api.ChainController)
		leads  bool
		want   bool
	}{
		"all run it":         {func(*api.ChainController) {}, false, true},
		"this process leads": {func(*api.ChainController) {}, true, false},
		"not all run it":     {func(c *api.ChainController) { c.Conditions[0].Status = "False" }, false, false},
		"another text":       {func(c *api.ChainController) { c.ObservedHash = "old" }, false, false},
		"another entry":      {func(c *api.ChainController) { c.Filters[0].Hash = left }, false, false},
		"another image":      {func(c *api.ChainController) { c.Filters[0].Image = "r.example/x:2" }, false, false},
		"fewer filters":      {func(c *api.ChainController) { c.Filters = nil }, false, false},
		"one failed":         {func(c *api.ChainController) { c.Filters[0].State = "Failed" }, false, false},
		"one rolled back":    {func(c *api.ChainController) { c.Filters[0].RolledBack = &api.ChainRollBack{} }, false, false},
		"another controller": {func(c *api.ChainController) { c.ControllerName = "other" }, false, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := &Source{ran: map[string]bool{}, writer: &writer{controllerName: "ours"}, stores: &stores{chainStatus: newStore[*api.ChainStatus](nil, func() {})}}
			s.writer.leads.Store(test.leads)
			have := chain()
			test.change(&have.Status.Controllers[0])
			s.observe(have) // before anything is wanted
			if s.Ran("h") {
				t.Error("known before it is wanted")
			}
			s.result = result
			s.observe(have)
			if got := s.Ran("h"); got != test.want {
				t.Errorf("told: got %v; want %v", got, test.want)
			}
			clear(s.ran)
			if err := s.stores.chainStatus.Add(have); err != nil {
				t.Fatal(err)
			}
			s.observeAll(result)
			if got := s.Ran("h"); got != test.want {
				t.Errorf("read: got %v; want %v", got, test.want)
			}
			s.writer.leads.Store(true) // what it knew it knows yet
			s.observeAll(result)
			if got := s.Ran("h"); got != test.want {
				t.Errorf("once it leads: got %v; want %v", got, test.want)
			}
			s.observeAll(&translate.Result{})
			if s.Ran("h") {
				t.Error("known of what is wanted no more")
			}
		})
	}
}
