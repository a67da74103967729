package translate_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

const (
	oldText = "[{image: 'r.example/x:1', name: x, config: {form: old}}]"
	newText = "[{image: 'r.example/x:2', name: x, config: {form: new}}]"
)

var (
	oldDigest = "sha256:" + strings.Repeat("a", 64)
	newDigest = "sha256:" + strings.Repeat("b", 64)
)

// rolling is a Service whose filter is changed, rolled back, and what is known of it.
type rolling struct {
	*testing.T
	translate.Objects
	o   translate.Options
	tr  *translate.Translator
	ran map[string]bool
	now time.Time
	n   int
}

func newRolling(t *testing.T) *rolling {
	r := &rolling{T: t, o: options(), ran: map[string]bool{}, now: time.Unix(1000, 0)}
	r.o.Ran, r.o.Now = func(hash string) bool { return r.ran[hash] }, func() time.Time { return r.now }
	r.tr = translate.New(r.o)
	r.GatewayClasses, r.Gateways = []*gatewayv1.GatewayClass{class()}, []*gatewayv1.Gateway{plainGateway("a", 80)}
	r.HTTPRoutes, r.Services = []*gatewayv1.HTTPRoute{httpRoute("shop", gatewayv1.ParentReference{Name: "a"})}, []*corev1.Service{shop()}
	r.policy("r.example", "")
	return r
}

// policy admits images of a registry, without one digest.
func (r *rolling) policy(registry, denied string) {
	p := &api.PluginPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "p", Generation: int64(r.next())}}
	p.Spec.Images = []api.ImageRule{{Prefix: registry, Unsigned: true, AllowTags: true}}
	if denied != "" {
		p.Spec.DeniedDigests = []string{denied}
	}
	r.Policies = []*api.PluginPolicy{p}
}

func (r *rolling) next() int { r.n++; return r.n }

// text makes another text the Service's; the part that it makes.
func (r *rolling) text(text string) *config.Part {
	s := shop()
	s.ResourceVersion, s.Annotations = fmt.Sprint("v", r.next()), map[string]string{api.AnnotationPlugins: text}
	r.Services = []*corev1.Service{s}
	return r.part()
}

func (r *rolling) part() *config.Part {
	return part(r.T, r.tr.Translate(&r.Objects).Config)
}

// change has the old text run, and the new one come after it.
func (r *rolling) change() (old, made *config.Filter) {
	p := r.text(oldText)
	r.ran[p.Hash] = true
	r.part()
	return p.Filters[0], r.text(newText).Filters[0]
}

// rollBack is what proxies say.
func (r *rolling) rollBack(from, to *config.Filter) *translate.RollBack {
	b := &translate.RollBack{Declaration: from.Declaration, Left: newDigest, To: to.Declaration, Digest: oldDigest, Since: 1000}
	if !b.Valid() {
		r.Fatalf("%+v has not the form of one", b)
	}
	r.RollBacks = map[string]*translate.RollBack{b.Declaration: b}
	return b
}

// record is that it stands in the ChainStatus.
func (r *rolling) record(b *translate.RollBack) *translate.RollBack {
	c := *b
	c.Namespace = "apps"
	r.RollBacks = map[string]*translate.RollBack{c.Declaration: &c}
	return &c
}

// goesBack reports what the part has for x: that it is not to run, and what is.
func (r *rolling) goesBack(p *config.Part, left, image string) {
	r.Helper()
	if p.Filters[0].RolledBack != left {
		r.Errorf("got the digest %q not to run; want %q", p.Filters[0].RolledBack, left)
	}
	got := ""
	if p.Previous != nil {
		got = p.Previous.Filters[0].Image
	}
	if got != image {
		r.Errorf("got %q in its place; want %q", got, image)
	}
}

func (r *rolling) status() *api.ChainStatus {
	made, _ := r.tr.Translate(&r.Objects).Status.Of(config.Object{Kind: "ChainStatus", Namespace: "apps", Name: "service-shop"}).(*api.ChainStatus)
	return made
}

func TestRollBackIsForAll(t *testing.T) {
	r := newRolling(t)
	old, made := r.change()
	r.ran[r.part().Hash] = true
	b := r.rollBack(made, old)
	p := r.part()
	r.goesBack(p, newDigest, "r.example/x:1")
	if p.Previous.Filters[0].Hash != old.Hash || len(p.Previous.Filters[0].Entry) == 0 || p.PreviousFault != nil {
		t.Errorf("got %+v, %v; want what ran, and what declares it", p.Previous.Filters[0], p.PreviousFault)
	}
	if again := r.part(); again != p {
		t.Error("nothing changed, and the part is another")
	}
	f := r.status().Status.Controllers[0].Filters[0]
	want := &api.ChainRollBack{Digest: newDigest, To: old.Declaration}
	if f.State != "RolledBack" || f.Hash != made.Declaration || f.Digest != oldDigest || cmp.Diff(f.RolledBack, want) != "" {
		t.Errorf("the status says %+v", f)
	}
	// Much later, and also by the record of another process.
	r.now = r.now.Add(24 * time.Hour)
	r.record(b)
	r.goesBack(r.part(), newDigest, "r.example/x:1")
	// Another text ends it, and what ran is its previous form, for a while from now.
	third := r.text(strings.ReplaceAll(newText, "new", "third"))
	r.goesBack(third, "", "r.example/x:1")
	if !third.PreviousUntil.Equal(r.now.Add(10 * time.Minute)) {
		t.Errorf("it may go back until %v; want 10 minutes from %v", third.PreviousUntil, r.now)
	}
}

// TestRollBackOfATag: the same entry, with the digest that its tag named before.
func TestRollBackOfATag(t *testing.T) {
	for resolved, want := range map[bool]string{true: "r.example/x:2@" + oldDigest, false: ""} {
		r := newRolling(t)
		r.o.Resolved = func(_, digest string) bool { return resolved && digest == oldDigest }
		r.tr = translate.New(r.o)
		f := r.text(newText).Filters[0]
		b := r.rollBack(f, f)
		left := newDigest
		if !resolved {
			left = ""
		}
		r.goesBack(r.part(), left, want) // a proxy alone cannot choose a digest
		r.record(b)
		p := r.part()
		r.goesBack(p, newDigest, "r.example/x:2@"+oldDigest)
		if h := p.Previous.Filters[0].Hash; h == f.Hash || string(p.Previous.Filters[0].Config) != string(f.Config) {
			t.Errorf("got %+v", p.Previous.Filters[0])
		}
		r.policy("r.example", oldDigest)
		p = r.part()
		r.goesBack(p, newDigest, "")
		if p.PreviousFault == nil || p.PreviousFault.Reason != "RefusedByPolicy" {
			t.Errorf("got %v; want policy's refusal", p.PreviousFault)
		}
	}
}

// TestRollBackAfterAFailOver: who begins to lead knows that a filter is not to run, and
// what runs in its place once a proxy has told it.
func TestRollBackAfterAFailOver(t *testing.T) {
	r := newRolling(t)
	old, made := r.change()
	b := r.rollBack(made, old)
	entry := r.part().Previous.Filters[0].Entry
	b = r.record(b)
	r.tr = translate.New(r.o) // it remembers nothing
	p := r.part()
	r.goesBack(p, newDigest, "")
	if p.PreviousFault != nil || p.Fault != nil {
		t.Errorf("got %v, %v; want that nothing speaks against it", p.Fault, p.PreviousFault)
	}
	owner := config.Object{Kind: "Service", Namespace: "apps", Name: "shop"}
	for what, bad := range map[string][]byte{
		"another entry": []byte(strings.Replace(string(entry), "old", "evil", 1)), "no JSON": []byte("{"), "nothing": nil, "much": make([]byte, 1<<20),
	} {
		if translate.ReadEntry(bad, owner, "service", b.To) != nil {
			t.Errorf("%s was taken", what)
		}
	}
	if translate.ReadEntry(entry, config.Object{Kind: "Service", Namespace: "apps", Name: "other"}, "service", b.To) != nil {
		t.Error("another object's entry was taken")
	}
	with := *b
	if with.Entry = translate.ReadEntry(entry, owner, "service", b.To); with.Entry == nil {
		t.Fatalf("%s was not taken", entry)
	}
	r.RollBacks = map[string]*translate.RollBack{b.Declaration: &with}
	p = r.part()
	r.goesBack(p, newDigest, "r.example/x:1")
	if p.Previous.Filters[0].Hash != old.Hash {
		t.Errorf("got %+v; want the filter that ran", p.Previous.Filters[0])
	}
	// Policy judges it as any.
	r.policy("other.example", "")
	if p = r.part(); p.Fault == nil { // the new text is refused, too
		t.Error("nothing is refused")
	}
	r.policy("r.example/x", "")
	r.Policies[0].Spec.DeniedDigests = []string{oldDigest}
	if p = r.part(); p.PreviousFault == nil || p.PreviousFault.Reason != "RefusedByPolicy" || p.Previous != nil {
		t.Errorf("got %v, %v; want what ran before refused", p.PreviousFault, p.Previous)
	}
	if c := r.status().Status.Controllers[0]; c.Filters[0].RolledBack == nil || c.Conditions[0].Reason != "RefusedByPolicy" {
		t.Errorf("got %+v: the record, or why it cannot run, is lost", c)
	}
}

func TestWhatIsNotRolledBack(t *testing.T) {
	tests := map[string]struct {
		change func(r *rolling, b *translate.RollBack)
	}{
		"another namespace's word":          {func(_ *rolling, b *translate.RollBack) { b.Namespace = "other" }},
		"to what nobody but a proxy knows":  {func(_ *rolling, b *translate.RollBack) { b.To = strings.Repeat("0", 32) }},
		"a guard":                           {func(r *rolling, _ *translate.RollBack) { r.guard() }},
		"of an entry that is there no more": {func(r *rolling, _ *translate.RollBack) { r.text(strings.ReplaceAll(newText, "new", "newer")) }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRolling(t)
			old, made := r.change()
			b := r.rollBack(made, old)
			test.change(r, b)
			if p := r.part(); p.Filters[0].RolledBack != "" {
				t.Errorf("got %+v", p.Filters[0])
			}
		})
	}
}

// guard makes the repository that of a known guard.
func (r *rolling) guard() {
	p := &api.Plugin{ObjectMeta: metav1.ObjectMeta{Name: "x", UID: "x", Generation: 1}}
	p.Spec.Guard, p.Spec.Versions = true, []api.PluginVersion{{Name: "1", Image: "r.example/x:9"}}
	r.Plugins = []*api.Plugin{p}
}

// TestReadRollBacks: what was written is read, and nothing else.
func TestReadRollBacks(t *testing.T) {
	r := newRolling(t)
	old, made := r.change()
	b := r.rollBack(made, old)
	written := r.status()
	const ours = "penstock.dev/gateway-controller"
	list, owners, parts := translate.ReadRollBacks(written, ours)
	b.Namespace = "apps"
	if len(list) != 1 || *list[0] != *b || owners[0] != made.Owner || parts[0] != "service" {
		t.Fatalf("got %+v, %v, %v; want %+v", list, owners, parts, b)
	}
	tests := map[string]func(c *api.ChainStatus, f *api.ChainFilter){
		"another controller's": func(c *api.ChainStatus, _ *api.ChainFilter) { c.Status.Controllers[0].ControllerName = "other" },
		"another namespace":    func(c *api.ChainStatus, _ *api.ChainFilter) { c.Namespace = "other" },
		"a cluster's":          func(_ *api.ChainStatus, f *api.ChainFilter) { f.Origin.Namespace = "" },
		"another state":        func(_ *api.ChainStatus, f *api.ChainFilter) { f.State = "Ready" },
		"no digest":            func(_ *api.ChainStatus, f *api.ChainFilter) { f.Digest = "sha256:1" },
		"no left digest":       func(_ *api.ChainStatus, f *api.ChainFilter) { f.RolledBack.Digest = "latest" },
		"the same digest":      func(_ *api.ChainStatus, f *api.ChainFilter) { f.RolledBack.Digest = f.Digest },
		"a hash with more":     func(_ *api.ChainStatus, f *api.ChainFilter) { f.Hash += "\n" },
		"no hash":              func(_ *api.ChainStatus, f *api.ChainFilter) { f.RolledBack.To = "" },
		"nothing left":         func(_ *api.ChainStatus, f *api.ChainFilter) { f.RolledBack = nil },
	}
	for name, change := range tests {
		c := written.DeepCopy()
		change(c, &c.Status.Controllers[0].Filters[0])
		if list, _, _ := translate.ReadRollBacks(c, ours); len(list) != 0 {
			t.Errorf("%s: got %+v", name, list[0])
		}
	}
}

// FuzzReadEntry: what is taken has the hash that was asked for, whatever was told.
func FuzzReadEntry(f *testing.F) {
	owner := config.Object{Kind: "Service", Namespace: "apps", Name: "shop"}
	f.Add([]byte(`{"use":"transform","name":"x"}`))
	f.Add([]byte(`{"image":"r.example/x:1","name":"x","config":{"a":1.0}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		hash := translate.Declaration(owner, "service", text)
		e := translate.ReadEntry(text, owner, "service", hash)
		if e == nil {
			return
		}
		again, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if got := translate.Declaration(owner, "service", again); got != hash {
			t.Errorf("%s became %s", text, again)
		}
		if translate.ReadEntry(text, owner, "service", strings.Repeat("0", 32)) != nil {
			t.Error("taken for another one")
		}
	})
}
