package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
)

// TestNobodyElseSaysWhoTheConsumerIs: a route's filters cannot write the fields that the
// proxy alone writes; where a trusted proxy did and nobody here knows better, they stay.
func TestNobodyElseSaysWhoTheConsumerIs(t *testing.T) {
	b := newBed(t)
	forge, plain := rule("forge", "/forge", "echo"), rule("plain", "/plain", "echo")
	forge.Steps = []config.Step{{Request: &config.HeaderModifier{
		Set: []config.HeaderValue{{Name: "X-Consumer-Username", Value: "root"}, {Name: "X_Consumer_Groups", Value: "admins"}, {Name: "x-consumer_custom-id", Value: "1"}},
		Add: []config.HeaderValue{{Name: "X-Consumers", Value: "many"}},
	}}}
	forge.Backends[0].Steps = []config.Step{{Request: &config.HeaderModifier{Add: []config.HeaderValue{{Name: "X-Consumer-Groups", Value: "admins"}}}}}
	c := newConfig(b.port, forge, plain)
	service(t, c, "echo", func(w http.ResponseWriter, r *http.Request) {
		var names []string
		for name, values := range r.Header {
			if strings.Contains(strings.ReplaceAll(strings.ToLower(name), "_", "-"), "x-consumer") {
				names = append(names, fmt.Sprint(strings.ToLower(name), "=", strings.Join(values, ",")))
			}
		}
		slices.Sort(names)
		_, _ = io.WriteString(w, strings.Join(names, " "))
	})
	apply := func(trusted ...netip.Prefix) {
		t.Helper()
		p := config.DefaultProxyParameters()
		p.TrustedProxies = trusted
		next := *c
		g := *c.Gateways[0]
		g.Parameters = p
		next.Gateways = []*config.Gateway{&g}
		if err := b.store.Apply(&next); err != nil {
			t.Fatal(err)
		}
		b.client.CloseIdleConnections()
	}
	sent := http.Header{"X-Consumer-Username": {"mobile"}}
	for _, test := range []struct {
		name, path, want string
		trusted          []netip.Prefix
	}{
		{"a stranger, plain", "/plain", "", nil},
		{"a stranger, forged by the route", "/forge", "x-consumers=many", nil},
		{"a trusted proxy, plain", "/plain", "x-consumer-username=mobile", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	} {
		apply(test.trusted...)
		if r, got := b.do(t, "GET", test.path, "", sent); r.StatusCode != 200 || got != test.want {
			t.Errorf("%s: got %d, %q; want %q", test.name, r.StatusCode, got, test.want)
		}
	}
}

// TestForwardedLines: what a trusted proxy adds as a line of its own is not lost behind the
// client's.
func TestForwardedLines(t *testing.T) {
	b := newBed(t)
	c := newConfig(b.port, rule("plain", "/", "echo"))
	service(t, c, "echo", echo)
	c.Gateways[0].Parameters = config.DefaultProxyParameters()
	c.Gateways[0].Parameters.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if err := b.store.Apply(c); err != nil {
		t.Fatal(err)
	}
	r, _ := b.do(t, "GET", "/", "", http.Header{"X-Forwarded-For": {"6.6.6.6", "203.0.113.9"}, "Forwarded": {"for=6.6.6.6", "for=203.0.113.9"}})
	for name, want := range map[string][]string{
		"Got-X-Forwarded-For": {"6.6.6.6, 203.0.113.9, 127.0.0.1"},
		"Got-Forwarded":       {`for=6.6.6.6, for=203.0.113.9, for=127.0.0.1;host="` + string(r.Request.Host) + `";proto=http`},
	} {
		if got := r.Header.Values(name); !slices.Equal(got, want) {
			t.Errorf("%s: got %q; want %q", name, got, want)
		}
	}
}
