package proxywasm

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/hosts/capability"
)

// tenants are two filters of one namespace that share instances.
func tenants(t *testing.T, first, second string) (a, b *scene) {
	t.Helper()
	grant := []string{capability.HTTPCalls}
	a = newScene(t, sceneOptions{script: first, multi: true, name: "first", grant: grant})
	b = newScene(t, sceneOptions{script: second, multi: true, name: "second", grant: grant, with: a})
	b.calls = a.calls
	a.take()
	return a, b
}

func pass(t *testing.T, s *scene) *exchangeOf {
	t.Helper()
	e := s.exchange(config.Reject)
	if out := e.request(""); out != filter.Passed {
		t.Fatalf("%s: got %v, %v", s.f.config.Owner.Name, out, e.Err())
	}
	return e
}

func TestSharedInstances(t *testing.T) {
	a, b := tenants(t, "request_headers: add_header_map_value 0 \"x-who\" \"first\"", "request_headers: add_header_map_value 0 \"x-who\" \"second\"")
	if a.f.on.Load() != b.f.on.Load() || a.f.on.Load().key == "" {
		t.Fatal("filters of one namespace with one image have instances of their own")
	}
	for _, s := range []*scene{a, b, a} {
		e := pass(t, s)
		e.Done()
	}
	other := newScene(t, sceneOptions{multi: true, name: "third", with: a, change: func(c *config.Filter) { c.Namespace, c.Owner.Namespace = "other", "other" }})
	if other.f.on.Load() == a.f.on.Load() {
		t.Error("two namespaces share instances")
	}
	env := newScene(t, sceneOptions{multi: true, name: "fourth", with: a, change: func(c *config.Filter) { c.Env = []config.EnvVar{{Name: "A", Value: "1"}} }})
	if env.f.on.Load() == a.f.on.Load() {
		t.Error("filters with different environments share instances")
	}
	n := a.f.on.Load()
	b.f.Close(t.Context())
	if n.refs != 1 {
		t.Errorf("got %d references after one of two filters was closed; want 1", n.refs)
	}
	pass(t, a).Done()
}

// TestInstancesOfTwoFilters: without the image's word two filters share none, made alike as
// they are, whether of one object, of two or of two namespaces.
func TestInstancesOfTwoFilters(t *testing.T) {
	const lines = `request_headers: add_header_map_value 0 "x-who" "me"`
	first := newScene(t, sceneOptions{script: lines, name: "first"})
	others := map[string]func(*config.Filter){
		"another filter of the object": func(c *config.Filter) { c.Owner.Name, c.Name = "first", "other" },
		"another object":               func(c *config.Filter) { c.Owner.Name = "second" },
		"another namespace":            func(c *config.Filter) { c.Namespace, c.Owner.Namespace, c.Owner.Name = "away", "away", "first" },
		"another, of the same vmId":    func(c *config.Filter) { c.Owner.Name, c.VMID = "third", "shared" },
	}
	seen := map[*instances]string{first.f.on.Load(): "the first"}
	for name, change := range others {
		s := newScene(t, sceneOptions{script: lines, with: first, change: change})
		on := s.f.on.Load()
		if other, taken := seen[on]; taken || on.key != "" {
			t.Errorf("%s has the instances of %s", name, other)
		}
		seen[on] = name
		pass(t, s).Done()
	}
}

// TestSharedInstancesEachHasItsConfiguration: what one root context says or
// keeps is not the other's.
func TestSharedInstancesEachHasItsConfiguration(t *testing.T) {
	a, b := tenants(t,
		`request_headers: get_buffer_bytes 7 0 15 &&; set_shared_data "k" "of first" 0; get_shared_data "k" && &; get_property "plugin_name" &&; define_metric 0 "m" &; increment_metric 4 1; get_metric 4 &8`,
		`request_headers: get_buffer_bytes 7 0 15 &&; get_shared_data "k" && &; get_metric 4 &8; set_effective_context 1; set_effective_context 3`)
	pass(t, a).Done()
	e := pass(t, b)
	defer e.Done()
	lines := strings.Join(a.until(t, "  set_effective_context"), "\n")
	rest := strings.Join(a.take(), "\n")
	if !strings.Contains(lines, `get_shared_data 0 "of first"`) || !strings.Contains(lines, `get_shared_data 1`) {
		t.Errorf("shared data is not each filter's own:\n%s", lines)
	}
	if !strings.Contains(lines, "  get_metric 0 1") || !strings.Contains(lines, "  get_metric 1 ") {
		t.Errorf("metrics are not each filter's own:\n%s", lines)
	}
	if strings.Contains(lines+rest, "set_effective_context 0") {
		t.Errorf("a filter acted as another one's context:\n%s\n%s", lines, rest)
	}
}

// TestSharedInstancesTrap: the trap is its filter's, which then runs apart; the
// other's exchange in flight fails without it being its failure.
func TestSharedInstancesTrap(t *testing.T) {
	a, b := tenants(t, "request_headers: trap", `request_headers: `+callOut+`; return 1`)
	waiting := b.exchange(config.Reject)
	ended := make(chan filter.Outcome, 1)
	go func() { ended <- waiting.request("") }()
	<-a.calls.begun
	e := a.exchange(config.Reject)
	if out := e.request(""); out == filter.Passed {
		t.Error("a trap passed")
	}
	var failure *filter.Error
	if !errors.As(e.Err(), &failure) || failure.Cause != sandbox.CauseTrap {
		t.Errorf("got %v; want a trap", e.Err())
	}
	e.Done()
	if out := <-ended; out == filter.Passed {
		t.Error("an exchange on an instance that died passed")
	}
	if !errors.As(waiting.Err(), &failure) || failure.Cause != sandbox.CauseUnavailable {
		t.Errorf("the neighbour's failure is %v; want cause unavailable, which does not count for it", waiting.Err())
	}
	waiting.Done()
	shared := b.f.on.Load()
	e = a.exchange(config.Reject)
	e.request("")
	e.Done()
	if n := a.f.on.Load(); n == shared || n.key != "" {
		t.Error("the filter that trapped still shares instances")
	}
	if b.f.on.Load() != shared {
		t.Error("the neighbour has left")
	}
	a.f.Close(t.Context())
	if shared.refs != 1 {
		t.Errorf("got %d references; want the neighbour's", shared.refs)
	}
}

// TestSharedInstancesRefusal: a configuration that is refused, or ends its
// instance, never comes near the others.
func TestSharedInstancesRefusal(t *testing.T) {
	a := newScene(t, sceneOptions{multi: true, name: "first"})
	held := a.exchange(config.Reject)
	if out := held.request(""); out != filter.Passed {
		t.Fatalf("got %v", out)
	}
	for name, script := range map[string]string{"refused": "configure: return 0", "trap": "configure: trap", "spin": "configure: spin"} {
		_, err := tryScene(t, sceneOptions{script: script, multi: true, name: "bad", with: a, change: func(c *config.Filter) { c.Limits.CPUTimeStart = 50 * time.Millisecond }})
		if err == nil {
			t.Errorf("%s: started", name)
		}
	}
	if out := held.response(""); out != filter.Passed {
		t.Errorf("an exchange in flight felt it: %v, %v", out, held.Err())
	}
	held.Done()
}

// TestSharedInstancesTickEachOnItsOwn: ticks are per root context, and end with it.
func TestSharedInstancesTickEachOnItsOwn(t *testing.T) {
	a, b := tenants(t, "configure: set_tick_period_milliseconds 10\ntick: define_metric 0 \"first\" &", "configure: set_tick_period_milliseconds 10\ntick: define_metric 0 \"second\" &")
	a.until(t, "tick 1")
	a.until(t, "tick 2")
	b.f.Close(t.Context())
	a.take()
	a.until(t, "tick 1")
	a.until(t, "tick 1")
	for _, line := range a.take() {
		if strings.HasPrefix(line, "tick 2") {
			t.Error("a root context ticks after its filter's end")
		}
	}
}

// TestSharedInstancesCloseCutsOff: an exchange that does not end in time loses
// its context, and the neighbour goes on.
func TestSharedInstancesCloseCutsOff(t *testing.T) {
	a, b := tenants(t, "request_headers: return 1", "")
	stuck := a.exchange(config.Reject)
	ended := make(chan filter.Outcome, 1)
	go func() { ended <- stuck.request("") }()
	a.until(t, "request_headers")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	a.f.Close(ctx)
	if out := <-ended; out == filter.Passed {
		t.Error("an exchange without its filter passed")
	}
	stuck.Done()
	pass(t, b).Done()
}

// sharing starts filters of one namespace whose image says multiConfig.
func sharing(t *testing.T, wasm []byte, owners ...string) []*Filter {
	t.Helper()
	metrics := telemetry.New()
	e, err := sandbox.New(sandbox.Options{Dir: filepath.Join(t.TempDir(), "compiled")}, zap.NewNop(), metrics)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	abi := New(Options{Log: zap.NewNop(), Metrics: metrics})
	var filters []*Filter
	for _, owner := range owners {
		module, err := e.Load(t.Context(), wasm)
		if err != nil {
			t.Fatal(err)
		}
		c := &config.Filter{Part: "service", Name: "x", Owner: config.Object{Kind: "Service", Namespace: "ns", Name: owner}, Namespace: "ns", Limits: config.DefaultLimits()}
		f, err := abi.Start(t.Context(), module, c, config.Loaded{MultiConfig: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close(context.Background()) })
		filters = append(filters, f)
	}
	return filters
}

// TestSharedInstancesThatRefuseASecond: the image says multiConfig, and takes one
// configuration in each instance. The second filter passed its trial; it is not
// tried again for each exchange, but runs apart.
func TestSharedInstancesThatRefuseASecond(t *testing.T) {
	g := minimal()
	// Counts the configurations at address 0, and takes the first.
	g.has("proxy_on_configure", "ii", 1, 0x41, 0, 0x41, 0, 0x28, 2, 0, 0x41, 1, 0x6a, 0x36, 2, 0, 0x41, 0, 0x28, 2, 0, 0x41, 1, 0x46)
	g.has("proxy_on_request_headers", "iii", 1, 0x41, 0)
	filters := sharing(t, g.complete(), "first", "second")
	shared := filters[0].on.Load()
	for n, f := range filters {
		for range 3 {
			s, err := f.Begin(newExchange(), &filter.Waker{})
			if err != nil {
				t.Fatal(err)
			}
			if v, err := s.RequestHeaders(true); v != filter.Continue || err != nil {
				t.Errorf("filter %d: got %v, %v", n+1, v, err)
			}
			s.Done()
		}
	}
	if filters[0].on.Load() != shared || filters[1].on.Load().key != "" {
		t.Error("want the first filter where it was, the second on instances of its own")
	}
	shared.pool.Each(func(i *sandbox.Instance) {
		if tried, _ := i.Memory().ReadUint32Le(0); tried != 2 {
			t.Errorf("%d configurations were tried on the shared instance; want one of each filter", tried)
		}
	})
}

// TestSharedInstancesThatDoNotStart: what ends an instance before it has a root
// context is held against the filter that asked for it, not against the one that
// was there first.
func TestSharedInstancesThatDoNotStart(t *testing.T) {
	a, b := tenants(t, "", "request_headers: trap")
	c := newScene(t, sceneOptions{multi: true, name: "third", with: a})
	a.f.Close(t.Context())
	e := b.exchange(config.Reject)
	e.request("") // the instance is gone
	e.Done()
	for _, f := range []*Filter{a.f, c.f} {
		f.config.Limits.CPUTimeStart = time.Microsecond // the next one does not start
	}
	if r, err := c.f.acquire(); err == nil {
		r.v.i.Unlock()
		t.Error("an instance started in a microsecond")
	}
	if a.f.alone.Load() || !c.f.alone.Load() {
		t.Errorf("the closed filter is alone: %v, the one that asked: %v; want false, true", a.f.alone.Load(), c.f.alone.Load())
	}
	if n := c.f.usage.Counts().Failures[sandbox.CauseCPU]; n != 2 { // shared, and of its own
		t.Errorf("got %d failures of the filter that asked; want 2", n)
	}
	c.f.config.Limits.CPUTimeStart = config.DefaultLimits().CPUTimeStart
	pass(t, c).Done()
}

// rootsOf counts the root contexts on instances.
func rootsOf(n *instances) (all int) {
	n.pool.Each(func(i *sandbox.Instance) { all += len(i.Data.(*vm).roots) })
	return all
}

// TestAFilterLeavesSharedInstances: one that has to be alone has nothing on the
// shared instances any more once its exchanges there are over, though it ticked
// and a call was under way; what nobody uses is closed.
func TestAFilterLeavesSharedInstances(t *testing.T) {
	a, b := tenants(t, "configure: set_tick_period_milliseconds 10; register_shared_queue \"q\" &\nrequest_headers: "+callOut, "")
	shared := a.f.on.Load()
	first := pass(t, a) // in flight
	pass(t, b).Done()
	call := <-a.calls.begun
	a.f.alone.Store(true)
	pass(t, a).Done()
	if n := a.f.on.Load(); n == shared || a.f.left != shared || rootsOf(shared) != 2 {
		t.Errorf("got %d root contexts while an exchange is in flight; want 2", rootsOf(shared))
	}
	if out := first.response(""); out != filter.Passed {
		t.Errorf("the exchange in flight: got %v, %v", out, first.Err())
	}
	first.Done()
	select {
	case <-call.cancelled:
	default:
		t.Error("its call goes on, and nobody waits for the answer")
	}
	if a.f.left != nil || shared.refs != 1 || rootsOf(shared) != 1 {
		t.Errorf("got %d root contexts and %d references; want the neighbour's", rootsOf(shared), shared.refs)
	}
	shared.pool.Each(func(i *sandbox.Instance) {
		if !idle(i) {
			t.Error("the instance counts as busy with the ticks of a filter that left")
		}
	})
	b.f.alone.Store(true)
	pass(t, b).Done()
	if n := b.f.Counts(); shared.refs != 0 || rootsOf(shared) != 0 || len(a.abi.shares.by) != 0 || n.Shared != "" {
		t.Errorf("got %d references, %d shared pools, %+v; want the shared instances closed", shared.refs, len(a.abi.shares.by), n)
	}
	a.until(t, "tick 1") // on instances of its own
}

// TestAFilterThatIsNotAskedAnyMore: it has to be alone and no exchange came since;
// its root contexts do not keep a shared instance busy.
func TestAFilterThatIsNotAskedAnyMore(t *testing.T) {
	a, _ := tenants(t, "configure: set_tick_period_milliseconds 10", "")
	busy := func() (busy bool) {
		a.f.on.Load().pool.Each(func(i *sandbox.Instance) { busy = busy || !idle(i) })
		return busy
	}
	before := busy()
	a.f.alone.Store(true)
	if after := busy(); !before || after {
		t.Errorf("busy %v, then %v; want true, then false", before, after)
	}
}

// TestFiltersLeaveAllAtOnce: exchanges come while their filters are sent away; the
// race detector looks on.
func TestFiltersLeaveAllAtOnce(t *testing.T) {
	a, b := tenants(t, "configure: set_tick_period_milliseconds 10", "configure: set_tick_period_milliseconds 10")
	shared := a.f.on.Load()
	var group sync.WaitGroup
	for n := range 4 {
		s := []*scene{a, b}[n%2]
		group.Go(func() {
			for i := range 50 {
				if i == 10+n {
					s.f.alone.Store(true)
				}
				e := s.exchange(config.Reject)
				if out := e.request(""); out != filter.Passed {
					t.Errorf("got %v, %v", out, e.Err())
				}
				e.Done()
			}
		})
	}
	group.Wait()
	if shared.refs != 0 || a.f.left != nil || b.f.left != nil || len(a.abi.shares.by) != 0 {
		t.Errorf("got %d references, %d shared pools; want none", shared.refs, len(a.abi.shares.by))
	}
}
