package snapshot

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/cache"
	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/core/upstream"
)

// answers is an ABI whose filters answer as the image's name says: "403" denies,
// "trap" fails, others go on. Images called guard are guards.
type answers struct {
	mu      sync.Mutex
	refused map[string]error // image -> why it cannot be loaded
	ended   int
}

func (a *answers) Get(_ context.Context, q oci.Request) (*oci.Image, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.refused[q.Reference]; err != nil {
		return nil, err
	}
	return &oci.Image{Module: []byte("\x00asm\x01\x00\x00\x00"), Digest: "sha256:" + q.Reference, Manifest: oci.Manifest{Guard: strings.Contains(q.Reference, "guard")}}, nil
}

func (*answers) Recheck(context.Context, oci.Request, string) error       { return nil }
func (*answers) Resolve(_ context.Context, q oci.Request) (string, error) { return "", nil }
func (*answers) Name() string                                             { return "proxy-wasm" }
func (*answers) Detect(*sandbox.Module) bool                              { return true }
func (a *answers) Start(_ context.Context, m *sandbox.Module, f *config.Filter, _ config.Loaded) (plugin.Running, error) {
	m.Close()
	return &answering{a: a, image: f.Image}, nil
}

type answering struct {
	a     *answers
	image string
}

func (*answering) Callbacks() filter.Callbacks { return filter.OnRequestHeaders }
func (n *answering) Begin(x *exchange.Exchange, _ *filter.Waker) (filter.Stream, error) {
	return &answerStream{n: n, x: x}, nil
}
func (n *answering) Close(context.Context) { n.a.mu.Lock(); n.a.ended++; n.a.mu.Unlock() }

type answerStream struct {
	filter.Stream
	n *answering
	x *exchange.Exchange
}

func (s *answerStream) RequestHeaders(bool) (filter.Verdict, error) {
	switch {
	case strings.Contains(s.n.image, "403"):
		s.x.Local.Header.Reset()
		s.x.Local.Status, s.x.Local.Body = 403, nil
		return filter.Respond, nil
	case strings.Contains(s.n.image, "trap"):
		return filter.Continue, &filter.Error{Cause: "trap", Err: errors.New("trap")}
	}
	return filter.Continue, nil
}

func (*answerStream) Done() {}

type runBed struct {
	*Store
	*answers
	plugins *plugin.Manager
}

func newRunBed(t *testing.T) *runBed {
	t.Helper()
	m, log := telemetry.New(), zap.NewNop()
	engine, err := sandbox.New(sandbox.Options{Dir: filepath.Join(t.TempDir(), "compiled")}, log, m)
	if err != nil {
		t.Fatal(err)
	}
	b := &runBed{answers: &answers{refused: map[string]error{}}}
	b.plugins = plugin.New(plugin.Options{Images: b.answers, Engine: engine, ABIs: []plugin.ABI{b.answers}, Log: log, Metrics: m})
	groups := upstream.New(log, m, upstream.NetDialer{})
	kept, err := store.Open(store.Options{MemoryBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	b.Store = New(netip.MustParseAddr("127.0.0.1"), &sockets{}, groups, b.plugins, cache.New(kept, 1<<20, m), m)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		b.Store.Close()
		b.plugins.Close()
		groups.Close()
		_ = engine.Close()
	})
	return b
}

// withCanary is a part of one filter with another version.
func withCanary(hash, image, other string, weight int, shadow bool) *config.Part {
	f := filterOf(image)
	f.Image = image
	o := *f
	o.Name, o.Hash, o.Image, o.Shadow = f.Name+config.CanarySuffix, other, other, shadow
	f.Canary = &config.Canary{Filter: &o, WeightPercent: weight, Shadow: shadow}
	return partOf(hash, f)
}

// exchange runs the chain once and returns the status; 200: it went on.
func (b *runBed) exchange(t *testing.T) int {
	t.Helper()
	var chain *Chain
	for _, c := range b.Load().chains {
		chain = c
	}
	l, err := chain.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	if l.Fault != nil {
		return 503
	}
	x := &exchange.Exchange{Conn: &exchange.Conn{}}
	x.Request.Method, x.Request.Path = []byte("GET"), []byte("/")
	var run filter.Run
	run.Start(x)
	defer run.Done()
	switch run.Request(l.Inner, []byte("/")) {
	case filter.Answered:
		return x.Response.Status
	case filter.Failed:
		return run.Err().Status
	}
	return 200
}

func (b *runBed) canary(t *testing.T, state string) *CanaryReport {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		r := b.Reports()
		if len(r) == 1 && len(r[0].Filters) == 1 && r[0].Filters[0].Canary != nil && r[0].Filters[0].State == "Ready" && r[0].Filters[0].Canary.State == state {
			return r[0].Filters[0].Canary
		}
		if time.Now().After(end) {
			t.Fatalf("got %+v; want a canary in state %s", r, state)
		}
	}
}

func (b *runBed) apply(t *testing.T, p *config.Part) {
	t.Helper()
	if err := b.Apply(configOf(p)); err != nil {
		t.Fatal(err)
	}
}

func TestALiveCanaryTakesItsShareOnceItIsReady(t *testing.T) {
	b := newRunBed(t)
	b.apply(t, withCanary("p", "r.example/ok:1", "r.example/403:2", 100, false))
	c := b.canary(t, "Ready")
	if c.Mode != "live" || c.Weight != 100 || c.Digest != "sha256:r.example/403:2" || c.Name != "service/x:canary" {
		t.Errorf("got %+v", c)
	}
	b.eventually(t, "the canary answers", func() bool { return b.exchange(t) == 403 })
	if c := b.canary(t, "Ready"); c.Ran == 0 || c.Failed != 0 {
		t.Errorf("got %+v", c.CanaryCounts)
	}
	// Another weight keeps both running.
	b.apply(t, withCanary("q", "r.example/ok:1", "r.example/403:2", 0, false))
	for range 100 {
		if got := b.exchange(t); got != 200 {
			t.Fatalf("got %d at weight 0", got)
		}
	}
	if b.ended != 0 {
		t.Errorf("%d filters were started anew for a weight", b.ended)
	}
}

func (b *runBed) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func TestACanaryThatCannotLoadChangesNothing(t *testing.T) {
	b := newRunBed(t)
	b.refused["r.example/bad:2"] = oci.ErrForbidden
	b.apply(t, withCanary("p", "r.example/ok:1", "r.example/bad:2", 100, false))
	c := b.canary(t, "Failed")
	if c.Reason != "PullForbidden" {
		t.Errorf("got %+v", c)
	}
	if got := b.exchange(t); got != 200 {
		t.Errorf("got %d; want the filter itself", got)
	}
	refused := withCanary("r", "r.example/ok:1", "", 100, false)
	refused.Filters[0].Canary = &config.Canary{Fault: &config.Fault{Reason: "RefusedByPolicy", Message: "(x): canary: no"}, WeightPercent: 100}
	b.apply(t, refused)
	if c := b.canary(t, "Failed"); c.Reason != "RefusedByPolicy" || c.Message != "(x): canary: no" {
		t.Errorf("got %+v", c)
	}
	if got := b.exchange(t); got != 200 {
		t.Errorf("got %d; want the filter itself", got)
	}
}

func TestAGuardsCanaryIsAGuard(t *testing.T) {
	b := newRunBed(t)
	b.apply(t, withCanary("p", "r.example/guard-403:1", "r.example/ok:2", 100, false))
	c := b.canary(t, "Failed")
	want := "the filter is a guard and this version is none: no exchange is sent to it; use mode: shadow, or a version whose manifest or Plugin says guard"
	if c.Reason != "GuardMissing" || c.Message != want {
		t.Errorf("got %+v; want %s", c, want)
	}
	for range 100 {
		if got := b.exchange(t); got != 403 {
			t.Fatalf("got %d: the guard was left out", got)
		}
	}
	b.apply(t, withCanary("q", "r.example/guard-403:1", "r.example/guard-ok:2", 100, false))
	b.canary(t, "Ready")
	b.eventually(t, "a guard in a guard's place", func() bool { return b.exchange(t) == 200 })
}

func TestATrappingCanaryIsPutAsideAlone(t *testing.T) {
	b := newRunBed(t)
	b.apply(t, withCanary("p", "r.example/ok:1", "r.example/trap:2", 100, false))
	b.canary(t, "Ready")
	b.eventually(t, "the canary traps", func() bool { return b.exchange(t) == 500 })
	for b.Reports()[0].Filters[0].Canary.State != "Quarantined" {
		if got := b.exchange(t); got != 500 && got != 200 {
			t.Fatalf("got %d", got)
		}
	}
	r := b.Reports()[0]
	if r.State != "Running" || r.Filters[0].State != "Ready" {
		t.Errorf("got %+v", r)
	}
	if got := b.exchange(t); got != 200 {
		t.Errorf("got %d; want the filter itself while its canary rests", got)
	}
}

func TestAShadowIsCounted(t *testing.T) {
	b := newRunBed(t)
	b.apply(t, withCanary("p", "r.example/ok:1", "r.example/403:2", 100, true))
	b.canary(t, "Ready")
	b.eventually(t, "a difference", func() bool {
		if got := b.exchange(t); got != 200 {
			t.Fatalf("got %d: the shadow decided", got)
		}
		return b.canary(t, "Ready").Differs > 0
	})
	if c := b.canary(t, "Ready"); c.Mode != "shadow" || c.Agrees+c.Failed+c.Ran != 0 {
		t.Errorf("got %+v", c)
	}
	b.apply(t, withCanary("q", "r.example/403:1", "r.example/403:2", 100, true))
	before := b.canary(t, "Ready").Agrees
	b.eventually(t, "agreement", func() bool { b.exchange(t); return b.canary(t, "Ready").Agrees > before })
	// A chain that goes while copies are under way.
	for range 50 {
		b.exchange(t)
	}
	b.apply(t, partOf("none"))
	b.eventually(t, "everything is given back", func() bool { return len(b.plugins.Runtimes()) == 0 })
}
