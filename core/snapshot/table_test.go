package snapshot

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/router"
)

// alters makes configs that come after each other.
type alters struct {
	*rand.Rand
	routes    []*config.Route
	upstreams map[string]*config.Upstream
	endpoints map[string]*config.EndpointSet
	tables    [3]*config.RouteTable
	split     bool // the last two listeners have tables of their own
}

func (a *alters) route(i int) *config.Route {
	name := fmt.Sprint("r", i)
	rule := &config.Rule{Name: name, Matches: []config.Match{{PathType: config.PathPrefix, Path: fmt.Sprint("/", a.IntN(3))}}, Backends: []config.Backend{{
		Weight: 1, Upstream: fmt.Sprint("u", a.IntN(3)), Service: "s",
	}}}
	if a.IntN(5) == 0 {
		rule.Chain = &config.Chain{Parts: []*config.Part{partOf(name, filterOf(name))}}
	}
	return &config.Route{Object: config.Object{Kind: "HTTPRoute", Namespace: "ns", Name: name}, Rules: []*config.Rule{rule}}
}

// next changes some routes, tables and upstreams.
func (a *alters) next() *config.Config {
	if a.IntN(4) == 0 || a.upstreams == nil {
		a.upstreams, a.endpoints = maps.Clone(a.upstreams), maps.Clone(a.endpoints)
		if a.upstreams == nil {
			a.upstreams, a.endpoints = map[string]*config.Upstream{}, map[string]*config.EndpointSet{}
		}
		for i := range 3 {
			if name := fmt.Sprint("u", i); a.upstreams[name] == nil || a.IntN(3) == 0 {
				a.upstreams[name] = &config.Upstream{Name: name, Protocol: config.ProtocolHTTP, Parameters: config.DefaultProxyParameters()}
			}
		}
	}
	if a.IntN(3) == 0 {
		a.endpoints = map[string]*config.EndpointSet{"u0": {}}
	}
	if a.IntN(4) > 0 || a.routes == nil {
		a.routes = slices.Clone(a.routes)
		for len(a.routes) < 6 {
			a.routes = append(a.routes, a.route(len(a.routes)))
		}
		i := a.IntN(6)
		a.routes[i] = a.route(i)
	}
	for i := range a.tables {
		if a.IntN(2) == 0 || a.tables[i] == nil {
			a.tables[i] = &config.RouteTable{}
			for _, r := range a.routes {
				if a.IntN(3) > 0 {
					a.tables[i].Entries = append(a.tables[i].Entries, &config.RouteEntry{Hostnames: [][]string{nil, {"a.example"}}[a.IntN(2)], Route: r})
				}
			}
		} else if a.IntN(2) == 0 { // routes are others, the places the same
			t := &config.RouteTable{Entries: slices.Clone(a.tables[i].Entries)}
			for j, e := range t.Entries {
				k := slices.IndexFunc(a.routes, func(r *config.Route) bool { return r.Object == e.Route.Object })
				t.Entries[j] = &config.RouteEntry{Hostnames: e.Hostnames, Route: a.routes[k]}
			}
			a.tables[i] = t
		}
	}
	a.split = a.IntN(2) == 0
	g := &config.Gateway{Object: config.Object{Kind: "Gateway", Namespace: "ns", Name: "g"}, Parameters: config.DefaultProxyParameters()}
	for i, t := range a.tables {
		if i == 2 && !a.split {
			t = a.tables[1]
		}
		g.Listeners = append(g.Listeners, &config.Listener{Name: fmt.Sprint("l", i), Port: uint16(80 + i), Protocol: "HTTP", Routes: t})
	}
	return &config.Config{Gateways: []*config.Gateway{g}, Upstreams: a.upstreams, Endpoints: config.OverlayOf(maps.Clone(a.endpoints))}
}

// found is what a snapshot does with requests.
func found(t *testing.T, s *Store) (text string) {
	for port := 80; port < 83; port++ {
		l := s.Load().Port(config.Socket{Address: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))}.Key()).Listener([]byte("a.example"))
		for path := range 3 {
			for _, hostname := range []string{"a.example", "b.example"} {
				q := &router.Request{Hostname: []byte(hostname), Path: fmt.Appendf(nil, "/%d", path), Method: []byte("GET"), Header: &exchange.Header{}}
				rule, _, ok := l.Table.Find(q)
				if !ok {
					text += fmt.Sprintln(port, path, hostname, "nothing")
					continue
				}
				u := rule.Backends[0].Upstream
				if u != s.groups.Group(rule.Config.Backends[0].Upstream) {
					t.Errorf("port %d, path %d: not the group of %s", port, path, rule.Config.Backends[0].Upstream)
				}
				if (rule.Chain != nil) != (rule.Config.Chain != nil) || rule.Chain != nil && s.Load().chains[chainKey(rule.Config.Chain)] != rule.Chain {
					t.Errorf("port %d, path %d: not its chain", port, path)
				}
				text += fmt.Sprintln(port, path, hostname, rule.Name, rule.Config.Backends[0].Upstream)
			}
		}
	}
	return text
}

// TestWhatIsTakenOverChangesNothing: a Store that has served all configs does what one
// does that serves the last alone, and counts for no rule that is gone.
func TestWhatIsTakenOverChangesNothing(t *testing.T) {
	for seed := range uint64(3) {
		a := &alters{Rand: rand.New(rand.NewPCG(seed, 0))}
		old := newBed(t)
		for step := range 40 {
			c := a.next()
			fresh := newBed(t)
			if err := errors.Join(old.Apply(c), fresh.Apply(c)); err != nil {
				t.Fatal(err)
			}
			if got, want := found(t, old.Store), found(t, fresh.Store); got != want {
				t.Fatalf("seed %d, step %d: got\n%s; want\n%s", seed, step, got, want)
			}
			if !maps.Equal(old.metrics.users, fresh.metrics.users) {
				t.Fatalf("seed %d, step %d: series %v; want %v", seed, step, old.metrics.users, fresh.metrics.users)
			}
			if len(old.routes) != len(fresh.routes) || len(old.Load().chains) != len(fresh.Load().chains) {
				t.Fatalf("seed %d, step %d: %d routes, %d chains; want %d, %d", seed, step, len(old.routes), len(old.Load().chains), len(fresh.routes), len(fresh.Load().chains))
			}
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
		}
	}
}
