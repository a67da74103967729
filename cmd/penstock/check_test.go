package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

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
	native := filter("a", "cache")
	native.Cache = &config.Cache{}
	b := filter("b", "x")
	b.Canary = &config.Canary{Fault: &config.Fault{}}
	old := &config.Part{Filters: []*config.Filter{filter("a", "old")}}
	chain := &config.Chain{Parts: []*config.Part{{Filters: []*config.Filter{b, native, a}, Fallback: old, Previous: old}}}
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
		miss []string
	}{
		"none":        {"Service", nil, "", false, nil},
		"a trap":      {"Service", &plugin.Fault{Reason: "InvalidModule", Err: errors.New("trap\n\tat f")}, "Service/ns/o: metadata.annotations: InvalidModule: filter service/x: trap at f; name another image or version of the plugin", false, nil},
		"a chain's":   {"PluginChain", &plugin.Fault{Reason: "InvalidConfig", Err: errors.New("no")}, "PluginChain/ns/o: spec.plugins: InvalidConfig: filter service/x: no", false, nil},
		"a policy's":  {"PluginPolicy", &plugin.Fault{Reason: "InvalidConfig", Err: errors.New("no")}, "PluginPolicy/ns/o: spec: InvalidConfig: filter service/x: no", false, nil},
		"not checked": {"Service", fmt.Errorf("%w: down", plugin.ErrNotTried), "Service/ns/o: metadata.annotations: NotChecked: filter service/x: not checked: down; ", true, nil},
		"not granted": {"Consumer", nil, "Consumer/ns/o: spec.plugins: NotGranted: filter service/x: its image asks for kv and http-call, which it does not get", true, []string{"kv", "http-call"}},
	}
	for name, test := range tests {
		f := &config.Filter{Owner: config.Object{Kind: test.kind, Namespace: "ns", Name: "o"}, Part: "service", Name: "x"}
		p := problemOf(f, test.miss, test.err)
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

func TestTellCaches(t *testing.T) {
	filter := func(name string, c config.Cache) *config.Filter {
		return &config.Filter{Owner: config.Object{Kind: "Service", Namespace: "store", Name: "shop"}, Part: "service", Name: name, Hash: name, Cache: &c}
	}
	full := config.Cache{
		TTL: time.Minute, StaleIfError: 90 * time.Minute, StaleWhileRevalidate: time.Hour,
		Key:      config.CacheKey{Headers: []string{"accept-language"}, QueryDeny: []string{"utm_source"}, AnyHostname: true},
		Statuses: []int{200, 404}, MaxObjectBytes: 1 << 20,
		Bypass: []config.CacheCondition{{Kind: config.CacheConditionCookie, Name: "session", Value: "a"}, {Kind: config.CacheConditionQuery, Name: "nocache"}},
		Ignore: config.IgnorePrivate,
	}
	outer, nearest, bare := filter("outer", config.Cache{}), filter("near", full), filter("bare", config.Cache{})
	backends := []config.Backend{
		{Upstream: "store/shop:80", CacheScope: "store/u:80", Chain: &config.Chain{Parts: []*config.Part{{Filters: []*config.Filter{outer}}, {Filters: []*config.Filter{nearest}}}}},
		{Upstream: "store/shop:80", CacheScope: "store/u:80", Chain: &config.Chain{Parts: []*config.Part{{Filters: []*config.Filter{nearest}}}}},
		{Upstream: "store/a:80", CacheScope: "store/v:80", Chain: &config.Chain{Parts: []*config.Part{{Filters: []*config.Filter{bare}}}}},
		{Upstream: "store/b:80"},
	}
	var out strings.Builder
	tellCaches(&out, &config.Config{Gateways: []*config.Gateway{{Listeners: []*config.Listener{
		{RawRoutes: &config.RawTable{}}, {Routes: &config.RouteTable{Entries: []*config.RouteEntry{{Route: &config.Route{Rules: []*config.Rule{{Backends: backends}}}}}}},
	}}}})
	want := `Service store/a:80: cache service/bare of Service/store/shop
  ttl: by Last-Modified (RFC 9111, 4.2.2)
  negativeTTL: as ttl
  staleWhileRevalidate: as the response says
  staleIfError: as the response says
  key.headers: those of Vary
  key.cookies: none
  key.query: as it was sent
  key.hostname: true
  key.consumer: false
  statuses: 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501
  maxObject: a sixteenth of what the cache may take, 1Gi at most
  bypass: none
  ignore: nothing
Service store/shop:80: cache service/near of Service/store/shop
  ttl: 1m
  negativeTTL: 10s
  staleWhileRevalidate: 1h
  staleIfError: 1h30m
  key.headers: accept-language
  key.cookies: none
  key.query: all but utm_source
  key.hostname: false
  key.consumer: false
  statuses: 200, 404
  maxObject: 1048576 bytes
  bypass: cookie session of value "a", query nocache
  ignore: private
`
	if out.String() != want {
		t.Errorf("got %s; want %s", out.String(), want)
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
