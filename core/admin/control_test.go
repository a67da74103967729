package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/remote"
	"penstock.dev/penstock/core/telemetry"
)

// named makes the name of an object.
func named(kind, namespace, name string) config.Object {
	return config.Object{Kind: kind, Namespace: namespace, Name: name}
}

// partOf makes an object's part with one filter, all of which hold the mark.
func partOf(o config.Object, mark string) *config.Part {
	f := func(name string) *config.Filter {
		return &config.Filter{
			Part: "service", Name: name, Owner: o, Namespace: o.Namespace, Hash: "f-" + mark + name, Image: "r.example/" + mark,
			Config: []byte("hush"), VMConfig: []byte("hush"), Env: []config.EnvVar{{Name: "TOKEN", Value: "hush"}}, PullSecrets: []config.PullCredential{{Password: "hush"}},
			Trust: []config.Trust{{Keys: []string{"policy"}}}, ModuleSource: "policy", Redis: &config.Redis{Address: "policy"},
		}
	}
	one := f("one")
	one.Canary = &config.Canary{Filter: f("one" + config.CanarySuffix)}
	return &config.Part{
		Name: "service", Object: o, Hash: "h-" + mark, Filters: []*config.Filter{one},
		Fallback: &config.Part{Name: "service", Object: o, Hash: "h-" + mark + "-old", Filters: []*config.Filter{f("old")}},
		Previous: &config.Part{Name: "service", Object: o, Hash: "h-" + mark + "-before", Filters: []*config.Filter{f("before")}},
	}
}

// tenants is a config of three namespaces: mine and yours, each with a Service and a
// route, on a Gateway of infra, and one of mine; every name of yours has "yours" in it.
func tenants() *config.Config {
	parameters := config.DefaultProxyParameters()
	parameters.Via = "infra-via"
	policy := partOf(named("PluginPolicy", "", "policy"), "policy")
	edge := partOf(named("Gateway", "infra", "infra-edge"), "infra")
	c := &config.Config{Upstreams: map[string]*config.Upstream{}, Totals: map[string]*config.Totals{}}
	route := func(ns string, backends ...string) *config.Route {
		rule := &config.Rule{
			Name:    "HTTPRoute/" + ns + "/" + ns + "-route/0",
			Matches: []config.Match{{PathType: config.PathPrefix, Path: "/" + ns, Headers: []config.ValueMatch{{Name: "x-key", Value: "hush"}}, Query: []config.ValueMatch{{Name: "key", Value: "hush"}}}},
			Steps: []config.Step{
				{Request: &config.HeaderModifier{Set: []config.HeaderValue{{Name: "authorization", Value: "hush"}}}},
				{Response: &config.HeaderModifier{Add: []config.HeaderValue{{Name: "x-add", Value: "hush"}}}},
			},
		}
		for _, of := range backends {
			name := of + "/" + of + "-shop:80@infra-edge"
			chain := &config.Chain{Parts: []*config.Part{policy, partOf(named("HTTPRoute", ns, ns+"-route"), ns+"-route"), partOf(named("Service", of, of+"-shop"), of+"-shop")}}
			rule.Backends = append(rule.Backends, config.Backend{Weight: 1, Upstream: name, Service: of + "/" + of + "-shop", Chain: chain})
			c.Upstreams[name] = &config.Upstream{Name: name, Protocol: "http", Parameters: parameters, TLS: &config.UpstreamTLS{ServerName: of + ".example", Certificate: &config.Certificate{Object: named("Secret", "infra", "infra-cert")}}}
			c.Endpoints = c.Endpoints.With(map[string]*config.EndpointSet{name: {Endpoints: []config.Endpoint{{Zone: of + "-zone"}}}})
			c.Totals[of] = &config.Totals{Filters: 7}
		}
		return &config.Route{Object: named("HTTPRoute", ns, ns+"-route"), Rules: []*config.Rule{rule}}
	}
	mine, yours := route("mine", "mine"), route("yours", "yours")
	entries := func(routes ...*config.Route) *config.RouteTable {
		t := &config.RouteTable{}
		for _, r := range routes {
			t.Entries = append(t.Entries, &config.RouteEntry{Hostnames: []string{r.Object.Namespace + ".example"}, Route: r})
		}
		return t
	}
	secured := &config.TLS{Certificates: []*config.Certificate{{Object: named("Secret", "infra", "infra-cert"), Names: []string{"infra.example"}}}}
	raw := func(ns string) config.RawEntry {
		return config.RawEntry{Route: &config.RawRoute{Object: named("TCPRoute", ns, ns+"-raw"), Name: ns + "-raw", Backends: []config.Backend{{Upstream: ns + "/" + ns + "-shop:80@infra-edge"}}}}
	}
	c.Gateways = []*config.Gateway{
		{Object: named("Gateway", "infra", "edge"), Parameters: parameters, Listeners: []*config.Listener{
			{Name: "both", Port: 443, Protocol: "HTTPS", Hostname: "infra.example", TLS: secured, Chain: &config.Chain{Parts: []*config.Part{edge}}, Routes: entries(mine, yours)},
			{Name: "only-yours", Port: 80, Protocol: "HTTP", Routes: entries(yours)},
			{Name: "yours/set/extra", Port: 81, Protocol: "HTTP", Routes: entries(yours)},
			{Name: "mine/set/extra", Port: 82, Protocol: "HTTP", Hostname: "mine-set.example", Routes: entries(yours)},
			{Name: "raw", Port: 9000, Protocol: "TCP", RawRoutes: &config.RawTable{Entries: []config.RawEntry{raw("mine"), raw("yours")}}},
		}},
		{Object: named("Gateway", "mine", "own"), Parameters: parameters, Listeners: []*config.Listener{{Name: "http", Port: 80, Protocol: "HTTP", Hostname: "mine-own.example", Routes: entries(yours)}}},
		{Object: named("Gateway", "yours", "yours-own"), Parameters: parameters, Listeners: []*config.Listener{{Name: "yours-http", Port: 80, Protocol: "HTTP", Routes: entries(yours)}}},
	}
	return c
}

// TestOneNamespace: of a config there is shown what the namespace's objects declare,
// and nothing of others, nor what they hide.
func TestOneNamespace(t *testing.T) {
	before, err := json.Marshal(tenants())
	if err != nil {
		t.Fatal(err)
	}
	c := tenants()
	tests := map[string]struct{ has, lacks []string }{
		"mine": {
			has: []string{
				"mine-route", "mine-shop:80", "mine.example", "mine-zone", "mine-raw", "mine-own.example", "mine-set.example", `"edge"`, `"both"`, `"raw"`, "r.example/mine-shop", "r.example/mine-route",
				"h-mine-shop-old", "h-mine-shop-before", "x-key", "authorization", `"Filters":7`, "TOKEN",
			},
			lacks: []string{"yours", "infra-", "infra.example", "policy", "hush", "aHVzaA"},
		},
		"nobody": {lacks: []string{"mine", "yours", "edge", "infra", "policy", "hush"}},
		"":       {has: []string{"mine-shop", "yours-shop", "infra-via", "infra.example", "r.example/policy", `"Filters":7`}, lacks: []string{"hush", "aHVzaA"}},
	}
	for namespace, test := range tests {
		t.Run(namespace, func(t *testing.T) {
			b, err := json.Marshal(shown{namespace: namespace}.config(c))
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range test.has {
				if !strings.Contains(string(b), s) {
					t.Errorf("%s is not shown", s)
				}
			}
			for _, s := range test.lacks {
				if i := strings.Index(string(b), s); i >= 0 {
					t.Errorf("%s is shown: %.200s", s, b[max(0, i-100):])
				}
			}
		})
	}
	if after, err := json.Marshal(c); err != nil || string(after) != string(before) {
		t.Errorf("the config itself was changed: %v", err)
	}
}

func TestChainsOfTheFleet(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	says := func(state string, filters ...Filter) []Part {
		return []Part{{Hash: "h-mine-shop", State: state, Filters: filters}}
	}
	is := func(name, state string) Filter {
		f := Filter{Name: "service/" + name, State: state, Digest: "sha256:" + state, Since: since}
		if state == "Failed" {
			f.Reason, f.Message = "InvalidModule", "it is none"
		}
		return f
	}
	ready := func(id string, parts []Part) Proxy { return Proxy{ID: id, Ready: true, Current: true, Parts: parts} }
	tests := map[string]struct {
		proxies []Proxy
		state   string
		running string
		filters []string // name=state count
	}{
		"no proxy": {nil, "Pending", "0/0", []string{"service/one= 0/0"}},
		"all run it": {
			[]Proxy{ready("a", says("Running", is("one", "Ready"))), ready("b", says("Running", is("one", "Ready")))},
			"Running", "2/2", []string{"service/one=Ready 2/2"},
		},
		"one is behind": {
			[]Proxy{ready("a", says("Running", is("one", "Ready"))), {ID: "b", Ready: true, Parts: says("Running", is("one", "Ready"))}},
			"Running", "1/2", []string{"service/one=Ready 2/2"},
		},
		"one has not heard of it": {
			[]Proxy{ready("a", says("Running", is("one", "Ready"))), ready("b", nil)},
			"Pending", "1/2", []string{"service/one=Ready 1/2"},
		},
		"one that is not ready does not count": {
			[]Proxy{ready("a", says("Running", is("one", "Ready"))), {ID: "b", Parts: says("Broken", is("one", "Failed"))}},
			"Running", "1/1", []string{"service/one=Ready 1/1"},
		},
		"the worst is told": {
			[]Proxy{ready("a", says("Running", is("one", "Ready"))), ready("b", says("Broken", is("one", "Failed"))), ready("c", says("Pending", is("one", "Pulling")))},
			"Broken", "1/3", []string{"service/one=Failed 1/3"},
		},
		"its last good form serves": {
			[]Proxy{ready("a", says("LastGood", is("old", "Ready"))), ready("b", says("LastGood", is("old", "Ready")))},
			"LastGood", "0/2", []string{"service/one= 0/2", "service/old=Ready 2/2"},
		},
		"rolled back": {
			[]Proxy{ready("a", says("Running", is("before", "Ready"), is("one", "RolledBack")))},
			"Running", "0/1", []string{"service/one=RolledBack 1/1", "service/before=Ready 1/1"},
		},
		"a state of a later version": {
			[]Proxy{ready("a", says("Sleeping", is("one", "Dreaming")))},
			"Sleeping", "0/1", []string{"service/one=Dreaming 1/1"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := Fleet{Proxies: test.proxies}
			all := f.chains(tenants(), "mine")
			var targets []string
			for _, r := range all {
				targets = append(targets, r.Target)
			}
			if d := cmp.Diff([]string{"HTTPRoute/mine/mine-route", "Service/mine/mine-shop"}, targets); d != "" {
				t.Fatal(d)
			}
			r := all[1]
			var filters []string
			for _, f := range r.Filters {
				filters = append(filters, fmt.Sprintf("%s=%s %s", f.Name, f.State, f.Proxies))
				if f.Image != "r.example/mine-shop" || f.Origin.Object != "Service/mine/mine-shop" {
					t.Errorf("%s: image %s of %+v", f.Name, f.Image, f.Origin)
				}
				if f.State == "Failed" && (f.Reason != "InvalidModule" || f.Message != "it is none" || f.Digest != "sha256:Failed" || !f.Since.Equal(since)) {
					t.Errorf("got %+v", f)
				}
			}
			if r.State != test.state || r.Proxies != test.running {
				t.Errorf("got %s, run by %s; want %s, by %s", r.State, r.Proxies, test.state, test.running)
			}
			if d := cmp.Diff(test.filters, filters); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestControlAsksForTheRight(t *testing.T) {
	a := newAuthority(t)
	dir := t.TempDir()
	a.folder(dir, 10, a)
	known := &tokens{}
	g := Remote(remote.FromFolder(dir), known, zap.NewNop())
	c := tenants()
	var current *config.Config
	control := NewControl(ControlOptions{
		Metrics: telemetry.New(), Ready: func() bool { return current != nil }, Config: func() *config.Config { return current },
		Fleet: func() Fleet { return Fleet{Leads: true, Proxies: []Proxy{{ID: "one", Ready: true}}} },
		Problems: func() []Problem {
			return []Problem{{Object: "Service/mine/a", Namespace: "mine"}, {Object: "Service/yours/a", Namespace: "yours"}, {Object: "Plugin/x"}}
		},
	})
	address := "https://" + serve(t, g, control.Admin(g))
	if status, body, _ := ask(t, client(a), address+"/config", "Authorization", "Bearer good"); status != 503 {
		t.Errorf("without a config: got %d %s", status, body)
	}
	current = c
	known.take()
	of := func(r ...Right) []Right { return r }
	tests := map[string]struct {
		asked      []Right
		want       int
		has, lacks string
	}{
		"/livez":                                 {of(Right{Path: "/livez"}), 200, "ok", ""},
		"/readyz":                                {of(Right{Path: "/readyz"}), 200, "ok", ""},
		"/metrics":                               {of(Right{Path: "/metrics"}), 200, "go_goroutines", ""},
		"/proxies":                               {of(Right{Path: "/proxies"}), 200, `"id": "one"`, ""},
		"/debug/pprof/goroutine?debug=1":         {of(Right{Path: "/debug/pprof/goroutine"}), 200, "goroutine profile", ""},
		"/config":                                {of(Right{}), 200, "yours-shop", "hush"},
		"/config?namespace=mine":                 {of(Right{Namespace: "mine"}), 200, "mine-shop", "yours"},
		"/chains":                                {of(Right{}), 200, "Plugin/x", "hush"},
		"/chains?namespace=mine":                 {of(Right{Namespace: "mine"}), 200, "Service/mine/a", "yours"},
		"/chains?namespace=":                     {nil, 400, "namespace", ""},
		"/chains?namespace=Mine":                 {nil, 400, "namespace", ""},
		"/chains?namespace=mine/x":               {nil, 400, "namespace", ""},
		"/chains?namespace=mine&namespace=yours": {nil, 400, "namespace", ""},
		"/config?ns=mine":                        {nil, 400, "unknown parameter", ""},
		"/config?namespace=%zz":                  {nil, 400, "query", ""},
		"/config/":                               {nil, 404, "", "mine"},
		"/debug/pprof/cmdline":                   {nil, 404, "", ""},
	}
	for path, test := range tests {
		t.Run(path, func(t *testing.T) {
			status, body, _ := ask(t, client(a), address+path, "Authorization", "Bearer good")
			if status != test.want || !strings.Contains(body, test.has) || test.lacks != "" && strings.Contains(body, test.lacks) {
				t.Errorf("got %d %.300s", status, body)
			}
			if asked := known.take(); !slices.Equal(asked, test.asked) {
				t.Errorf("asked for %v; want %v", asked, test.asked)
			}
			if test.want != 200 {
				return
			}
			for token, want := range map[string]int{"Bearer weak": 403, "Bearer bad": 401, "": 401, "Bearer down": 503} {
				var fields []string
				if token != "" {
					fields = []string{"Authorization", token}
				}
				if status, body, _ := ask(t, client(a), address+path, fields...); status != want || strings.Contains(body, "shop") {
					t.Errorf("%q: got %d %s; want %d", token, status, body, want)
				}
			}
			known.take()
			if status, _, _ := ask(t, client(a, a.client()), address+path); status != 200 {
				t.Errorf("with a certificate: got %d", status)
			}
			if len(known.take()) != 0 {
				t.Error("who has a certificate is asked about")
			}
		})
	}
	plain := "http://" + serve(t, Open(), control.Admin(Open()))
	for path, want := range map[string]int{"/config": 200, "/chains?namespace=mine": 200, "/proxies": 200, "/livez": 200} {
		if status, body, _ := ask(t, http.DefaultClient, plain+path); status != want {
			t.Errorf("on loopback, %s: got %d %s", path, status, body)
		}
	}
	health := "http://" + serve(t, Open(), control.Health())
	for path, want := range map[string]int{"/config": 404, "/chains": 404, "/proxies": 404, "/debug/pprof/heap": 404, "/livez": 200, "/readyz": 200, "/metrics": 200} {
		if status, body, _ := ask(t, http.DefaultClient, health+path); status != want {
			t.Errorf("health, %s: got %d %s", path, status, body)
		}
	}
}
