package plugin

import (
	"errors"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
)

func (b *bed) totals(change func(*config.Totals)) {
	t := config.DefaultTotals()
	t.Policies = map[string]string{"compilesPerHour": "small", "cpuShare": "small"}
	change(t)
	b.SetTotals(map[string]*config.Totals{"ns": t})
}

func tenantSpec(hash string) *config.Filter {
	f := spec()
	f.Hash, f.Owner = hash, config.Object{Kind: "Service", Namespace: "ns", Name: "s"}
	return f
}

func TestAModuleThatIsTooLarge(t *testing.T) {
	b, f := newBed(t), tenantSpec("h")
	f.ModuleBytes, f.ModuleSource = 7, "PluginPolicy small (spec.limits.totals.moduleSize)"
	r := b.Acquire(f)
	defer r.Release()
	want := "the module has 8 bytes, at most 7 by PluginPolicy small (spec.limits.totals.moduleSize): make it smaller, or raise it"
	if s := b.settle(t, r); s.Phase != Failed || s.Reason != "RefusedByPolicy" || s.Message != want {
		t.Errorf("got %+v; want %s", s, want)
	}
}

// TestCompilesOfANamespaceAreBounded: beyond, the filter waits: it has not
// failed, so that what ran before it goes on.
func TestCompilesOfANamespaceAreBounded(t *testing.T) {
	b := newBed(t)
	b.totals(func(c *config.Totals) { c.CompilesPerHour = 1 })
	first := b.Acquire(tenantSpec("h1"))
	defer first.Release()
	if s := b.settle(t, first); s.Phase != Ready {
		t.Fatalf("got %+v", s)
	}
	second := b.Acquire(tenantSpec("h2"))
	defer second.Release()
	for second.State().Message == "" {
		<-b.Changed()
	}
	s := second.State()
	want := "it has to be compiled, or its cases to be run, and namespace ns has had 1 compiles within an hour, at most 1 by PluginPolicy small (spec.limits.totals.compilesPerHour): it is tried again at "
	if s.Phase != Compiling || s.Reason != "RefusedByPolicy" || !strings.HasPrefix(s.Message, want) {
		t.Errorf("got %+v; want %s", s, want)
	}
	other := tenantSpec("h3")
	other.Owner.Namespace = "other"
	for _, f := range []*config.Filter{other, spec()} {
		r := b.Acquire(f)
		if s := b.settle(t, r); s.Phase != Ready {
			t.Errorf("of %s: got %+v", f.Owner, s)
		}
		r.Release()
	}
	// Raised, it is compiled at the next try.
	b.totals(func(c *config.Totals) { c.CompilesPerHour = 2 })
	if s := b.settle(t, second); s.Phase != Ready {
		t.Errorf("got %+v", s)
	}
}

// TestAStartWithoutAProcessorIsTriedAgain: nothing is wrong with the filter.
func TestAStartWithoutAProcessorIsTriedAgain(t *testing.T) {
	b := newBed(t)
	b.fail(&sandbox.Failure{Cause: sandbox.CauseUnavailable, Err: sandbox.ErrCrowded})
	r := b.Acquire(spec())
	defer r.Release()
	for r.State().Message == "" {
		<-b.Changed()
	}
	if s := r.State(); s.Phase != Compiling || s.Reason != "" {
		t.Errorf("got %+v; want it to wait", s)
	}
	b.image.err.Store(nil)
	if s := b.settle(t, r); s.Phase != Ready {
		t.Errorf("got %+v", s)
	}
}

func TestNoCompilesAtAll(t *testing.T) {
	b := newBed(t)
	b.totals(func(c *config.Totals) { c.CompilesPerHour = 0 })
	err := b.permit("ns")
	var wait *delayed
	if want := "it is tried again once it is raised"; !errors.As(err, &wait) || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v; want %s", err, want)
	}
}

// TestAQuarantinedFilterIsNoCall: what is refused at the gate changes no count.
func TestAQuarantinedFilterIsNoCall(t *testing.T) {
	b := newBed(t)
	r := b.Acquire(spec())
	defer r.Release()
	b.settle(t, r)
	r.health.restUntil.Store(1<<63 - 1)
	_, err := r.gate.Begin(nil, nil)
	var f *filter.Error
	if !errors.As(err, &f) {
		t.Fatalf("got %v", err)
	}
	r.failed(f)
	if n := r.health.calls.Load(); n != 0 {
		t.Errorf("%d calls; want 0", n)
	}
}
