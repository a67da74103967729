package proxywasm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero/api"
	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/hosts/capability"
	"penstock.dev/penstock/hosts/capability/cel"
)

// ErrConfigRefused means that the plugin itself refused to start with its
// configuration: proxy_on_vm_start or proxy_on_configure returned false.
var ErrConfigRefused = errors.New("the plugin refused its configuration; its log says why")

var errNoAllocator = errors.New("the module exports neither proxy_on_memory_allocate nor malloc")

// markers are the exports that name an ABI version.
var markers = [...]string{"proxy_abi_version_0_2_1", "proxy_abi_version_0_2_0", "proxy_abi_version_0_1_0", "proxy_abi_version_0_2_100"}

// statuses of host functions (proxy_status_t).
const (
	statusOK            uint32 = 0
	statusNotFound      uint32 = 1
	statusBadArgument   uint32 = 2
	statusSerialization uint32 = 3
	statusParseFailure  uint32 = 4
	statusInvalidMemory uint32 = 6
	statusEmpty         uint32 = 7
	statusCASMismatch   uint32 = 8
	statusInternal      uint32 = 10
	statusUnimplemented uint32 = 12
)

// Options of an ABI.
type Options struct {
	Log     *zap.Logger // gets what guests write
	Metrics *telemetry.Metrics
	// HTTP and GRPC make guests' calls out; nil: UNIMPLEMENTED.
	HTTP capability.HTTPCaller
	GRPC capability.GRPCCaller
	// Names looks hostnames up for guests; nil: NOT_FOUND.
	Names capability.Resolver
	// Redis sends guests' commands; nil: UNIMPLEMENTED.
	Redis capability.RedisCaller
	// Cache keeps guests' own objects; nil: UNIMPLEMENTED, also for steering.
	Cache capability.CacheObjects
	// Rates counts events for guests' limits, KV keeps values for them, and Passwords
	// checks passwords; nil: UNIMPLEMENTED.
	Rates     capability.RateLimiter
	KV        capability.KVStore
	Passwords capability.PasswordChecker
	// Recoder encodes and decodes bodies for guests; nil: UNIMPLEMENTED.
	Recoder capability.Recoder
	// Consumers finds Consumer objects for guests; nil: UNIMPLEMENTED.
	Consumers capability.Consumers
	// Clock is the time that guests are told, and that their ticks go by; nil: the
	// machine's.
	Clock sandbox.Clock
	// NodeID is property node.id; Version is xds.node.metadata's version.
	NodeID, Version string
}

// ABI starts filters. Its methods may be called by several goroutines at once.
type ABI struct {
	o        Options
	stores   sharedStores
	shares   shares
	imports  func(sandbox.Import) sandbox.HostFunc
	foreigns map[string]foreignFunc
	cel      func() (*cel.Engine, error) // made at its first use
}

// New returns an ABI.
func New(o Options) *ABI {
	if o.Clock == nil {
		o.Clock = sandbox.SystemClock{}
	}
	return &ABI{o: o,
		stores: sharedStores{stores: map[string]*sharedStore{}}, shares: shares{by: map[string]*instances{}},
		imports: imports(), foreigns: foreignFuncs(), cel: sync.OnceValues(cel.New),
	}
}

// Name returns the ABI's name in image manifests.
func (a *ABI) Name() string { return "proxy-wasm" }

// Detect reports whether the module exports a version marker.
func (a *ABI) Detect(m *sandbox.Module) bool {
	return slices.ContainsFunc(markers[:], func(name string) bool { _, ok := m.Export(name); return ok })
}

// Filter is one configured use of a plugin: a filter.Filter. Close it once.
type Filter struct {
	abi        *ABI
	config     *config.Filter
	image      config.Loaded
	module     *sandbox.Module
	usage      *sandbox.Usage
	log        *guestLog
	callbacks  filter.Callbacks
	fieldsOnly bool // of response headers nothing but what penstock.set_response_headers left
	started    bool // the first instance has started; then callbacks and quiet stay
	quiet      bool // neither proxy_on_done nor proxy_on_log is wanted
	old        bool // 0.1.0
	raw        bool // 0.2.100: header and data callbacks return Envoy's status
	short      bool // header callbacks take no end of stream
	headerStop config.HeaderStop
	shared     *sharedStore
	metrics    metricTable
	streams    sync.Pool
	group      sync.WaitGroup // goroutines of root contexts

	on    atomic.Pointer[instances] // where new streams go
	alone atomic.Bool               // it may not share instances any more
	holds atomic.Int64              // streams and calls out

	// ended: no stream gets a root context any more. Set before the last look at
	// the instances, and asked with an instance's lock, or with moving, held.
	ended atomic.Bool

	moving sync.Mutex
	left   *instances // that it shared before, until it has departed from them

	declared struct {
		sync.Mutex
		names map[string]bool
	}
}

var (
	_ filter.Filter     = (*Filter)(nil)
	_ filter.ConnFilter = (*Filter)(nil)
)

// Start makes a filter of m with a first instance, which it starts and
// configures. It takes m over, also when it fails. Errors wrap
// ErrConfigRefused, or say how the start ended.
func (a *ABI) Start(ctx context.Context, m *sandbox.Module, c *config.Filter, image config.Loaded) (*Filter, error) {
	f, err := a.newFilter(m, c, image)
	if err != nil {
		m.Close()
		return nil, err
	}
	n, err := f.own(ctx, false)
	if err != nil {
		f.release()
		return nil, err
	}
	f.started = true
	f.on.Store(n)
	if !image.MultiConfig {
		return f, nil
	}
	// That was the trial: a configuration that ends its instance does so alone.
	shared, err := a.join(ctx, f)
	if err != nil {
		a.leave(ctx, n)
		f.release()
		return nil, err
	}
	f.on.Store(shared)
	a.leave(ctx, n)
	if r, err := f.acquire(); err == nil { // what it does on its own, as ticks, begins
		r.v.i.Unlock()
	}
	return f, nil
}

// newFilter checks what m exports.
func (a *ABI) newFilter(m *sandbox.Module, c *config.Filter, image config.Loaded) (*Filter, error) {
	_, ok := m.Export("proxy_on_memory_allocate")
	if _, malloc := m.Export("malloc"); !ok && !malloc {
		return nil, errNoAllocator
	}
	f := &Filter{abi: a, config: c, image: image, module: m, headerStop: c.HeaderStop}
	_, f.old = m.Export("proxy_abi_version_0_1_0")
	_, f.raw = m.Export("proxy_abi_version_0_2_100")
	if f.raw && f.headerStop == config.HeaderStopDefault {
		f.headerStop = config.HeaderStopHeaders
	}
	if f.callbacks = callbacksOf(m); !image.Connections {
		f.callbacks &^= filter.OnConnection
	}
	if t, ok := m.Export("proxy_on_request_headers"); ok {
		f.short = len(t.Params) == 2
	} else if t, ok := m.Export("proxy_on_response_headers"); ok {
		f.short = len(t.Params) == 2
	}
	if err := checkTypes(m, f.short); err != nil {
		return nil, err
	}
	f.log = newGuestLog(a.o.Log, c, image.Digest)
	f.streams.New = func() any { return &stream{f: f} }
	f.shared = a.stores.open(storeID(c))
	f.metrics.set = a.o.Metrics.GuestSet(c.Tenant(), c.Owner.String(), c.ID())
	f.usage = m.Usage(c.Owner.String(), c.ID())
	return f, nil
}

// storeID names the state that a filter shares: by namespace and VM id; without
// one the filter's alone, in each of its versions. A shadow has its own.
func storeID(c *config.Filter) string {
	if c.Shadow {
		return c.Namespace + "\x00shadow " + c.Owner.String() + " " + c.ID()
	}
	if c.VMID != "" {
		return c.Namespace + "\x00vm " + c.VMID
	}
	return c.Namespace + "\x00filter " + c.Owner.String() + " " + strings.TrimSuffix(c.ID(), config.CanarySuffix)
}

// callbacksOf returns which callbacks the module exports.
func callbacksOf(m *sandbox.Module) filter.Callbacks {
	var c filter.Callbacks
	for name, bit := range map[string]filter.Callbacks{
		"proxy_on_request_headers": filter.OnRequestHeaders, "proxy_on_request_body": filter.OnRequestBody, "proxy_on_request_trailers": filter.OnRequestTrailers,
		"proxy_on_response_headers": filter.OnResponseHeaders, "proxy_on_response_body": filter.OnResponseBody, "proxy_on_response_trailers": filter.OnResponseTrailers,
		"proxy_on_new_connection": filter.OnConnection, "proxy_on_downstream_data": filter.OnConnection, "proxy_on_upstream_data": filter.OnConnection,
	} {
		if _, ok := m.Export(name); ok {
			c |= bit
		}
	}
	return c
}

// checkTypes refuses a module whose callbacks have types that they cannot be
// called with.
func checkTypes(m *sandbox.Module, short bool) error {
	headers := 3
	if short {
		headers = 2
	}
	for name, want := range map[string][2]int{
		"proxy_on_context_create": {2, 0}, "proxy_on_vm_start": {2, 1}, "proxy_on_configure": {2, 1}, "proxy_on_tick": {1, 0},
		"proxy_on_request_headers": {headers, 1}, openingExport: {5, 1}, "proxy_on_request_body": {3, 1}, "proxy_on_request_trailers": {2, 1},
		"proxy_on_response_headers": {headers, 1}, "proxy_on_response_body": {3, 1}, "proxy_on_response_trailers": {2, 1},
		"proxy_on_queue_ready": {2, 0}, "proxy_on_http_call_response": {5, 0}, "proxy_on_foreign_function": {3, 0}, "proxy_on_redis_call_response": {4, 0},
		"proxy_on_grpc_receive_initial_metadata": {3, 0}, "proxy_on_grpc_receive": {3, 0}, "proxy_on_grpc_receive_trailing_metadata": {3, 0},
		"proxy_on_grpc_trailing_metadata": {3, 0}, "proxy_on_grpc_close": {3, 0},
		"proxy_on_new_connection": {1, 1}, "proxy_on_downstream_data": {3, 1}, "proxy_on_upstream_data": {3, 1},
		"proxy_on_downstream_connection_close": {2, 0}, "proxy_on_upstream_connection_close": {2, 0},
		"proxy_on_done": {1, 1}, "proxy_on_log": {1, 0}, "proxy_on_delete": {1, 0},
		"proxy_on_memory_allocate": {1, 1}, "malloc": {1, 1},
	} {
		t, ok := m.Export(name)
		if !ok {
			continue
		}
		if len(t.Params) != want[0] || len(t.Results) != want[1] || slices.ContainsFunc(slices.Concat(t.Params, t.Results), func(v api.ValueType) bool { return v != api.ValueTypeI32 }) {
			return fmt.Errorf("export %s has a type that is not Proxy-Wasm's", name)
		}
	}
	return nil
}

// Callbacks implements filter.Filter.
func (f *Filter) Callbacks() filter.Callbacks { return f.callbacks }

// doneWait is how long a plugin may go on after proxy_on_done of its root
// context returned false.
const doneWait = 5 * time.Second

// Close ends the filter once its streams are done, or when ctx is. A plugin
// that is not done goes on for a moment, until it calls proxy_done.
func (f *Filter) Close(ctx context.Context) {
	until(ctx, time.Now().Add(doneWait), func() bool {
		done := true
		f.eachRoot(func(r *root) { done = r.askDone() && done })
		return done
	})
	f.eachRoot(func(r *root) { // nobody waits for their answers any more
		for _, c := range r.v.calls {
			if c.r == r && (c.s == nil || r.v.streams[c.sid] != c.s) {
				r.v.drop(c)
			}
		}
	})
	until(ctx, time.Time{}, func() bool { return f.holds.Load() == 0 })
	f.ended.Store(true)
	f.eachRoot((*root).end)
	f.abi.leave(ctx, f.on.Load())
	if n := f.takeLeft(); n != nil {
		f.abi.leave(ctx, n)
	}
	f.group.Wait()
	f.release()
}

// until asks every few milliseconds until it is so, ctx is done, or end is
// over; the zero end never is.
func until(ctx context.Context, end time.Time, so func() bool) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !so() && ctx.Err() == nil && (end.IsZero() || time.Now().Before(end)) {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (f *Filter) release() {
	f.metrics.set.Close()
	f.abi.stores.close(f.shared)
	f.usage.Close()
	f.module.Close()
}

func (f *Filter) granted(capability string) bool { return slices.Contains(f.image.Grant, capability) }
