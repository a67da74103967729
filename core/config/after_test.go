package config

import (
	"maps"
	"testing"
)

// TestValidateAfter: what a valid config has is trusted as long as what it leads to is
// there.
func TestValidateAfter(t *testing.T) {
	route := func(upstream string) *Route {
		return &Route{Rules: []*Rule{{Matches: []Match{{Path: "/"}}, Backends: []Backend{{Weight: 1, Upstream: upstream}}}}}
	}
	table := &RouteTable{Entries: []*RouteEntry{{Route: route("a")}, {Route: route("b")}}}
	of := func(t *RouteTable, upstreams map[string]*Upstream) *Config {
		return &Config{Upstreams: upstreams, Gateways: []*Gateway{{Parameters: DefaultProxyParameters(), Listeners: []*Listener{{Name: "l", Port: 80, Protocol: "HTTP", Routes: t}}}}}
	}
	both := map[string]*Upstream{"a": {Name: "a", Parameters: DefaultProxyParameters()}, "b": {Name: "b", Parameters: DefaultProxyParameters()}}
	one := map[string]*Upstream{"a": both["a"]}
	misnamed := maps.Clone(both)
	misnamed["c"] = both["a"]
	with := func(upstream string) *RouteTable {
		return &RouteTable{Entries: []*RouteEntry{table.Entries[0], {Route: route(upstream)}, table.Entries[1]}}
	}
	valid := of(table, both)
	if err := valid.Validate(); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		next *Config
		ok   bool
	}{
		"nothing changed":              {of(table, both), true},
		"other maps":                   {of(table, maps.Clone(both)), true},
		"an upstream that is in use":   {of(table, one), false},
		"a route to what there is":     {of(with("a"), both), true},
		"a route to what there is not": {of(with("c"), both), false},
		"a misnamed upstream":          {of(table, misnamed), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := tt.next.ValidateAfter(valid); (err == nil) != tt.ok {
				t.Errorf("got %v; want it valid: %v", err, tt.ok)
			}
			if err := tt.next.Validate(); (err == nil) != tt.ok {
				t.Errorf("as a whole: got %v; want it valid: %v", err, tt.ok)
			}
		})
	}
}
