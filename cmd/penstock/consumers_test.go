package main

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/core/remote"
	"penstock.dev/penstock/core/snapshot"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/core/upstream"
	"penstock.dev/penstock/hosts/capability/consumer"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

// person is a Consumer with two groups and a key of that version.
func person(i, version int) (*api.Consumer, *corev1.Secret) {
	name := fmt.Sprint("consumer-", i)
	c := &api.Consumer{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "u", Generation: 1, ResourceVersion: "1"}}
	c.Spec.Groups, c.Spec.Credentials = []string{"buyers", "europe"}, []api.CredentialRef{{Name: name}}
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "u", ResourceVersion: fmt.Sprint(version), Labels: map[string]string{api.LabelCredential: api.CredentialKeyAuth}}}
	s.Data = map[string][]byte{"key": fmt.Appendf(nil, "key-of-%d-version-%d", i, version)}
	return c, s
}

// people is a crowd of routes and so many Consumers.
func people(n, routes int) *translate.Objects {
	o := crowd(routes, max(1, routes/2), "")
	for i := range n {
		c, s := person(i, 1)
		o.Consumers, o.Credentials = append(o.Consumers, c), append(o.Credentials, s)
	}
	return o
}

// way is that of Consumers from objects to where plugins find them.
type way struct {
	tb      testing.TB
	tr      *translate.Translator
	last    *translate.Result
	encoder remote.Encoder
	decoder *remote.Decoder
	store   *snapshot.Store
	index   consumer.Index
	close   func()
}

// slowImages never come.
type slowImages struct{}

func (slowImages) Get(ctx context.Context, _ oci.Request) (*oci.Image, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
func (slowImages) Recheck(context.Context, oci.Request, string) error   { return nil }
func (slowImages) Resolve(context.Context, oci.Request) (string, error) { return "", nil }

func newWay(tb testing.TB) *way {
	m := telemetry.New()
	plugins := plugin.New(plugin.Options{Images: slowImages{}, Log: zap.NewNop(), Metrics: m})
	groups := upstream.New(zap.NewNop(), m, upstream.NetDialer{})
	w := &way{tb: tb, tr: translate.New(translatorOptions(nil)), decoder: remote.NewDecoder()}
	w.store = snapshot.New(netip.MustParseAddr("127.0.0.1"), noSockets{}, groups, plugins, nil, m)
	w.store.Consumers(&w.index)
	w.close = func() { w.store.Close(); plugins.Close(); groups.Close() }
	return w
}

// send takes the last translation over the wire and has it serve.
func (w *way) send() *remote.Update {
	w.tb.Helper()
	u, err := w.encoder.Encode(w.last.Config)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.take(u)
	return u
}

func (w *way) take(u *remote.Update) {
	w.tb.Helper()
	if _, err := w.decoder.Endpoints(&u.Endpoints); err != nil {
		w.tb.Fatal(err)
	}
	c, err := w.decoder.Config(&u.Config)
	if err == nil {
		err = w.store.Apply(c)
	}
	if err != nil {
		w.tb.Fatal(err)
	}
}

// change gives one Consumer another key.
func (w *way) change(i, version int) {
	w.tb.Helper()
	_, s := person(i, version)
	if w.last = w.tr.Change(w.last, &translate.Changes{Credentials: map[string]*corev1.Secret{"shop/" + s.Name: s}}); w.last == nil {
		w.tb.Fatal("not without a whole translation")
	}
	if u := w.send(); len(u.Config.Changed) != 1 || len(u.Config.Removed) > 0 {
		w.tb.Fatalf("%d resources are sent, %d taken back; want one", len(u.Config.Changed), len(u.Config.Removed))
	}
}

// finds reports whether a key of that version is somebody's.
func (w *way) finds(i, version int) bool {
	f := &config.Filter{Namespace: "shop", Owner: config.Object{Kind: "Service", Namespace: "shop", Name: "s"}}
	who, _, ok := w.index.FindConsumer(f, []byte("key-auth"), fmt.Appendf(nil, "key-of-%d-version-%d", i, version), nil)
	return ok && who.Object == fmt.Sprint("shop/consumer-", i) && len(who.Groups) == 2
}

// TestTenThousandConsumers: one change goes alone and at once, whatever there is beside it.
func TestTenThousandConsumers(t *testing.T) {
	const n = 10_000
	w := newWay(t)
	defer w.close()
	o := people(n, 1000)
	begin := time.Now()
	w.last = w.tr.Translate(o)
	u := w.send()
	t.Logf("%d Consumers beside 1,000 routes are served after %v, %d resources", n, time.Since(begin).Round(time.Millisecond), len(u.Config.Changed))
	if !w.finds(7777, 1) || w.finds(7777, 2) || w.last.Config.Consumers.Len() != n {
		t.Fatal("they are not found")
	}
	begin = time.Now()
	const changes = 1000 // the overlays are made anew on the way
	for i := range changes {
		w.change(7*i, 2)
	}
	each := time.Since(begin) / changes
	t.Logf("a change takes %v", each)
	if each > 20*time.Millisecond {
		t.Errorf("a change takes %v; want much less than a second", each)
	}
	for i := range n {
		version := 1
		if i%7 == 0 && i < 7*changes {
			version = 2
		}
		if !w.finds(i, version) || w.finds(i, 3-version) {
			t.Fatalf("consumer %d is not found by its key alone", i)
		}
	}
	if again := w.tr.Translate(w.whole(o, changes)); again.Config != w.last.Config {
		t.Error("the whole way comes to another config")
	}
}

// whole are the objects after the changes.
func (w *way) whole(o *translate.Objects, changes int) *translate.Objects {
	now := *o
	now.Credentials = append([]*corev1.Secret(nil), o.Credentials...)
	for i := range changes {
		_, now.Credentials[7*i] = person(7*i, 2)
	}
	return &now
}

// TestConsumersMemory: what a proxy holds of each.
func TestConsumersMemory(t *testing.T) {
	hold := func(n int) uint64 {
		w := newWay(t)
		defer w.close()
		var encoder remote.Encoder
		u, err := encoder.Encode(w.tr.Translate(people(n, 10)).Config)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range u.Config.Changed { // as they come from the wire
			u.Config.Changed[i] = &remote.Resource{Name: string([]byte(r.Name)), Version: string([]byte(r.Version)), Bytes: append([]byte(nil), r.Bytes...)}
		}
		w.tr, encoder = nil, remote.Encoder{}
		before := heap()
		w.take(u)
		after := heap()
		wire := uint64(0)
		for _, r := range u.Config.Changed {
			wire += uint64(len(r.Name) + len(r.Version) + len(r.Bytes))
		}
		runtime.KeepAlive(w)
		return after - before + wire // which the decoder keeps
	}
	none, many := hold(0), hold(10_000)
	each := (many - none) / 10_000
	t.Logf("%d bytes of each", each)
	if each > 4<<10 {
		t.Errorf("%d bytes of each; want 4 KiB at most", each)
	}
}

// BenchmarkConsumerChange is one of 10,000 Consumers that gets another key, from objects
// to where plugins find it.
func BenchmarkConsumerChange(b *testing.B) {
	w := newWay(b)
	defer w.close()
	w.last = w.tr.Translate(people(10_000, 1000))
	w.send()
	version := 1
	b.ReportAllocs()
	for b.Loop() {
		version++
		w.change(7777, version)
	}
}

// TestTenThousandConsumersWithPlugins: each has one of its own, or a share in one of all.
func TestTenThousandConsumersWithPlugins(t *testing.T) {
	const n = 9_999 // filters of a namespace, without a policy
	for what, entry := range map[string]api.Entry{
		"one each":       {Use: "transform", Config: []byte(`{"request": {"headers": {"set": {"X-Plan": "gold"}}}}`)},
		"a chain of all": {Chain: "plan"},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWay(t)
			defer w.close()
			o := people(n, 10)
			plan := &api.PluginChain{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "plan", UID: "u", Generation: 1}}
			plan.Spec.Plugins = []api.NamedEntry{{Name: "plan", Entry: api.Entry{Use: "transform", Config: []byte(`{"request": {"headers": {"set": {"X-Plan": "all"}}}}`)}}}
			o.Chains = append(o.Chains, plan)
			for _, c := range o.Consumers {
				c.Spec.Plugins = []api.ConsumerEntry{{Name: "plan", Entry: entry}}
			}
			before, begin := heap(), time.Now()
			w.last = w.tr.Translate(o)
			w.send()
			t.Logf("%d Consumers are served after %v, and take %d KiB each, control's part included", n, time.Since(begin).Round(time.Millisecond), (heap()-before)/1024/n)
			if c, there := w.store.Load().Consumer("shop/consumer-7777"); c == nil || !there || !w.finds(7777, 1) {
				t.Fatal("one of them has no chain")
			}
			if chains := len(w.store.Load().Chains()); chains < n {
				t.Errorf("%d chains; want one for each", chains)
			}
			changed := *o.Consumers[7777]
			changed.Generation, changed.Spec.Groups = 2, []string{"sellers"}
			o.Consumers[7777] = &changed
			begin = time.Now()
			w.last = w.tr.Translate(o)
			if u := w.send(); len(u.Config.Changed) != 1 || len(u.Config.Removed) > 0 {
				t.Errorf("%d resources are sent, %d taken back; want one", len(u.Config.Changed), len(u.Config.Removed))
			}
			took := time.Since(begin)
			t.Logf("a change takes %v", took.Round(time.Millisecond))
			if took > 5*time.Second {
				t.Errorf("a change takes %v", took)
			}
		})
	}
}
