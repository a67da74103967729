package proxywasm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tetratelabs/wazero/api"
	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/hosts/capability"
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

// rootID is the context of the plugin itself; streams count up from 2.
const rootID = 1

// Options of an ABI.
type Options struct {
	Log     *zap.Logger // gets what guests write
	Metrics *telemetry.Metrics
	// HTTP and GRPC make guests' calls out; nil: UNIMPLEMENTED.
	HTTP capability.HTTPCaller
	GRPC capability.GRPCCaller
	// NodeID is property node.id; Version is xds.node.metadata's version.
	NodeID, Version string
}

// ABI starts filters. Its methods may be called by several goroutines at once.
type ABI struct {
	o      Options
	shared sharedStores
}

// New returns an ABI.
func New(o Options) *ABI {
	return &ABI{o: o, shared: sharedStores{stores: map[string]*sharedStore{}}}
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
	grant      []string
	pool       *sandbox.Pool
	log        *guestLog
	callbacks  filter.Callbacks
	started    bool // the first instance has started; then callbacks and quiet stay
	quiet      bool // neither proxy_on_done nor proxy_on_log is wanted
	old        bool // 0.1.0
	raw        bool // 0.2.100: header and data callbacks return Envoy's status
	short      bool // header callbacks take no end of stream
	headerStop config.HeaderStop
	shared     *sharedStore
	foreigns   map[string]foreignFunc
	metrics    metricTable
	streams    sync.Pool
	group      sync.WaitGroup // goroutines of root contexts

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
func (a *ABI) Start(ctx context.Context, m *sandbox.Module, c *config.Filter, grant []string) (*Filter, error) {
	_, ok := m.Export("proxy_on_memory_allocate")
	if _, malloc := m.Export("malloc"); !ok && !malloc {
		m.Close()
		return nil, errNoAllocator
	}
	f := &Filter{abi: a, config: c, grant: grant, headerStop: c.HeaderStop}
	f.foreigns = f.foreignFuncs()
	_, f.old = m.Export("proxy_abi_version_0_1_0")
	_, f.raw = m.Export("proxy_abi_version_0_2_100")
	if f.raw && f.headerStop == config.HeaderStopDefault {
		f.headerStop = config.HeaderStopHeaders
	}
	f.callbacks = callbacksOf(m)
	if t, ok := m.Export("proxy_on_request_headers"); ok {
		f.short = len(t.Params) == 2
	} else if t, ok := m.Export("proxy_on_response_headers"); ok {
		f.short = len(t.Params) == 2
	}
	if err := checkTypes(m, f.short); err != nil {
		m.Close()
		return nil, err
	}
	f.log = newGuestLog(a.o.Log, c)
	f.streams.New = func() any { return &stream{f: f} }
	f.shared = a.shared.open(storeID(c))
	f.metrics.set = a.o.Metrics.GuestSet(c.Owner.String(), c.ID())
	var err error
	f.pool, err = m.NewPool(ctx, sandbox.PoolOptions{
		Owner: c.Owner.String(), Filter: c.ID(),
		MemoryBytes: c.Limits.MemoryBytes,
		StartSteps:  sandbox.Steps(c.Limits.CPUTimeStart),
		Env:         c.Env,
		Import:      f.imports(),
		Init:        f.start,
		Closing:     f.closing,
		Died:        f.died,
		Line: func(stderr bool, line []byte) {
			level := levelInfo
			if stderr {
				level = levelError
			}
			f.log.write(level, line)
		},
	})
	if err != nil {
		f.release()
		return nil, err
	}
	f.started = true
	return f, nil
}

// storeID names the state that a filter shares: by namespace and VM id; without
// one the filter's alone.
func storeID(c *config.Filter) string {
	if c.VMID != "" {
		return c.Namespace + "\x00vm " + c.VMID
	}
	return c.Namespace + "\x00filter " + c.Owner.String() + " " + c.ID()
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
		"proxy_on_request_headers": {headers, 1}, "proxy_on_request_body": {3, 1}, "proxy_on_request_trailers": {2, 1},
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
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(doneWait); ctx.Err() == nil && time.Now().Before(end); {
		waiting := false
		f.pool.Each(func(i *sandbox.Instance) {
			if v, ok := i.Data.(*vm); ok && !v.askDone() {
				waiting = true
			}
		})
		if !waiting {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	f.pool.Each(func(i *sandbox.Instance) { // nobody waits for their answers any more
		if v, ok := i.Data.(*vm); ok {
			for _, c := range v.calls {
				if c.s == nil || v.streams[c.sid] != c.s {
					v.drop(c)
				}
			}
		}
	})
	f.pool.Close(ctx)
	f.group.Wait()
	f.release()
}

func (f *Filter) release() {
	f.metrics.set.Close()
	f.abi.shared.close(f.shared)
}

func (f *Filter) granted(capability string) bool { return slices.Contains(f.grant, capability) }
