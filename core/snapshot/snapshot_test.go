package snapshot

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/core/upstream"
)

// images answers when it is told to.
type images struct{ answer chan error }

func (i images) Get(ctx context.Context, _ oci.Request) (*oci.Image, error) {
	select {
	case err := <-i.answer:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (images) Recheck(context.Context, oci.Request, string) error { return nil }

func (images) Resolve(context.Context, oci.Request) (string, error) { return "", nil }

type sockets struct{ wanted []config.Socket }

func (s *sockets) Reconcile(w []config.Socket) error { s.wanted = w; return nil }

type bed struct {
	*Store
	images  images
	sockets *sockets
	plugins *plugin.Manager
}

func newBed(t *testing.T) *bed {
	t.Helper()
	m, log := telemetry.New(), zap.NewNop()
	b := &bed{images: images{make(chan error)}, sockets: &sockets{}}
	b.plugins = plugin.New(plugin.Options{Images: b.images, Log: log, Metrics: m})
	groups := upstream.New(log, m, upstream.NetDialer{})
	b.Store = New(netip.MustParseAddr("127.0.0.1"), b.sockets, groups, b.plugins, nil, m)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; b.Store.Close(); b.plugins.Close(); groups.Close() })
	return b
}

func partOf(name string, filters ...*config.Filter) *config.Part {
	return &config.Part{Name: "service", Object: config.Object{Kind: "Service", Namespace: "ns", Name: "svc"}, Hash: name, Filters: filters}
}

func filterOf(hash string) *config.Filter {
	return &config.Filter{Part: "service", Name: "x", Hash: hash, Image: "r.example/x:1", Limits: config.DefaultLimits()}
}

func configOf(parts ...*config.Part) *config.Config {
	rule := &config.Rule{Name: "r", Matches: []config.Match{{PathType: config.PathPrefix, Path: "/"}}, Status: 500}
	if len(parts) > 0 {
		rule.Chain = &config.Chain{Parts: parts}
	}
	route := &config.Route{Object: config.Object{Kind: "HTTPRoute", Namespace: "ns", Name: "r"}, Rules: []*config.Rule{rule}}
	return &config.Config{Gateways: []*config.Gateway{{
		Object: config.Object{Kind: "Gateway", Namespace: "ns", Name: "g"}, Parameters: config.DefaultProxyParameters(),
		Listeners: []*config.Listener{{Name: "http", Port: 80, Protocol: "HTTP", Routes: &config.RouteTable{Entries: []*config.RouteEntry{{Route: route}}}}},
	}}}
}

func (b *bed) chain(t *testing.T) *Chain {
	t.Helper()
	for _, c := range b.Load().chains {
		return c
	}
	t.Fatal("no chain")
	return nil
}

func TestAFirstChainHoldsItsExchangesUntilItFails(t *testing.T) {
	b := newBed(t)
	if err := b.Apply(configOf(partOf("one", filterOf("a")))); err != nil {
		t.Fatal(err)
	}
	if b.Settled() {
		t.Error("settled before the filter is")
	}
	c := b.chain(t)
	got := make(chan *Link)
	go func() {
		l, err := c.Acquire()
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	b.images.answer <- errors.New("no module")
	l := <-got
	if l.Fault == nil || l.Fault.Reason != "InvalidModule" {
		t.Errorf("got %+v; want InvalidModule", l.Fault)
	}
	l.Release()
	if !b.Settled() {
		t.Error("a failed chain is settled")
	}
	if r := b.Reports(); len(r) != 1 || r[0].State != "Broken" || r[0].Filters[0].State != "Failed" {
		t.Errorf("got %+v", r)
	}
}

func TestChainsAreTakenOver(t *testing.T) {
	b := newBed(t)
	part := partOf("one")
	part.Fault = &config.Fault{Reason: "InvalidAnnotation", Message: "m"}
	if err := b.Apply(configOf(part)); err != nil {
		t.Fatal(err)
	}
	first := b.chain(t)
	link := first.current.Load()
	if err := b.Apply(configOf(part)); err != nil {
		t.Fatal(err)
	}
	if b.chain(t) != first || first.current.Load() != link {
		t.Error("an equal chain was made anew")
	}
	empty := partOf("two")
	if err := b.Apply(configOf(empty)); err != nil {
		t.Fatal(err)
	}
	if b.chain(t) != first || first.current.Load() == link || first.current.Load().Fault != nil {
		t.Error("a changed part did not replace the link of its chain")
	}
	if err := b.Apply(configOf()); err != nil {
		t.Fatal(err)
	}
	if l, err := first.Acquire(); err != nil || l.Fault == nil {
		t.Error("a chain that is gone still runs")
	}
}

func TestAPinnedLinkKeepsItsRuntimes(t *testing.T) {
	b := newBed(t)
	if err := b.Apply(configOf(partOf("one", filterOf("a")))); err != nil {
		t.Fatal(err)
	}
	go func() { b.images.answer <- errors.New("no module") }()
	l, err := b.chain(t).Acquire()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Apply(configOf()); err != nil {
		t.Fatal(err)
	}
	if n := len(b.plugins.Runtimes()); n != 1 {
		t.Errorf("%d runtimes; want 1 as long as the link is pinned", n)
	}
	l.Release()
	if n := len(b.plugins.Runtimes()); n != 0 {
		t.Errorf("%d runtimes after the last release; want 0", n)
	}
}

func TestLastGoodStandsIn(t *testing.T) {
	b := newBed(t)
	good := partOf("good")
	broken := partOf("broken")
	broken.Fault = &config.Fault{Reason: "InvalidAnnotation", Message: "m"}
	broken.Fallback, broken.FallbackUntil = good, time.Now().Add(time.Hour)
	if err := b.Apply(configOf(good)); err != nil {
		t.Fatal(err)
	}
	if !b.Ran("good") {
		t.Error("a part without filters has run")
	}
	if err := b.Apply(configOf(broken)); err != nil {
		t.Fatal(err)
	}
	if f := b.chain(t).current.Load().Fault; f != nil {
		t.Errorf("got %v; want last good to serve", f)
	}
	if r := b.Reports(); len(r) != 1 || r[0].State != "LastGood" || r[0].Reason != "InvalidAnnotation" {
		t.Errorf("got %+v", r)
	}
	if !b.Ran("good") || b.Ran("broken") {
		t.Error("last good runs, the broken part does not")
	}
	late := *broken
	late.FallbackUntil = time.Now().Add(-time.Second)
	if err := b.Apply(configOf(&late)); err != nil {
		t.Fatal(err)
	}
	if f := b.chain(t).current.Load().Fault; f == nil {
		t.Error("last good serves beyond its time")
	}
	refused := *broken
	refused.Fault = &config.Fault{Reason: "RefusedByPolicy", Message: "m"}
	if err := b.Apply(configOf(&refused)); err != nil {
		t.Fatal(err)
	}
	if f := b.chain(t).current.Load().Fault; f == nil {
		t.Error("last good serves against the policy")
	}
}

func TestListenersAreToldApartByHostname(t *testing.T) {
	p := &Port{}
	for _, h := range []string{"", "a.example", "*.example", "*.b.example"} {
		p.add(h, &Listener{Name: h})
	}
	p.add("a.example", &Listener{Name: "second"})
	for hostname, want := range map[string]string{"a.example": "a.example", "c.example": "*.example", "x.b.example": "*.b.example", "example": "", "other": ""} {
		if got := p.Listener([]byte(hostname)); got.Name != want {
			t.Errorf("%s: got listener %q; want %q", hostname, got.Name, want)
		}
	}
}

// TestListenersOfOnePortWithSocketsOfTheirOwn: two Gateways behind Services of
// their own have port 80, and nothing of one is reached through the other.
func TestListenersOfOnePortWithSocketsOfTheirOwn(t *testing.T) {
	b := newBed(t)
	c := configOf()
	other := *c.Gateways[0]
	other.Object.Name = "other"
	listener := *other.Listeners[0]
	other.Listeners = []*config.Listener{&listener}
	c.Gateways = append(c.Gateways, &other)
	c.Gateways[0].Listeners[0].BindPort, listener.BindPort = 20000, 20001
	if err := b.Apply(c); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"127.0.0.1:20000", "127.0.0.1:20001"} {
		if s := b.sockets.wanted[i]; s.Key() != want || s.Port != 80 {
			t.Errorf("got socket %s, seen as %d; want %s, seen as 80", s.Key(), s.Port, want)
		}
		if l := b.Load().Port(want).Listener([]byte("a.example")); l == nil || l.Name != []string{"ns/g/http", "ns/other/http"}[i] {
			t.Errorf("%s leads to %+v", want, l)
		}
	}
}
