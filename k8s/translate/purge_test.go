package translate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

// cachePurge is one of tag t, made at that time.
func cachePurge(namespace, name string, created int64) *api.CachePurge {
	return &api.CachePurge{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("u-" + name), Generation: 1, ResourceVersion: "1", CreationTimestamp: metav1.Unix(created, 0)},
		Spec:       api.CachePurgeSpec{Tags: []string{"t"}},
	}
}

// completed is a purge that is, since that time.
func completed(p *api.CachePurge, at int64) *api.CachePurge {
	p.Status.Conditions = []metav1.Condition{{Type: api.ConditionCompleted, Status: metav1.ConditionTrue, ObservedGeneration: 1, LastTransitionTime: metav1.Unix(at, 0)}}
	return p
}

func names(list []*config.Purge) (all []string) {
	for _, p := range list {
		all = append(all, p.ID)
	}
	return all
}

// TestPurgeIsRefused: by the rules of config.PurgeFaults, with the place in the object.
func TestPurgeIsRefused(t *testing.T) {
	tests := map[string]struct {
		spec api.CachePurgeSpec
		want string // field and message; empty: it is right
	}{
		"a URL and a tag":     {api.CachePurgeSpec{URLs: []string{"https://a.example/x?y=z&n"}, Tags: []string{"t"}}, ""},
		"nothing":             {api.CachePurgeSpec{Soft: true}, "spec: Invalid: empty: want urls"},
		"a prefix's query":    {api.CachePurgeSpec{Prefixes: []string{"https://a.example/a?"}}, "spec.prefixes[0]: Invalid: \"https://a.example/a?\": want an absolute URL of http or https without a query or fragment"},
		"two: the first told": {api.CachePurgeSpec{Hostnames: []string{"a.example", "*.example"}, Tags: []string{"a b"}}, "spec.hostnames[1]: Invalid"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := cachePurge("n", "p", 1)
			p.Spec = tt.spec
			made := translate.New(options()).Translate(&translate.Objects{CachePurges: []*api.CachePurge{p}})
			status := made.Status.Of(config.Object{Kind: "CachePurge", Namespace: "n", Name: "p"}).(*api.CachePurgeStatus)
			accepted := status.Conditions[0]
			if tt.want == "" {
				if len(made.Problems) > 0 || accepted.Status != metav1.ConditionTrue || !slices.Equal(names(made.Config.Purges), []string{"n/p/u-p"}) {
					t.Errorf("got %v, %+v, %v", made.Problems, accepted, names(made.Config.Purges))
				}
				return
			}
			if len(made.Config.Purges) > 0 || len(made.Problems) != 1 || !strings.Contains(made.Problems[0].String(), tt.want) || accepted.Status != metav1.ConditionFalse || status.ObservedGeneration != 1 {
				t.Errorf("got %v, %+v, %v; want %q", made.Problems, accepted, names(made.Config.Purges), tt.want)
			}
		})
	}
}

// TestPurgesAreBounded: the oldest of a namespace come first, and a flood in one keeps
// none of another from its turn.
func TestPurgesAreBounded(t *testing.T) {
	var list []*api.CachePurge
	for i := range 300 {
		list = append(list, cachePurge("flood", fmt.Sprintf("p%03d", i), int64(1000-i)))
	}
	list = append(list, cachePurge("quiet", "p", 5000))
	tr := translate.New(options())
	made := tr.Translate(&translate.Objects{CachePurges: list})
	got := names(made.Config.Purges)
	if len(got) != 257 || got[0] != "flood/p044/u-p044" || got[256] != "quiet/p/u-p" || len(made.Problems) != 44 || made.Problems[0].Reason != "TooManyPurges" || made.Problems[0].Object.Name != "p000" {
		t.Errorf("%d purges from %s, %d problems, the first %v", len(got), got[0], len(made.Problems), made.Problems[0])
	}
	if err := made.Config.Validate(); err != nil {
		t.Error(err)
	}
	more := tr.Change(made, &translate.Changes{CachePurges: map[string]*api.CachePurge{"quiet/q": cachePurge("quiet", "q", 1)}})
	if more == nil || len(more.Config.Purges) != 258 || len(more.Problems) != 44 {
		t.Fatalf("the purge of another namespace does not come alone: %v", more)
	}
	if later := tr.Change(more, &translate.Changes{CachePurges: map[string]*api.CachePurge{"flood/p299": nil}}); later != nil {
		t.Error("one of those that wait is on its way now, and nothing is told of it")
	}
}

// TestPurgesOfAllAreBounded: what proxies could not tell of is not asked of them. No
// namespace waits for what another has more of, and what is completed for what is not.
func TestPurgesOfAllAreBounded(t *testing.T) {
	var list []*api.CachePurge
	for n := range 40 {
		for i := range 256 {
			list = append(list, cachePurge(fmt.Sprintf("n%02d", n), fmt.Sprintf("p%03d", i), int64(i+n)))
		}
	}
	list = append(list, cachePurge("quiet", "p", 5000), completed(cachePurge("quiet", "done", 1), 900))
	made := translate.New(options()).Translate(&translate.Objects{CachePurges: list})
	got := names(made.Config.Purges)
	of := map[string]int{}
	for _, id := range got {
		namespace, _, _ := strings.Cut(id, "/")
		of[namespace]++
	}
	if len(got) != 8192 || !slices.Contains(got, "quiet/p/u-p") || of["n00"] < 204 || of["n39"] < 204 || slices.Contains(got, "quiet/done/u-done") {
		t.Errorf("%d purges: %v", len(got), of)
	}
	if n := len(made.Problems); n != 40*256+1-8192 || made.Problems[0].Reason != "TooManyPurges" || !strings.Contains(made.Problems[0].Message, "8192 purges of all namespaces") {
		t.Errorf("%d problems, the first %v", n, made.Problems[0])
	}
	for _, p := range list {
		completed(p, 900)
	}
	made = translate.New(options()).Translate(&translate.Objects{CachePurges: list})
	if got := names(made.Config.Purges); len(got) != 8192 || !slices.Contains(got, "quiet/p/u-p") || !slices.Contains(got, "n00/p255/u-p255") || slices.Contains(got, "n00/p000/u-p000") {
		t.Errorf("%d completed ones are kept", len(got))
	}
}

// TestCompletedPurgesStayForAWhile: for an hour, for proxies that were away; of too many
// those that were completed last.
func TestCompletedPurgesStayForAWhile(t *testing.T) {
	list := []*api.CachePurge{completed(cachePurge("n", "now", 1), 900), completed(cachePurge("n", "old", 1), 1000-3600)}
	again := completed(cachePurge("n", "again", 1), 900)
	again.Status.Conditions[0].ObservedGeneration = 0 // of what it was
	list = append(list, again)
	made := translate.New(options()).Translate(&translate.Objects{CachePurges: list})
	if got := names(made.Config.Purges); !slices.Equal(got, []string{"n/again/u-again", "n/now/u-now"}) {
		t.Errorf("got %v", got)
	}
	list = nil
	for i := range 300 {
		list = append(list, completed(cachePurge("n", fmt.Sprintf("p%03d", i), int64(i)), 900))
	}
	made = translate.New(options()).Translate(&translate.Objects{CachePurges: list})
	if got := names(made.Config.Purges); len(got) != 256 || got[0] != "n/p044/u-p044" {
		t.Errorf("%d are kept, from %s", len(got), got[0])
	}
	for i, p := range list { // the last one made was completed first
		completed(p, int64(900-i))
	}
	made = translate.New(options()).Translate(&translate.Objects{CachePurges: list})
	if got := names(made.Config.Purges); len(got) != 256 || got[0] != "n/p000/u-p000" || got[255] != "n/p255/u-p255" {
		t.Errorf("%d are kept, from %s to %s: want those that were completed last", len(got), got[0], got[len(got)-1])
	}
}

// TestAPurgeTouchesNothingElse: what serves keeps its pointers, by both ways; one that
// is gone is told of no more.
func TestAPurgeTouchesNothingElse(t *testing.T) {
	o := withCache("u", "[cache]")
	tr := translate.New(options())
	first := tr.Translate(o)
	p := cachePurge("apps", "p", 1)
	second := tr.Change(first, &translate.Changes{CachePurges: map[string]*api.CachePurge{"apps/p": p}})
	if second == nil {
		t.Fatal("a purge does not come alone")
	}
	id := config.Object{Kind: "CachePurge", Namespace: "apps", Name: "p"}
	if second.Config.Gateways[0] != first.Config.Gateways[0] || !config.SameMap(second.Config.Upstreams, first.Config.Upstreams) || len(second.Config.Purges) != 1 || !slices.Contains(second.Changed, id) {
		t.Errorf("got %+v, changed %v", second.Config, second.Changed)
	}
	o.CachePurges = []*api.CachePurge{p}
	if third := tr.Translate(o); third.Config != second.Config {
		t.Error("nothing changed, and the config is another")
	}
	again := p.DeepCopy()
	again.UID = "other"
	fourth := tr.Translate(&translate.Objects{GatewayClasses: o.GatewayClasses, Gateways: o.Gateways, HTTPRoutes: o.HTTPRoutes, Services: o.Services, CachePurges: []*api.CachePurge{again}})
	if got := names(fourth.Config.Purges); !slices.Equal(got, []string{"apps/p/other"}) {
		t.Errorf("made again: got %v", got)
	}
	fifth := tr.Change(fourth, &translate.Changes{CachePurges: map[string]*api.CachePurge{"apps/p": nil}})
	if fifth == nil || len(fifth.Config.Purges) != 0 || fifth.Status.Of(id) != nil || !slices.Contains(fifth.Changed, id) {
		t.Errorf("gone: got %+v", fifth)
	}
}
