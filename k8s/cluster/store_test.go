package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/k8s/api"
)

// TestStoreTells: who is told of what a watch says.
func TestStoreTells(t *testing.T) {
	route := func(version string, generation int64, change func(*gatewayv1.HTTPRoute)) *gatewayv1.HTTPRoute {
		o := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "a", UID: "u", ResourceVersion: version, Generation: generation, Labels: map[string]string{"l": "1"}}}
		if change != nil {
			change(o)
		}
		return o
	}
	first := route("1", 1, nil)
	tests := map[string]struct {
		next *gatewayv1.HTTPRoute
		want []string // with nobody to ask for single objects; then with one
	}{
		"the same version":      {route("1", 1, nil), []string{"", ""}},
		"a status":              {route("2", 1, nil), []string{"told", "told"}},
		"a spec":                {route("2", 2, nil), []string{"changed", "altered"}},
		"an annotation":         {route("2", 1, func(o *gatewayv1.HTTPRoute) { o.Annotations = map[string]string{"a": "b"} }), []string{"changed", "altered"}},
		"a label":               {route("2", 1, func(o *gatewayv1.HTTPRoute) { o.Labels = map[string]string{"l": "2"} }), []string{"changed", "altered altered"}}, // by the old label, and by the new one
		"it is being deleted":   {route("2", 1, func(o *gatewayv1.HTTPRoute) { o.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }), []string{"changed", "altered"}},
		"another one, its name": {route("2", 1, func(o *gatewayv1.HTTPRoute) { o.UID = "v" }), []string{"changed", "altered"}},
		"no generation":         {route("2", 0, nil), []string{"changed", "altered"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for i, asked := range []bool{false, true} {
				var said []string
				s := newStore(func(*gatewayv1.HTTPRoute) {}, func() { said = append(said, "changed") })
				s.told = func(*gatewayv1.HTTPRoute) { said = append(said, "told") }
				if asked {
					s.altered = func(*gatewayv1.HTTPRoute) { said = append(said, "altered") }
				}
				if err := s.Add(first); err != nil {
					t.Fatal(err)
				}
				said = nil
				if err := s.Update(test.next); err != nil {
					t.Fatal(err)
				}
				if got := strings.Join(said, " "); got != test.want[i] {
					t.Errorf("asked for single objects %v: told %q; want %q", asked, got, test.want[i])
				}
				if got, ok := s.get("n", "a"); !ok || got != test.next {
					t.Errorf("got %v; want the new one", got)
				}
			}
		})
	}
}

// TestStoreIsWhatWasTold: after any watch it holds what a map would.
func TestStoreIsWhatWasTold(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	s := newStore[*api.Plugin](nil, func() {})
	want := map[string]string{}
	for version := range 5000 {
		o := &api.Plugin{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(r.IntN(30)), ResourceVersion: fmt.Sprint(version)}}
		var err error
		switch n := r.IntN(100); {
		case n < 60:
			err, want[o.Name] = s.Add(o), o.ResourceVersion
		case n < 98:
			err = s.Delete(o)
			delete(want, o.Name)
		default:
			err = s.Replace([]any{o}, "")
			clear(want)
			want[o.Name] = o.ResourceVersion
		}
		if err != nil {
			t.Fatal(err)
		}
		list := s.list()
		if len(list) != len(want) {
			t.Fatalf("%d objects; want %d", len(list), len(want))
		}
		for _, o := range list {
			if want[o.Name] != o.ResourceVersion {
				t.Fatalf("%s is %s; want %s", o.Name, o.ResourceVersion, want[o.Name])
			}
		}
	}
	select {
	case <-s.synced:
	default:
		t.Error("it does not know that it was filled")
	}
	if err := s.Add(&api.PluginChain{}); err == nil {
		t.Error("it took an object of another kind")
	}
}

func TestCut(t *testing.T) {
	tests := map[string]struct {
		text string
		n    int
		want string
	}{
		"short":                  {"abc", 3, "abc"},
		"long":                   {"abcd", 3, "abc"},
		"in a character":         {"aä", 2, "a"},
		"in a character of four": {"a\U0001F600", 4, "a"},
		"behind a character":     {"aäb", 3, "aä"},
		"a character alone":      {"ä", 1, ""},
		"nothing":                {"", 0, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := cut(test.text, test.n); got != test.want {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		text := ""
		for range r.IntN(20) {
			text += string([]rune("aäß漢\U0001F600")[r.IntN(5)])
		}
		n := r.IntN(50)
		got := cut(text, n)
		if len(got) > n && len(text) > n || !utf8.ValidString(got) || !strings.HasPrefix(text, got) || len(text) > n && len(got) < n-3 {
			t.Fatalf("cut(%q, %d) = %q", text, n, got)
		}
	}
}

// TestRun: what a ChainStatus says of what proxies run.
func TestRun(t *testing.T) {
	at := time.Unix(1000, 0)
	part := func(state string, filters ...Filter) map[string]Part {
		return map[string]Part{"h": {State: state, Filters: filters}}
	}
	filter := func(state string) Filter {
		return Filter{Name: "service/a", Digest: "sha256:1", State: state, Since: at}
	}
	proxy := func(ready, current bool, parts map[string]Part) Proxy {
		return Proxy{Ready: ready, Current: current, Parts: parts}
	}
	tests := map[string]struct {
		proxies                                    []Proxy
		accepted                                   string
		count, programmed, reason, degraded, state string
	}{
		"no proxy":                             {nil, "True", "0/0", "False", "Pending", "AsConfigured", ""},
		"none is ready":                        {[]Proxy{proxy(false, true, part("Running", filter("Ready")))}, "True", "0/0", "False", "Pending", "AsConfigured", ""},
		"all run it":                           {[]Proxy{proxy(true, true, part("Running", filter("Ready"))), proxy(true, true, part("Running", filter("Ready")))}, "True", "2/2", "True", "Programmed", "AsConfigured", "Ready"},
		"one that is not ready does not count": {[]Proxy{proxy(true, true, part("Running", filter("Ready"))), proxy(false, false, part("Broken", filter("Failed")))}, "True", "1/1", "True", "Programmed", "AsConfigured", "Ready"},
		"one has an older config":              {[]Proxy{proxy(true, true, part("Running", filter("Ready"))), proxy(true, false, part("Running", filter("Ready")))}, "True", "1/2", "False", "Pending", "AsConfigured", "Ready"},
		"one does not have it":                 {[]Proxy{proxy(true, true, nil)}, "True", "0/1", "False", "Pending", "AsConfigured", ""},
		"one pulls":                            {[]Proxy{proxy(true, true, part("Running", filter("Ready"))), proxy(true, true, part("Pending", filter("Pulling")))}, "True", "1/2", "False", "Pulling", "AsConfigured", "Pulling"},
		"one compiles, one pulls":              {[]Proxy{proxy(true, true, part("Pending", filter("Pulling"))), proxy(true, true, part("Pending", filter("Compiling")))}, "True", "0/2", "False", "Pulling", "AsConfigured", "Pulling"},
		"one failed":                           {[]Proxy{proxy(true, true, part("Broken", filter("Failed"))), proxy(true, true, part("Running", filter("Ready")))}, "True", "1/2", "False", "Failed", "Failed", "Failed"},
		"what ran before serves":               {[]Proxy{proxy(true, true, part("LastGood"))}, "False", "0/1", "False", "R", "LastGood", ""},
		"rolled back":                          {[]Proxy{proxy(true, true, part("Running", filter("RolledBack")))}, "True", "0/1", "False", "RolledBack", "RolledBack", "RolledBack"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			mine := &api.ChainController{Conditions: []metav1.Condition{condition("Accepted", test.accepted, "why", before)}, Filters: []api.ChainFilter{{Name: "service/a"}}}
			run(mine, []string{"h"}, test.proxies, 0)
			find := func(kind string) metav1.Condition {
				i := slices.IndexFunc(mine.Conditions, func(c metav1.Condition) bool { return c.Type == kind })
				return mine.Conditions[i]
			}
			p, d := find("Programmed"), find("Degraded")
			got := []string{mine.Proxies, string(p.Status), p.Reason, d.Reason, mine.Filters[0].State}
			if want := []string{test.count, test.programmed, test.reason, test.degraded, test.state}; !slices.Equal(got, want) {
				t.Errorf("got %q; want %q", got, want)
			}
			if (d.Status == metav1.ConditionTrue) != (test.degraded != "AsConfigured") {
				t.Errorf("Degraded is %s", d.Status)
			}
		})
	}
}

// TestARemarkOnWhatRuns: what one proxy says of a filter that is ready stands in the status,
// and all is as configured.
func TestARemarkOnWhatRuns(t *testing.T) {
	const said = "tag moved to sha256:2: SignatureInvalid: none; the old one goes on"
	var proxies []Proxy
	for _, message := range []string{"", said, ""} {
		proxies = append(proxies, Proxy{Ready: true, Current: true, Parts: map[string]Part{"h": {State: "Running", Filters: []Filter{{Name: "service/a", State: "Ready", Message: message}}}}})
	}
	mine := &api.ChainController{Filters: []api.ChainFilter{{Name: "service/a"}}}
	run(mine, []string{"h"}, proxies, 0)
	if f := mine.Filters[0]; f.State != "Ready" || f.Message != said || mine.Proxies != "3/3" || mine.Conditions[0].Status != metav1.ConditionTrue || mine.Conditions[1].Status != metav1.ConditionFalse {
		t.Errorf("got %+v", mine)
	}
}
