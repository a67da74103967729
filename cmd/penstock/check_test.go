package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/k8s/translate"
)

func TestFiltersOfAConfigAreListedOnce(t *testing.T) {
	filter := func(owner, name string) *config.Filter {
		return &config.Filter{Owner: config.Object{Kind: "Service", Name: owner}, Part: "service", Name: name, Hash: owner + name}
	}
	a := filter("a", "x")
	a.Canary = &config.Canary{Filter: filter("a", "x:canary")}
	b := filter("b", "x")
	b.Canary = &config.Canary{Fault: &config.Fault{}}
	old := &config.Part{Filters: []*config.Filter{filter("a", "old")}}
	chain := &config.Chain{Parts: []*config.Part{{Filters: []*config.Filter{b, a}, Fallback: old, Previous: old}}}
	c := &config.Config{Gateways: []*config.Gateway{{Listeners: []*config.Listener{
		{Routes: &config.RouteTable{}, Chain: &config.Chain{Parts: []*config.Part{{Filters: []*config.Filter{filter("g", "x")}}}}},
		{Routes: &config.RouteTable{Entries: []*config.RouteEntry{{Route: &config.Route{Rules: []*config.Rule{{Chain: chain, Backends: []config.Backend{{Chain: chain}, {}}}}}}}}},
	}}}}
	got := ""
	for _, f := range filtersOf(c) {
		got += f.Hash + " "
	}
	if want := "ax ax:canary bx gx "; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}

func TestProblemOfAFilter(t *testing.T) {
	tests := map[string]struct {
		kind string
		err  error
		want string // empty: none
		warn bool
	}{
		"none":        {"Service", nil, "", false},
		"a trap":      {"Service", &plugin.Fault{Reason: "InvalidModule", Err: errors.New("trap\n\tat f")}, "Service/ns/o: metadata.annotations: InvalidModule: filter service/x: trap at f; name another image or version of the plugin", false},
		"a chain's":   {"PluginChain", &plugin.Fault{Reason: "InvalidConfig", Err: errors.New("no")}, "PluginChain/ns/o: spec.plugins: InvalidConfig: filter service/x: no", false},
		"a policy's":  {"PluginPolicy", &plugin.Fault{Reason: "InvalidConfig", Err: errors.New("no")}, "PluginPolicy/ns/o: spec: InvalidConfig: filter service/x: no", false},
		"not checked": {"Service", fmt.Errorf("%w: down", plugin.ErrNotTried), "Service/ns/o: metadata.annotations: NotChecked: filter service/x: not checked: down; ", true},
	}
	for name, test := range tests {
		f := &config.Filter{Owner: config.Object{Kind: test.kind, Namespace: "ns", Name: "o"}, Part: "service", Name: "x"}
		p := problemOf(f, test.err)
		if p == nil {
			if test.want != "" {
				t.Errorf("%s: got none", name)
			}
			continue
		}
		if got := p.String(); test.want == "" || !strings.HasPrefix(got, test.want) || p.Warning != test.warn {
			t.Errorf("%s: got %q, %v; want %q, %v", name, got, p.Warning, test.want, test.warn)
		}
	}
}

func TestTell(t *testing.T) {
	var out strings.Builder
	p := translate.Problem{File: "a.yaml", Message: "m", Warning: true}
	if err := tell(&out, []translate.Problem{p}); err != nil || out.String() != "a.yaml: warning: m\nno errors\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
	p.Warning = false
	if err := tell(&out, []translate.Problem{p}); !errors.Is(err, errReported) {
		t.Errorf("got %v", err)
	}
}
