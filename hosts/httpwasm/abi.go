package httpwasm

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
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/core/telemetry"
)

const (
	// mostInstances bounds the exchanges that one filter serves at one time.
	mostInstances = 32
	// takeWait is how long an exchange waits for an instance.
	takeWait = time.Second
)

// ErrConfigRefused means that the plugin itself refused to start, by
// exiting: most likely it is not content with its configuration.
var ErrConfigRefused = errors.New("the plugin refused to start; its log says why")

var errUnknownImport = errors.New("the module imports a function that is not http-wasm's")

// ABI starts filters. Its methods may be called by several goroutines at once.
type ABI struct {
	log     *zap.Logger
	metrics *telemetry.Metrics
}

// New returns an ABI; log gets what guests write.
func New(log *zap.Logger, m *telemetry.Metrics) *ABI { return &ABI{log: log, metrics: m} }

// Name returns the ABI's name in image manifests.
func (a *ABI) Name() string { return "http-wasm" }

// Detect reports whether the module exports both handlers with their types, and
// no marker of Proxy-Wasm.
func (a *ABI) Detect(m *sandbox.Module) bool {
	request, ok := m.Export("handle_request")
	response, ok2 := m.Export("handle_response")
	for _, marker := range []string{"0_1_0", "0_2_0", "0_2_1", "0_2_100"} {
		if _, proxy := m.Export("proxy_abi_version_" + marker); proxy {
			return false
		}
	}
	return ok && ok2 && isType(request, "", "l") && isType(response, "ii", "")
}

// isType compares a type with its letters: i is i32, l is i64.
func isType(t sandbox.FuncType, params, results string) bool {
	same := func(types []api.ValueType, letters string) bool {
		return slices.EqualFunc(types, []byte(letters), func(v api.ValueType, letter byte) bool {
			return letter == 'i' && v == api.ValueTypeI32 || letter == 'l' && v == api.ValueTypeI64
		})
	}
	return same(t.Params, params) && same(t.Results, results)
}

// Filter is one configured use of a plugin: a filter.Filter. Close it once.
type Filter struct {
	config  *config.Filter
	pool    *sandbox.Pool
	log     *guestLog
	streams sync.Pool
}

var _ filter.Filter = (*Filter)(nil)

// Start makes a filter of m with a first instance, whose _start and
// _initialize it calls. It takes m over, also when it fails. Errors wrap
// ErrConfigRefused, or say how the start ended.
func (a *ABI) Start(ctx context.Context, m *sandbox.Module, c *config.Filter, image config.Loaded) (*Filter, error) {
	defer m.Close() // the pool keeps it
	for _, imp := range m.Imports() {
		if h, ok := hostFuncs[imp.Name]; imp.Module == hostModule && (!ok || !isType(imp.Type, h.params, h.result)) {
			return nil, fmt.Errorf("%w: %s", errUnknownImport, imp.Name)
		}
	}
	for _, name := range startFuncs {
		if t, ok := m.Export(name); ok && !isType(t, "", "") {
			return nil, fmt.Errorf("export %s has a type that is not http-wasm's", name)
		}
	}
	f := &Filter{config: c, log: newGuestLog(a.log, c, image.Digest)}
	f.streams.New = func() any { return &stream{f: f} }
	var err error
	f.pool, err = m.NewPool(ctx, sandbox.PoolOptions{
		Owner: c.Owner.String(), Filter: c.ID(), Tenant: c.Tenant(),
		MemoryBytes: c.Limits.MemoryBytes,
		StartSteps:  sandbox.Steps(c.Limits.CPUTimeStart),
		Most:        mostInstances,
		Env:         c.Env,
		Import:      f.imported,
		Init:        f.start,
		Idle:        func(*sandbox.Instance) bool { return true },
		Line: func(i *sandbox.Instance, stderr bool, line []byte) {
			level := levelInfo
			if stderr {
				level = levelError
			}
			exchange := uint64(0)
			if v, ok := i.Data.(*vm); ok {
				exchange = v.exchange()
			}
			f.log.write(exchange, level, line)
		},
	})
	switch {
	case errors.Is(err, sandbox.ErrExit):
		return nil, fmt.Errorf("%w: %w", ErrConfigRefused, err)
	case err != nil:
		return nil, err
	}
	return f, nil
}

// Callbacks implements filter.Filter.
func (f *Filter) Callbacks() filter.Callbacks {
	return filter.OnRequestHeaders | filter.OnResponseHeaders | filter.TakesBodies
}

// Begin implements filter.Filter. The instance is taken at the first callback.
func (f *Filter) Begin(x *exchange.Exchange, w *filter.Waker) (filter.Stream, error) {
	s := f.streams.Get().(*stream)
	s.x, s.w, s.left = x, w, sandbox.Steps(f.config.Limits.CPUTimeExchange)
	s.budget = sandbox.Budget{Call: sandbox.Steps(f.config.Limits.CPUTime), Exchange: &s.left, Usage: f.pool.Usage()}
	return s, nil
}

// Close ends the filter once its streams are done, or when ctx is.
func (f *Filter) Close(ctx context.Context) { f.pool.Close(ctx) }

// imported returns the function for an import; Start has checked its type.
func (f *Filter) imported(imp sandbox.Import) sandbox.HostFunc {
	h, ok := hostFuncs[imp.Name]
	if imp.Module != hostModule || !ok {
		return nil
	}
	return func(i *sandbox.Instance, stack []uint64) {
		v := f.vm(i)
		if v.s == nil && !h.always {
			v.trap(imp.Name, errNoExchange)
		}
		v.call = imp.Name
		i.Spend(stepsOfCall)
		result := h.f(v, stack)
		if h.result != "" {
			stack[0] = result
		}
	}
}
