package cluster

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

// The digests and declarations of the tests.
var (
	one, two, three = "sha256:" + strings.Repeat("1", 64), "sha256:" + strings.Repeat("2", 64), "sha256:" + strings.Repeat("3", 64)
	left, ran       = strings.Repeat("b", 32), strings.Repeat("a", 32)
)

func newTestRollBacks() *rollBacks {
	b := newRollBacks("ours")
	b.now = func() time.Time { return time.Unix(1000, 0) }
	return b
}

// proxyOf is a proxy that runs these filters in one part.
func proxyOf(filters ...Filter) Proxy {
	return Proxy{Ready: true, Current: true, Parts: map[string]Part{"h": {State: "Running", Filters: filters}}}
}

func filterIn(state, declaration, digest string) Filter {
	return Filter{Name: "service/x", State: state, Declaration: declaration, Digest: digest, Since: time.Unix(900, 0)}
}

func statusOf(namespace string, b *translate.RollBack) *api.ChainStatus {
	since := metav1.NewTime(time.Unix(b.Since, 0))
	return &api.ChainStatus{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "service-s"}, Status: api.ChainStatusState{Controllers: []api.ChainController{{
		ControllerName: "ours", Filters: []api.ChainFilter{{
			Name: "service/x", Hash: b.Declaration, State: "RolledBack", Digest: b.Digest, Since: &since, Origin: api.ChainOrigin{Kind: "Service", Namespace: namespace, Name: "s"},
			RolledBack: &api.ChainRollBack{Digest: b.Left, To: b.To},
		}},
	}}}}
}

// TestRollBacksAreLearnt: the first proxy that says one is enough.
func TestRollBacksAreLearnt(t *testing.T) {
	back := proxyOf(filterIn("Ready", ran, one), filterIn("RolledBack", left, two))
	tests := map[string]struct {
		proxies []Proxy
		want    bool
	}{
		"no proxy":                   {nil, false},
		"none is rolled back":        {[]Proxy{proxyOf(filterIn("Ready", left, two))}, false},
		"one of two":                 {[]Proxy{proxyOf(filterIn("Ready", left, two)), back}, true},
		"nothing runs in its place":  {[]Proxy{proxyOf(filterIn("RolledBack", left, two))}, false},
		"what runs is another":       {[]Proxy{proxyOf(Filter{Name: "service/y", State: "Ready", Declaration: ran, Digest: one}, filterIn("RolledBack", left, two))}, false},
		"what runs is quarantined":   {[]Proxy{proxyOf(filterIn("Quarantined", ran, one), filterIn("RolledBack", left, two))}, false},
		"of an older proxy":          {[]Proxy{proxyOf(filterIn("Ready", "", one), filterIn("RolledBack", "", two))}, false},
		"with a malformed digest":    {[]Proxy{proxyOf(filterIn("Ready", ran, "sha256:1"), filterIn("RolledBack", left, two))}, false},
		"with a malformed declarer":  {[]Proxy{proxyOf(filterIn("Ready", ran, one), filterIn("RolledBack", "../"+left, two))}, false},
		"to what its tag was before": {[]Proxy{proxyOf(filterIn("Ready", left, one), filterIn("RolledBack", left, two))}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newTestRollBacks()
			if got := b.learn(test.proxies, nil); got != test.want || (len(b.all()) == 1) != test.want {
				t.Fatalf("got %v, %v; want %v", got, b.all(), test.want)
			}
			if b.learn(test.proxies, nil) {
				t.Error("the same again is something new")
			}
			if !test.want {
				return
			}
			r := b.all()[left]
			if r == nil || r.Left != two || r.Digest != one || r.Since != 1000 || r.Namespace != "" {
				t.Errorf("got %+v", r)
			}
			b.learn(nil, map[string]bool{left: true})
			if len(b.all()) != 1 {
				t.Error("forgotten while it is served")
			}
			b.learn(nil, nil)
			if len(b.all()) != 0 {
				t.Error("kept though nothing is of it")
			}
		})
	}
}

// TestRollBacksOutliveWhoLeads: what a ChainStatus says is there for the next one, with
// the entry that a proxy tells, if it is the one that was recorded.
func TestRollBacksOutliveWhoLeads(t *testing.T) {
	owner := config.Object{Kind: "Service", Namespace: "n", Name: "s"}
	entry, err := json.Marshal(api.Entry{Use: "transform", Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	to := translate.DeclarationOf(owner, "service", &api.Entry{Use: "transform", Name: "x"})
	b := newTestRollBacks()
	c := statusOf("n", &translate.RollBack{Declaration: left, Left: two, To: to, Digest: one, Since: 500})
	if !b.look("n/service-s", c) || b.look("n/service-s", c) || b.lookAll([]*api.ChainStatus{c}) {
		t.Error("it is new once")
	}
	if r := b.all()[left]; r == nil || r.Namespace != "n" || r.Since != 500 || r.Entry != nil {
		t.Fatalf("got %+v", r)
	}
	tells := func(declaration string, entry []byte) bool {
		f := filterIn("Ready", declaration, one)
		f.Entry = entry
		return b.learn([]Proxy{proxyOf(f, filterIn("RolledBack", left, two))}, map[string]bool{left: true})
	}
	for what, told := range map[string]bool{
		"another declaration": tells(ran, entry), "another entry": tells(to, []byte(strings.Replace(string(entry), "transform", "evil", 1))), "nothing": tells(to, nil),
	} {
		if told || b.all()[left].Entry != nil {
			t.Errorf("%s was taken", what)
		}
	}
	if !tells(to, entry) || b.all()[left].Entry == nil || b.all()[left].Entry.Use != "transform" || tells(to, entry) {
		t.Errorf("got %+v; want the entry, once", b.all()[left])
	}
	b.forget()
	if r := b.all()[left]; r == nil || r.Entry != nil {
		t.Errorf("got %+v; want what is recorded alone", r)
	}
	if !b.look("n/service-s", nil) || len(b.all()) != 0 {
		t.Error("it outlives the ChainStatus")
	}
}

// TestRollBackEndsWithItsDigest: the tag names a third one, which may fail as well.
func TestRollBackEndsWithItsDigest(t *testing.T) {
	for name, recorded := range map[string]bool{"said by proxies": false, "recorded": true} {
		t.Run(name, func(t *testing.T) {
			b := newTestRollBacks()
			if recorded {
				b.look("n/service-s", statusOf("n", &translate.RollBack{Declaration: left, Left: two, To: ran, Digest: one}))
			} else {
				b.learn([]Proxy{proxyOf(filterIn("Ready", ran, one), filterIn("RolledBack", left, two))}, nil)
			}
			served := map[string]bool{left: true}
			obeys := proxyOf(filterIn("Ready", ran, one), filterIn("RolledBack", left, two))
			if b.learn([]Proxy{obeys, proxyOf(filterIn("Ready", left, three))}, served) || b.all()[left] == nil {
				t.Errorf("got %v; want it to hold until the last one has followed the tag", b.all())
			}
			if !b.learn([]Proxy{proxyOf(filterIn("Ready", left, three))}, served) || len(b.all()) != 0 {
				t.Errorf("got %v; want an end of it", b.all())
			}
			if !b.learn([]Proxy{proxyOf(filterIn("Ready", ran, one), filterIn("RolledBack", left, three))}, nil) || b.all()[left] == nil || b.all()[left].Left != three {
				t.Errorf("got %+v; want the third one left", b.all()[left])
			}
		})
	}
}

// TestRunOfARollBack: what a ChainStatus says while all run, or do not yet, what ran
// before.
func TestRunOfARollBack(t *testing.T) {
	at := metav1.NewTime(time.Unix(500, 0))
	obeys := proxyOf(filterIn("Ready", ran, one), filterIn("RolledBack", left, two))
	tests := map[string]struct {
		proxies       []Proxy
		count, digest string
	}{
		"no proxy":                {nil, "0/0", one},
		"all obey":                {[]Proxy{obeys, obeys}, "2/2", one},
		"one runs it yet":         {[]Proxy{obeys, proxyOf(filterIn("Ready", left, two))}, "1/2", one},
		"one runs another":        {[]Proxy{obeys, proxyOf(filterIn("Ready", ran, three), filterIn("RolledBack", left, two))}, "1/2", one},
		"one loads what was":      {[]Proxy{obeys, proxyOf(filterIn("Pulling", ran, ""), filterIn("Ready", left, two))}, "1/2", one},
		"one never loaded it":     {[]Proxy{obeys, proxyOf(filterIn("Ready", ran, one), filterIn("Compiling", left, two))}, "2/2", one},
		"one cannot run what was": {[]Proxy{obeys, proxyOf(filterIn("Failed", ran, one), filterIn("RolledBack", left, two))}, "1/2", one},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			mine := statusOf("n", &translate.RollBack{Declaration: left, Left: two, To: ran, Digest: one, Since: 500}).Status.Controllers[0]
			run(&mine, []string{"h"}, test.proxies, 0)
			programmed := mine.Conditions[slices.IndexFunc(mine.Conditions, func(c metav1.Condition) bool { return c.Type == "Programmed" })]
			f := mine.Filters[0]
			if mine.Proxies != test.count || programmed.Status != "False" || programmed.Reason != "RolledBack" || f.Digest != test.digest || f.State != "RolledBack" || !f.Since.Equal(&at) {
				t.Errorf("got %s, %+v, %+v", mine.Proxies, programmed, f)
			}
		})
	}
}
