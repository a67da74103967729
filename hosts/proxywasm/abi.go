package proxywasm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/tetratelabs/wazero/api"
	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/core/telemetry"
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
	statusInvalidMemory uint32 = 6
	statusEmpty         uint32 = 7
	statusCASMismatch   uint32 = 8
	statusInternal      uint32 = 10
	statusUnimplemented uint32 = 12
)

// rootID is the context of the plugin itself; streams count up from 2.
const rootID = 1

// ABI starts filters. Its methods may be called by several goroutines at once.
type ABI struct {
	log     *zap.Logger
	metrics *telemetry.Metrics
	shared  sharedStores
}

// New returns an ABI; log gets what guests write.
func New(log *zap.Logger, m *telemetry.Metrics) *ABI {
	return &ABI{log: log, metrics: m, shared: sharedStores{stores: map[string]*sharedStore{}}}
}

// Name returns the ABI's name in image manifests.
func (a *ABI) Name() string { return "proxy-wasm" }

// Detect reports whether the module exports a version marker.
func (a *ABI) Detect(m *sandbox.Module) bool {
	return slices.ContainsFunc(markers[:], func(name string) bool { _, ok := m.Export(name); return ok })
}

// Filter is one configured use of a plugin: a filter.Filter. Close it once.
type Filter struct {
	abi       *ABI
	config    *config.Filter
	grant     []string
	pool      *sandbox.Pool
	log       *guestLog
	callbacks filter.Callbacks
	started   bool // the first instance has started; then callbacks and quiet stay
	quiet     bool // neither proxy_on_done nor proxy_on_log is wanted
	old       bool // 0.1.0
	short     bool // header callbacks take no end of stream
	shared    *sharedStore
	vmID      string
	metrics   metricTable
	streams   sync.Pool
	ticks     sync.WaitGroup
}

var _ filter.Filter = (*Filter)(nil)

// Start makes a filter of m with a first instance, which it starts and
// configures. It takes m over, also when it fails. Errors wrap
// ErrConfigRefused, or say how the start ended.
func (a *ABI) Start(ctx context.Context, m *sandbox.Module, c *config.Filter, grant []string) (*Filter, error) {
	_, ok := m.Export("proxy_on_memory_allocate")
	if _, malloc := m.Export("malloc"); !ok && !malloc {
		m.Close()
		return nil, errNoAllocator
	}
	f := &Filter{abi: a, config: c, grant: grant, vmID: c.Owner.String() + " " + c.ID()}
	_, f.old = m.Export("proxy_abi_version_0_1_0")
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
	f.log = newGuestLog(a.log, c)
	f.streams.New = func() any { return &stream{f: f} }
	f.shared = a.shared.open(c.Owner.Namespace + "\x00" + f.vmID)
	f.metrics.set = a.metrics.GuestSet(c.Owner.String(), c.ID())
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

// callbacksOf returns which callbacks the module exports.
func callbacksOf(m *sandbox.Module) filter.Callbacks {
	var c filter.Callbacks
	for name, bit := range map[string]filter.Callbacks{
		"proxy_on_request_headers": filter.OnRequestHeaders, "proxy_on_request_body": filter.OnRequestBody, "proxy_on_request_trailers": filter.OnRequestTrailers,
		"proxy_on_response_headers": filter.OnResponseHeaders, "proxy_on_response_body": filter.OnResponseBody, "proxy_on_response_trailers": filter.OnResponseTrailers,
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

// Close ends the filter once its streams are done, or when ctx is.
func (f *Filter) Close(ctx context.Context) {
	f.pool.Close(ctx)
	f.ticks.Wait()
	f.release()
}

func (f *Filter) release() {
	f.metrics.set.Close()
	f.abi.shared.close(f.shared)
}

func (f *Filter) granted(capability string) bool { return slices.Contains(f.grant, capability) }
