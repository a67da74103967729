package control_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/remote"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/k8s/control"
)

// registry is images by reference.
type registry struct {
	mu     sync.Mutex
	images map[string]*oci.Image
	errs   map[string]error
	pulls  int
}

func (r *registry) Get(_ context.Context, req oci.Request) (*oci.Image, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pulls++
	if err := r.errs[req.Reference]; err != nil {
		return nil, err
	}
	if i := r.images[req.Reference]; i != nil {
		return i, nil
	}
	return nil, oci.ErrUnavailable
}

func (r *registry) Recheck(_ context.Context, req oci.Request, _ string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.errs[req.Reference]
}

func (r *registry) Resolve(_ context.Context, req oci.Request) (string, error) {
	i, err := r.Get(context.Background(), req)
	if err != nil {
		return "", err
	}
	return i.Digest, nil
}

// fleet is a control process with what its proxies need to know it.
type fleet struct {
	t         *testing.T
	server    *control.Server
	images    *control.Images
	registry  *registry
	authority *control.Authority
	address   string
	dir       string // of proxies' certificates
	stop      func()
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, registry: &registry{images: map[string]*oci.Image{}, errs: map[string]error{}}, authority: control.NewAuthority(time.Now), dir: t.TempDir()}
	secret := renew(t, f.authority, nil)
	proxies, changed, err := f.authority.Proxy(secret, nil)
	if err != nil || !changed {
		t.Fatal(err, changed)
	}
	for name, data := range proxies {
		if err := os.WriteFile(filepath.Join(f.dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.address = l.Addr().String()
	f.start(l)
	return f
}

// renew has an authority made, or read.
func renew(t *testing.T, a *control.Authority, have map[string][]byte) map[string][]byte {
	t.Helper()
	for range 2 {
		want, changed, err := a.Renew(have)
		if err != nil {
			t.Fatal(err)
		}
		if !changed {
			return want
		}
		have = want
	}
	t.Fatal("the authority changes all the time")
	return nil
}

// start begins another control process, which knows nothing of the one before.
func (f *fleet) start(l net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	f.images = control.NewImages(control.ImagesOptions{Store: f.registry, Dir: f.t.TempDir(), Quota: 1 << 30, Log: zap.NewNop(), TagInterval: time.Hour})
	f.server = control.New(control.Options{Log: zap.NewNop(), Metrics: telemetry.New(), TLS: f.authority.TLS, Images: f.images})
	var group sync.WaitGroup
	group.Go(func() { f.images.Run(ctx) })
	group.Go(func() {
		if err := f.server.Run(ctx, l); !errors.Is(err, context.Canceled) {
			f.t.Error(err)
		}
	})
	f.stop = func() { cancel(); group.Wait() }
	f.t.Cleanup(func() { f.stop() })
}

// restart ends control and begins another one at the same address.
func (f *fleet) restart() {
	f.stop()
	l, err := net.Listen("tcp", f.address)
	if err != nil {
		f.t.Fatal(err)
	}
	f.start(l)
}

// proxy is one that notes what it is told.
type proxy struct {
	source *remote.Source
	stop   func()

	mu        sync.Mutex
	configs   []*config.Config
	endpoints []map[string]*config.EndpointSet
	refuse    error
	report    remote.Report
	changed   chan struct{}
}

func (f *fleet) proxy(name string, change func(*remote.Options)) *proxy {
	p := &proxy{changed: make(chan struct{}, 1), report: remote.Report{Ready: true}}
	o := remote.Options{
		Address: f.address, TLS: remote.FromFolder(f.dir), Name: name, Log: zaptest.NewLogger(f.t, zaptest.Level(zap.ErrorLevel)), Metrics: telemetry.New(),
		Modules: f.t.TempDir(), Quota: 1 << 30, Changed: p.changed,
		Report: func() *remote.Report {
			p.mu.Lock()
			defer p.mu.Unlock()
			r := p.report
			return &r
		},
	}
	if change != nil {
		change(&o)
	}
	p.source = remote.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	if o.State != nil {
		group.Go(func() { o.State.Run(ctx) })
	}
	group.Go(func() {
		_ = p.source.Run(ctx, remote.Apply{
			Config: func(c *config.Config) error {
				p.mu.Lock()
				defer p.mu.Unlock()
				if p.refuse != nil {
					return p.refuse
				}
				p.configs = append(p.configs, c)
				return nil
			},
			Endpoints: func(changed map[string]*config.EndpointSet) {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.endpoints = append(p.endpoints, changed)
			},
		})
	})
	p.stop = func() { cancel(); group.Wait() }
	f.t.Cleanup(p.stop)
	return p
}

// last returns the config that the proxy serves, and how many it was handed.
func (p *proxy) last() (*config.Config, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.configs) == 0 {
		return nil, 0
	}
	return p.configs[len(p.configs)-1], len(p.configs)
}

// someConfig has n routes, of which each has a chain, and an upstream.
func someConfig(n int) *config.Config {
	p := config.DefaultProxyParameters()
	filter := &config.Filter{Part: "service", Name: "x", Hash: "filter-hash", Image: "registry.example/x:1", PullSecrets: []config.PullCredential{{Registry: "registry.example", Password: "hush-hush"}}}
	chain := &config.Chain{Parts: []*config.Part{{Name: "service", Hash: "part-hash", Filters: []*config.Filter{filter}}}}
	table := &config.RouteTable{}
	for i := range n {
		table.Entries = append(table.Entries, &config.RouteEntry{Route: &config.Route{
			Object: config.Object{Kind: "HTTPRoute", Namespace: "ns", Name: fmt.Sprint("r", i)},
			Rules:  []*config.Rule{{Name: fmt.Sprint("rule", i), Matches: []config.Match{{Path: fmt.Sprint("/", i)}}, Backends: []config.Backend{{Weight: 1, Upstream: "ns/s:80", Chain: chain}}}},
		}})
	}
	return &config.Config{
		Gateways: []*config.Gateway{{
			Object: config.Object{Kind: "Gateway", Namespace: "ns", Name: "g"}, Parameters: p,
			Listeners: []*config.Listener{{Name: "http", Port: 80, Protocol: "HTTP", Routes: table}},
		}},
		Upstreams: map[string]*config.Upstream{"ns/s:80": {Name: "ns/s:80", Protocol: "http", Parameters: p}},
		Endpoints: config.OverlayOf(map[string]*config.EndpointSet{"ns/s:80": endpoints("10.0.0.1:80")}),
		Totals:    map[string]*config.Totals{},
	}
}

func endpoints(addresses ...string) *config.EndpointSet {
	s := &config.EndpointSet{}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, config.Endpoint{Address: netip.MustParseAddrPort(a), Ready: true, Serving: true})
	}
	return s
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// outcome gathers what becomes of an update.
type outcome struct {
	mu   sync.Mutex
	told []error
}

func (o *outcome) applied(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = append(o.told, err)
}

func (o *outcome) last() (error, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.told) == 0 {
		return nil, false
	}
	return o.told[len(o.told)-1], true
}

func (o *outcome) served() bool { err, told := o.last(); return told && err == nil }

func (f *fleet) update(c *config.Config) *outcome {
	f.t.Helper()
	var o outcome
	if err := f.server.Update(c, o.applied); err != nil {
		f.t.Fatal(err)
	}
	return &o
}

// TestAConfigReachesEveryProxy: programmed means that every ready proxy has
// acknowledged it.
func TestAConfigReachesEveryProxy(t *testing.T) {
	f := newFleet(t)
	c := someConfig(1000)
	first := f.update(c)
	eventually(t, "an update without a proxy is told so", func() bool {
		err, told := first.last()
		return told && err != nil && strings.Contains(err.Error(), "no proxy")
	})
	one, two := f.proxy("one", nil), f.proxy("two", nil)
	eventually(t, "both are ready", func() bool {
		all := f.server.Proxies()
		return len(all) == 2 && all[0].Ready && all[1].Ready && all[0].Current && all[1].Current
	})
	eventually(t, "the update is served", first.served)
	got, _ := one.last()
	if n := len(got.Gateways[0].Listeners[0].Routes.Entries); n != 1000 {
		t.Errorf("%d routes arrived; want 1000", n)
	}
	for _, fl := range got.Filters() {
		if len(fl.PullSecrets) > 0 {
			t.Error("a proxy gets pull credentials")
		}
	}

	// One that refuses holds back the word that it is served, and says why.
	two.mu.Lock()
	two.refuse = errors.New("not with me")
	two.mu.Unlock()
	changed := *c
	changed.Totals = map[string]*config.Totals{"ns": {Filters: 7}}
	second := f.update(&changed)
	eventually(t, "the refusal is told", func() bool {
		err, told := second.last()
		return told && err != nil && strings.Contains(err.Error(), "not with me") && strings.Contains(err.Error(), "two")
	})
	if got, _ := one.last(); got.Totals["ns"] == nil || got.Totals["ns"].Filters != 7 {
		t.Error("the proxy beside it was held up")
	}
	two.mu.Lock()
	two.refuse = nil
	two.mu.Unlock()
	third := *c
	third.Totals = map[string]*config.Totals{"ns": {Filters: 8}}
	o := f.update(&third)
	eventually(t, "the next one is served", o.served)
	if got, _ := two.last(); got.Totals["ns"].Filters != 8 {
		t.Error("a refused update is in the way of the next")
	}
}

// TestPurgesGoOutAndComeBack: each proxy gets a purge, and what it reports is known by
// its name.
func TestPurgesGoOutAndComeBack(t *testing.T) {
	f := newFleet(t)
	c := someConfig(2)
	p := &config.Purge{ID: "ns/p/u", Namespace: "ns", Tags: []string{"t"}}
	c.Purges = []*config.Purge{p}
	var done outcome
	a, b := f.proxy("a", nil), f.proxy("b", nil)
	if err := f.server.Update(c, done.applied); err != nil {
		t.Fatal(err)
	}
	for i, one := range []*proxy{a, b} {
		eventually(t, "the purge", func() bool {
			got, _ := one.last()
			return got != nil && len(got.Purges) == 1 && got.Purges[0].ID == p.ID && slices.Equal(got.Purges[0].Tags, p.Tags)
		})
		one.mu.Lock()
		one.report = remote.Report{Ready: true, Purges: []remote.PurgeReport{{ID: p.ID, Removed: int64(10 * (i + 1))}, {ID: "ns/q/u", Removed: -5, Error: "no"}}}
		one.mu.Unlock()
		one.changed <- struct{}{}
	}
	eventually(t, "what became of it", func() bool {
		got, _ := f.server.Purges()
		return len(got) == 2 && got[0].ID == "a" && got[0].Ready && got[0].Purges[p.ID].Removed == 10 && got[1].Purges[p.ID].Removed == 20
	})
	all, found := f.server.Purges()
	if found {
		t.Error("all proxies were found as soon as it serves")
	}
	if got := all[0].Purges["ns/q/u"]; got.Removed != 0 || got.Error != "no" {
		t.Errorf("got %+v; want no number below 0", got)
	}
	a.stop()
	eventually(t, "a is gone", func() bool { all, _ := f.server.Purges(); return len(all) == 1 })
}

// TestEndpointsComeAlone: endpoints are no new config.
func TestEndpointsComeAlone(t *testing.T) {
	f := newFleet(t)
	c := someConfig(10)
	f.update(c)
	p := f.proxy("one", nil)
	eventually(t, "the config is there", func() bool { c, _ := p.last(); return c != nil })
	got, before := p.last()
	if e := got.Endpoints.Of("ns/s:80"); e == nil || len(e.Endpoints) != 1 {
		t.Fatalf("the config came before its endpoints: %+v", got.Endpoints)
	}
	changed := *c
	changed.Endpoints = config.OverlayOf(map[string]*config.EndpointSet{"ns/s:80": endpoints("10.0.0.1:80", "10.0.0.2:80")})
	o := f.update(&changed)
	eventually(t, "they are served", o.served)
	p.mu.Lock()
	last := p.endpoints[len(p.endpoints)-1]
	p.mu.Unlock()
	if _, after := p.last(); after != before || len(last["ns/s:80"].Endpoints) != 2 {
		t.Errorf("%d configs more; endpoints %+v", after-before, last)
	}
	gone := changed
	gone.Upstreams, gone.Endpoints = map[string]*config.Upstream{}, config.Overlay[string, *config.EndpointSet]{}
	o = f.update(&gone)
	eventually(t, "they are gone", o.served)
	eventually(t, "the proxy forgets them", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		last := p.endpoints[len(p.endpoints)-1]
		set, named := last["ns/s:80"]
		return named && set == nil
	})
}

// TestControlIsReplaced: proxies serve on, and get only what they lack.
func TestControlIsReplaced(t *testing.T) {
	f := newFleet(t)
	c := someConfig(500)
	f.update(c)
	p := f.proxy("one", nil)
	eventually(t, "the config is there", func() bool { c, _ := p.last(); return c != nil })
	before, _ := p.last()
	f.restart()
	next := *c
	next.Totals = map[string]*config.Totals{"ns": {Filters: 9}}
	o := f.update(&next)
	eventually(t, "the new control's config is served", o.served)
	after, _ := p.last()
	if after.Totals["ns"] == nil || after.Gateways[0].Listeners[0].Routes.Entries[7].Route != before.Gateways[0].Listeners[0].Routes.Entries[7].Route {
		t.Error("routes that did not change were sent again")
	}
}

// TestStartFromDisk: a proxy starts without control, but not with another key, and
// not when its state is too old.
func TestStartFromDisk(t *testing.T) {
	f := newFleet(t)
	f.registry.images["registry.example/x:1"] = &oci.Image{Digest: "sha256:" + strings.Repeat("a", 64), Module: []byte("module")}
	f.update(someConfig(50))
	dir, modules := t.TempDir(), t.TempDir()
	state := func(key string) func(*remote.Options) {
		return func(o *remote.Options) {
			o.State = remote.NewState(dir, func() ([]byte, error) { return []byte(key), nil }, zap.NewNop())
			o.Modules = modules
		}
	}
	key := strings.Repeat("k", 32)
	p := f.proxy("one", state(key))
	eventually(t, "the config is there", func() bool { c, _ := p.last(); return c != nil })
	req := oci.Request{Filter: "filter-hash", Reference: "registry.example/x:1"}
	if _, err := p.source.Images().Get(context.Background(), req); err != nil {
		t.Fatal(err)
	}
	p.stop() // it writes what it has
	f.stop()
	text, err := os.ReadFile(filepath.Join(dir, "config"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "config")); err != nil || info.Mode().Perm() != 0o600 || strings.Contains(string(text), "registry.example") {
		t.Errorf("the state is readable: %v %v", info.Mode(), err)
	}
	again := f.proxy("one", state(key))
	eventually(t, "the state on disk serves", func() bool { c, _ := again.last(); return c != nil })
	got, _ := again.last()
	if len(got.Gateways[0].Listeners[0].Routes.Entries) != 50 || got.Endpoints.Len() != 1 {
		t.Error("the state on disk is not whole")
	}
	if image, err := again.source.Images().Get(context.Background(), req); err != nil || string(image.Module) != "module" {
		t.Errorf("the plugin is not there: %v", err)
	}
	again.stop()
	if err := os.WriteFile(filepath.Join(dir, "config"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	other := f.proxy("one", state(strings.Repeat("x", 32)))
	time.Sleep(50 * time.Millisecond)
	if c, _ := other.last(); c != nil {
		t.Error("a state is read with another key")
	}
}

// TestPluginBytes: an image is pulled once for all proxies; what control says of it
// reaches them without asking.
func TestPluginBytes(t *testing.T) {
	f := newFleet(t)
	module := []byte(strings.Repeat("wasm", 300_000)) // several messages
	f.registry.images["registry.example/x:1"] = &oci.Image{Digest: "sha256:" + strings.Repeat("a", 64), Module: module, Schema: []byte("{}"), Cases: []oci.CasesFile{{Name: "cases.yaml", Text: []byte("cases: []")}}, Manifest: oci.Manifest{Guard: true, Capabilities: []string{"kv"}}}
	f.update(someConfig(3))
	req := oci.Request{Filter: "filter-hash", Reference: "registry.example/x:1"}
	var proxies []*proxy
	modules := t.TempDir()
	for i := range 3 {
		proxies = append(proxies, f.proxy(fmt.Sprint("p", i), func(o *remote.Options) {
			if i == 0 {
				o.Modules = modules
			}
		}))
	}
	// The first one has had half of it before.
	sum := sha256.Sum256(module)
	part := filepath.Join(modules, hex.EncodeToString(sum[:])+".part")
	if err := os.WriteFile(part, module[:len(module)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range proxies {
		image, err := p.source.Images().Get(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(image.Module, module) || !image.Manifest.Guard || !slices.Equal(image.Manifest.Capabilities, []string{"kv"}) || string(image.Schema) != "{}" || len(image.Cases) != 1 || string(image.Cases[0].Text) != "cases: []" {
			t.Error("the image is not what control has")
		}
	}
	f.registry.mu.Lock()
	pulls := f.registry.pulls
	f.registry.mu.Unlock()
	if pulls != 1 {
		t.Errorf("%d pulls for 3 proxies; want 1", pulls)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := proxies[0].source.Images().Get(ctx, oci.Request{Filter: "somebody-else's", Reference: "registry.example/y:1"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a filter that is not configured: got %v", err)
	}
}

// TestRefusedImages: the reasons arrive as what core/oci says.
func TestRefusedImages(t *testing.T) {
	for _, want := range []error{oci.ErrForbidden, oci.ErrSignature, oci.ErrDigest, oci.ErrImage, oci.ErrReference, oci.ErrUnavailable} {
		f := newFleet(t)
		f.registry.errs["registry.example/x:1"] = fmt.Errorf("%w: since", want)
		f.update(someConfig(1))
		p := f.proxy("one", nil)
		_, err := p.source.Images().Get(context.Background(), oci.Request{Filter: "filter-hash", Reference: "registry.example/x:1"})
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "since") {
			t.Errorf("got %v; want %v", err, want)
		}
	}
}

// TestStrangersAreRefused: only what the fleet's authority vouches for connects,
// in either direction.
func TestStrangersAreRefused(t *testing.T) {
	f := newFleet(t)
	f.update(someConfig(1))
	other := control.NewAuthority(time.Now)
	secret := renew(t, other, nil)
	theirs, _, err := other.Proxy(secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.ReadFile(filepath.Join(f.dir, remote.FileCA))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := tls.X509KeyPair(theirs[remote.FileCert], theirs[remote.FileKey])
	if err != nil {
		t.Fatal(err)
	}
	p := f.proxy("stranger", func(o *remote.Options) {
		o.TLS = func() (*tls.Config, error) { return remote.Mutual(stranger, ours) }
	})
	time.Sleep(300 * time.Millisecond)
	if c, _ := p.last(); c != nil || len(f.server.Proxies()) > 0 {
		t.Error("a stranger got the config")
	}
	known, err := remote.FromFolder(f.dir)()
	if err != nil {
		t.Fatal(err)
	}
	// A proxy's certificate is no control's.
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: known.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	if c, err := tls.Dial("tcp", l.Addr().String(), known); err == nil {
		c.Close()
		t.Error("a proxy can pass for control")
	}
}

// TestAuthorityIsRenewed: proxies learn of a new authority before it signs.
func TestAuthorityIsRenewed(t *testing.T) {
	now := time.Now()
	a := control.NewAuthority(func() time.Time { return now })
	secret := renew(t, a, nil)
	proxies, _, err := a.Proxy(secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	same, changed, err := a.Proxy(secret, proxies)
	if err != nil || changed || string(same[remote.FileKey]) != string(proxies[remote.FileKey]) {
		t.Error("what is good is made anew")
	}
	now = now.Add(600 * 24 * time.Hour)
	secret = renew(t, a, secret)
	if n := strings.Count(string(secret[remote.FileCA]), "BEGIN"); n != 2 {
		t.Fatalf("%d authorities; want the old one and a new one", n)
	}
	issuer := func(data map[string][]byte) string {
		c, err := tls.X509KeyPair(data[remote.FileCert], data[remote.FileKey])
		if err != nil {
			t.Fatal(err)
		}
		return string(c.Leaf.AuthorityKeyId)
	}
	old := issuer(proxies)
	proxies, changed, err = a.Proxy(secret, proxies)
	if err != nil || !changed || issuer(proxies) != old {
		t.Errorf("the new authority signs at once: %v", err)
	}
	key := string(proxies[remote.FileStateKey])
	now = now.Add(6 * 24 * time.Hour)
	secret = renew(t, a, secret)
	if proxies, _, err = a.Proxy(secret, proxies); err != nil || issuer(proxies) == old || string(proxies[remote.FileStateKey]) != key {
		t.Errorf("the new authority does not sign: %v", err)
	}
	now = now.Add(200 * 24 * time.Hour)
	secret = renew(t, a, secret)
	if n := strings.Count(string(secret[remote.FileCA]), "BEGIN"); n != 1 {
		t.Errorf("%d authorities; want the new one", n)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(secret[remote.FileCA]) {
		t.Error("the authorities cannot be read")
	}
	if _, _, err := a.Renew(map[string][]byte{remote.FileCA: secret[remote.FileCA], "ca.key": nil}); err == nil {
		t.Error("an authority without its key is taken")
	}
}
