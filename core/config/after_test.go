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

// TestKeepsChains: that chains are what they were is never said of others.
func TestKeepsChains(t *testing.T) {
	a, b, gatewaysOwn := &Chain{}, &Chain{}, &Chain{}
	route := func(c *Chain) *RouteEntry {
		return &RouteEntry{Route: &Route{Rules: []*Rule{{Backends: []Backend{{Chain: c}}}}}}
	}
	first, last := route(a), route(nil)
	with := func(entries ...*RouteEntry) *Config {
		table := &RouteTable{Entries: append(append([]*RouteEntry{first}, entries...), last)}
		return &Config{Gateways: []*Gateway{{Listeners: []*Listener{{Chain: gatewaysOwn, Routes: table}, {Protocol: "TCP", RawRoutes: &RawTable{}}}}}}
	}
	raw := with()
	raw.Gateways[0].Listeners[1] = &Listener{Protocol: "TCP", RawRoutes: &RawTable{Entries: []RawEntry{{Route: &RawRoute{Backends: []Backend{{Chain: b}}}}}}}
	gateway := with()
	gateway.Gateways[0].Listeners[0].Chain = b
	plain := with()
	keepRaw := func(c *Config) *Config {
		c.Gateways[0].Listeners[1] = plain.Gateways[0].Listeners[1]
		return c
	}
	ruled := route(nil)
	ruled.Route.Rules[0].Chain = b
	tests := map[string]struct {
		before, now *Config
		want        bool
	}{
		"the same":                        {plain, plain, true},
		"a route without chain":           {plain, keepRaw(with(route(nil))), true},
		"a route with a chain":            {plain, keepRaw(with(route(b))), false},
		"a rule with a chain":             {plain, keepRaw(with(ruled)), false},
		"a chain is gone":                 {keepRaw(with(route(b))), plain, false},
		"a route with the chain it had":   {keepRaw(with(route(b))), keepRaw(with(route(b))), true},
		"a route with another chain":      {keepRaw(with(route(a))), keepRaw(with(route(b))), false},
		"one of two with the chain stays": {keepRaw(with(route(b), route(b))), keepRaw(with(route(b))), true},
		"a raw route with a chain":        {plain, raw, false},
		"the Gateway's part":              {plain, keepRaw(gateway), false},
		"one Gateway more":                {plain, &Config{Gateways: append([]*Gateway{{}}, plain.Gateways...)}, false},
		"no Gateway":                      {plain, &Config{}, false},
	}
	for name, tt := range tests {
		if got := tt.now.KeepsChains(tt.before); got != tt.want {
			t.Errorf("%s: got %v; want %v", name, got, tt.want)
		}
	}
}
