package plugin

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/core/telemetry"
)

// image is a store with one image, or an error.
type image struct {
	err      atomic.Pointer[error]
	manifest oci.Manifest
	cases    []oci.CasesFile
	digest   string
	note     string
}

func (i *image) Get(context.Context, oci.Request) (*oci.Image, error) {
	if err := i.err.Load(); err != nil {
		return nil, *err
	}
	return &oci.Image{Module: []byte("\x00asm\x01\x00\x00\x00"), Digest: i.digest, Manifest: i.manifest, Cases: i.cases}, nil
}

// abi starts filters that do nothing, and notes what they were granted.

func (*image) Recheck(context.Context, oci.Request, string) error { return nil }

func (i *image) Note(string) string { return i.note }

func (i *image) Resolve(context.Context, oci.Request) (string, error) { return i.digest, nil }

type abi struct {
	detect  bool
	err     error
	granted []string
	loaded  config.Loaded
	closed  chan struct{}
	once    sync.Once
}

func (*abi) Name() string                  { return "proxy-wasm" }
func (a *abi) Detect(*sandbox.Module) bool { return a.detect }
func (a *abi) Start(_ context.Context, m *sandbox.Module, _ *config.Filter, image config.Loaded) (Running, error) {
	m.Close()
	a.granted, a.loaded = image.Grant, image
	return running{a}, a.err
}

type running struct{ abi *abi }

func (running) Callbacks() filter.Callbacks { return 0 }
func (running) Begin(*exchange.Exchange, *filter.Waker) (filter.Stream, error) {
	return nil, errors.New("not called")
}
func (r running) Close(context.Context) { r.abi.once.Do(func() { close(r.abi.closed) }) }

type bed struct {
	*Manager
	image *image
	abi   *abi
}

func newBed(t *testing.T) *bed {
	t.Helper()
	m := telemetry.New()
	e, err := sandbox.New(sandbox.Options{Dir: filepath.Join(t.TempDir(), "compiled")}, zap.NewNop(), m)
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{image: &image{digest: "sha256:aa"}, abi: &abi{detect: true, closed: make(chan struct{})}}
	b.Manager = New(Options{Images: b.image, Engine: e, ABIs: []ABI{b.abi}, Log: zap.NewNop(), Metrics: m})
	t.Cleanup(func() { b.Manager.Close(); _ = e.Close() })
	return b
}

func spec() *config.Filter {
	return &config.Filter{Part: "service", Name: "x", Hash: "h", Image: "r.example/x:1", Limits: config.DefaultLimits()}
}

// settle waits until the runtime is ready or failed.
func (b *bed) settle(t *testing.T, r *Runtime) *State {
	t.Helper()
	for {
		if s := r.State(); s.Phase == Ready || s.Phase == Failed {
			return s
		}
		select {
		case <-b.Changed():
		case <-time.After(10 * time.Second):
			t.Fatal("never settled")
		}
	}
}

func TestReasons(t *testing.T) {
	tests := map[string]struct {
		change func(*bed, *config.Filter)
		phase  Phase
		reason string
	}{
		"ready":              {func(*bed, *config.Filter) {}, Ready, ""},
		"forbidden":          {func(b *bed, _ *config.Filter) { b.fail(oci.ErrForbidden) }, Failed, "PullForbidden"},
		"unavailable":        {func(b *bed, _ *config.Filter) { b.fail(oci.ErrUnavailable) }, Failed, "ImageUnavailable"},
		"a wrong digest":     {func(b *bed, _ *config.Filter) { b.fail(oci.ErrDigest) }, Failed, "DigestMismatch"},
		"no plugin image":    {func(b *bed, _ *config.Filter) { b.fail(oci.ErrImage) }, Failed, "InvalidModule"},
		"a denied digest":    {func(_ *bed, f *config.Filter) { f.DeniedDigests = []string{"sha256:aa"} }, Failed, "RefusedByPolicy"},
		"no ABI":             {func(b *bed, _ *config.Filter) { b.abi.detect = false }, Failed, "UnknownABI"},
		"another ABI":        {func(b *bed, _ *config.Filter) { b.image.manifest.ABI = "http-wasm" }, Failed, "UnknownABI"},
		"refused at start":   {func(b *bed, _ *config.Filter) { b.abi.err = &Fault{"InvalidConfig", errors.New("no")} }, Failed, "InvalidConfig"},
		"a guard that skips": {func(b *bed, f *config.Filter) { b.image.manifest.Guard, f.OnError = true, config.Skip }, Failed, "InvalidConfig"},
		"a consumer is guard": {func(b *bed, f *config.Filter) {
			b.image.manifest.Capabilities, f.Grant, f.OnError = []string{"consumer"}, config.GrantManifest, config.Skip
		}, Failed, "InvalidConfig"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b, f := newBed(t), spec()
			test.change(b, f)
			r := b.Acquire(f)
			defer r.Release()
			if s := b.settle(t, r); s.Phase != test.phase || s.Reason != test.reason || (s.Phase == Failed) != (s.Message != "") {
				t.Errorf("got %+v; want %s %s", s, test.phase, test.reason)
			}
		})
	}
}

func (b *bed) fail(err error) {
	err = fmt.Errorf("image r.example/x:1: %w", err)
	b.image.err.Store(&err)
}

func TestWhatCanPassIsTriedAgain(t *testing.T) {
	b := newBed(t)
	b.fail(oci.ErrUnavailable)
	r := b.Acquire(spec())
	defer r.Release()
	if s := b.settle(t, r); s.Phase != Failed {
		t.Fatalf("got %+v", s)
	}
	b.image.err.Store(nil)
	for r.State().Phase != Ready {
		select {
		case <-b.Changed():
		case <-time.After(10 * time.Second):
			t.Fatal("never tried again")
		}
	}
}

func TestGrants(t *testing.T) {
	tests := map[string]struct {
		grant    config.Grant
		policy   []string
		manifest []string
		want     string
	}{
		"bundled: its manifest":         {config.GrantManifest, nil, []string{"consumer", "kv"}, "[consumer kv]"},
		"a Plugin: what it lists":       {config.GrantListed, []string{"consumer"}, nil, "[consumer]"},
		"an image: both must name it":   {config.GrantBoth, []string{"consumer", "http-call"}, []string{"consumer", "kv"}, "[consumer]"},
		"an image that asks for none":   {config.GrantBoth, []string{"consumer"}, nil, "[]"},
		"an image that policy refuses":  {config.GrantBoth, nil, []string{"consumer"}, "[]"},
		"a Plugin that lists no rights": {config.GrantListed, nil, []string{"consumer"}, "[]"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b, f := newBed(t), spec()
			f.Grant, f.Capabilities, b.image.manifest.Capabilities = test.grant, test.policy, test.manifest
			r := b.Acquire(f)
			defer r.Release()
			b.settle(t, r)
			if got := fmt.Sprint(b.abi.granted); got != test.want {
				t.Errorf("got %s; want %s", got, test.want)
			}
		})
	}
}

func TestRuntimesAreSharedAndClosed(t *testing.T) {
	b := newBed(t)
	first, second := b.Acquire(spec()), b.Acquire(spec())
	if first != second {
		t.Error("equal filters have two runtimes")
	}
	b.settle(t, first)
	first.Release()
	select {
	case <-b.abi.closed:
		t.Error("closed while it is used")
	default:
	}
	second.Release()
	<-b.abi.closed
	if len(b.Runtimes()) != 0 {
		t.Error("a runtime is left")
	}
}

// TestWhoMayHaveRawConnections: that a module has callbacks for them says nothing.
func TestWhoMayHaveRawConnections(t *testing.T) {
	tests := map[string]struct {
		kind            string
		manifest, guard bool
		want            bool
	}{
		"a Service's":               {"Service", false, false, false},
		"a Gateway's":               {"Gateway", false, false, false},
		"an HTTPRoute's":            {"HTTPRoute", false, false, false},
		"its author vouches":        {"Service", true, false, true},
		"its author does, a guard":  {"Service", true, true, true},
		"a TCPRoute's own":          {"TCPRoute", false, false, true},
		"a TLSRoute's own":          {"TLSRoute", false, false, true},
		"a TCPRoute's own, a guard": {"TCPRoute", false, true, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			b.image.manifest.Connections, b.image.manifest.Guard = tt.manifest, tt.guard
			f := spec()
			f.Owner = config.Object{Kind: tt.kind, Namespace: "ns", Name: "x"}
			r := b.Acquire(f)
			defer r.Release()
			b.settle(t, r)
			if got := b.abi.loaded.Connections; got != tt.want {
				t.Errorf("got %v; want %v", got, tt.want)
			}
		})
	}
}
