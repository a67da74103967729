package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/sandbox/meter"
	"penstock.dev/penstock/core/telemetry"
)

// Options of an Engine.
type Options struct {
	// Dir is the compile cache. It holds native code: it is made with mode 0700,
	// refused if others may write to it, and each file is sealed with a key, the
	// file Dir.key, and checked before it is loaded.
	Dir string
	// Compiler is the command that compiles a module in a process of its own: it
	// calls Compile with its standard input. Empty: compile in this process,
	// for tests.
	Compiler []string
	// CompilerEnv is for tests: "name=value" that the compiler's process gets beside
	// what it needs. It gets nothing else of this process' environment.
	CompilerEnv    []string
	CompileTimeout time.Duration // of CPU; by the clock wallFactor times that; default 60 s
	CompileMemory  int64         // bytes, default 1 GiB
	// CacheBytes bounds the compile cache; what was used least goes first, and
	// what runs stays. Default 2 GiB.
	CacheBytes int64
	// Clock is the time that guests see; nil: the machine's.
	Clock Clock
	// Observer is told what guests do, for measuring; nil: nobody is.
	Observer Observer
}

// Observer is told what guests do. It is called by whoever has the instance's lock: by
// several goroutines at once, if there are several instances.
type Observer interface {
	// Called is told of a guest's function that was called and has ended: the steps that
	// it took, and the time without that in which it waited for others.
	Called(function string, steps int64, took time.Duration)
	// HostCalled is told of a function of the ABI host, not of WASI's, that the guest
	// calls.
	HostCalled(name string)
}

// MaxModuleBytes is the size beyond which a module is refused.
const MaxModuleBytes = 64 << 20

// Engine compiles modules and holds what all filter runtimes share. Its
// methods may be called by several goroutines at once.
type Engine struct {
	o       Options
	began   time.Time // by o.Clock
	log     *zap.Logger
	metrics metrics
	cache   wazero.CompilationCache
	code    *codeCache
	// compiling is held by the one compile that may run.
	compiling chan struct{}
	// slow holds a token for each guest that may run beyond slowSteps at one
	// time, so that the network poller is never starved.
	slow chan struct{}

	mu       sync.Mutex
	pools    map[*Pool]struct{}
	modules  map[string]*Module     // by digest, as long as somebody has them
	accounts map[[2]string]*account // by owner and filter
	// tenants and their totals by namespace.
	tenants map[string]*Tenant
	totals  map[string]*config.Totals
}

type metrics struct {
	seconds   telemetry.Histograms
	steps     telemetry.Counters
	calls     telemetry.Counters
	failures  telemetry.Counters
	starts    telemetry.Counters
	instances telemetry.Gauges
	memory    telemetry.Gauges
	compile   telemetry.Histograms

	tenantMemory telemetry.Gauges
	refused      telemetry.Counters
}

// New opens the compile cache. Close the engine after its last pool.
func New(o Options, log *zap.Logger, m *telemetry.Metrics) (*Engine, error) {
	if o.CompileTimeout == 0 {
		o.CompileTimeout = time.Minute
	}
	if o.CompileMemory == 0 {
		o.CompileMemory = 1 << 30
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.Clock == nil {
		o.Clock = SystemClock{}
	}
	code, err := openCodeCache(o.Dir, o.CacheBytes, log)
	if err != nil {
		return nil, fmt.Errorf("compile cache: %w", err)
	}
	cache, err := wazero.NewCompilationCacheWithDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("compile cache: %w", err)
	}
	return &Engine{
		o: o, began: o.Clock.Now(), log: log, cache: cache, code: code,
		compiling: make(chan struct{}, 1),
		slow:      make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)),
		pools:     map[*Pool]struct{}{},
		modules:   map[string]*Module{},
		accounts:  map[[2]string]*account{},
		tenants:   map[string]*Tenant{},
		metrics: metrics{
			seconds:   m.Histograms("penstock_plugin_duration_seconds", "Time in a plugin's guest code, of all its calls in one exchange, or for one event of its own.", telemetry.GuestSeconds(), "owner", "filter"),
			steps:     m.Counters("penstock_plugin_steps_total", "Weighted steps that a plugin's calls took; 1,000 are a microsecond of a limit.", "owner", "filter"),
			calls:     m.Counters("penstock_plugin_calls_total", "Calls of a plugin's guest code.", "owner", "filter"),
			failures:  m.Counters("penstock_plugin_failures_total", "Instances that died, by cause.", "owner", "filter", "cause"),
			starts:    m.Counters("penstock_plugin_starts_total", "Instances that were started: those after the first replace one that died or was idle, or serve beside it.", "owner", "filter"),
			instances: m.Gauges("penstock_plugin_instances", "Live instances.", "owner", "filter"),
			memory:    m.Gauges("penstock_plugin_memory_bytes", "Linear memory of the live instances.", "owner", "filter"),
			compile:   m.Histograms("penstock_plugin_compile_seconds", "Time of cold compiles.", telemetry.Seconds()),

			tenantMemory: m.Gauges("penstock_namespace_memory_bytes", "Linear memory of the live instances of a namespace.", "namespace"),
			refused:      m.Counters("penstock_namespace_refusals_total", "What a namespace's filters were refused because of a total.", "namespace", "total"),
		},
	}, nil
}

// Run shrinks idle pools until ctx is done.
func (e *Engine) Run(ctx context.Context) {
	t := time.NewTicker(idleAfter / 4)
	defer t.Stop()
	closed, freed := 0, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		e.mu.Lock()
		pools := make([]*Pool, 0, len(e.pools))
		for p := range e.pools {
			pools = append(pools, p)
		}
		e.mu.Unlock()
		for _, p := range pools {
			closed += p.shrink()
		}
		if now := time.Now(); closed > 0 && now.Sub(freed) > idleAfter { // the load is over: the heap that it took need not wait for its next collection
			debug.FreeOSMemory()
			closed, freed = 0, now
		}
	}
}

// Close frees what compiled modules share; no pool may be left.
func (e *Engine) Close() error { return e.cache.Close(context.Background()) }

// Load returns the module, compiled: the one that others have, or from the
// cache on disk, or by the compiler process first. Close it. Errors wrap
// meter.ErrModule, meter.ErrFeature or *CompileError.
func (e *Engine) Load(ctx context.Context, wasm []byte) (*Module, error) {
	return e.LoadIf(ctx, wasm, nil)
}

// LoadIf is Load; permit, unless nil, is asked before a cold compile, and its
// error is returned.
func (e *Engine) LoadIf(ctx context.Context, wasm []byte, permit func() error) (*Module, error) {
	if len(wasm) > MaxModuleBytes {
		return nil, fmt.Errorf("%w: %w: %d bytes, at most %d", meter.ErrModule, errTooLarge, len(wasm), MaxModuleBytes)
	}
	sum := sha256.Sum256(wasm)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	for {
		e.mu.Lock()
		m := e.modules[digest]
		if m == nil {
			m = &Module{engine: e, digest: digest, refs: 1, loaded: make(chan struct{})}
			m.code.id = e.code.id(digest)
			e.modules[digest] = m
			e.mu.Unlock()
			return e.loadFirst(ctx, m, wasm, permit)
		}
		m.refs++
		e.mu.Unlock()
		select {
		case <-m.loaded:
		case <-ctx.Done():
			m.release()
			return nil, ctx.Err()
		}
		if m.err == nil {
			return m, nil
		}
		m.release()
		// Whoever loaded it may have given up, or was not permitted to, which says
		// nothing of the module.
		if refused := (*notPermitted)(nil); !errors.Is(m.err, context.Canceled) && !errors.As(m.err, &refused) {
			return nil, m.err
		}
	}
}

// notPermitted is an error of the caller's permit.
type notPermitted struct{ error }

// Unwrap returns the permit's own error.
func (e *notPermitted) Unwrap() error { return e.error }

// loadFirst loads m, which others already wait for.
func (e *Engine) loadFirst(ctx context.Context, m *Module, wasm []byte, permit func() error) (*Module, error) {
	m.err = e.load(ctx, m, wasm, permit)
	if m.err != nil {
		e.mu.Lock()
		delete(e.modules, m.digest)
		e.mu.Unlock()
	}
	close(m.loaded)
	if m.err != nil {
		m.release()
		return nil, m.err
	}
	return m, nil
}

func (e *Engine) load(ctx context.Context, m *Module, wasm []byte, permit func() error) error {
	if outline := e.code.get(m.code.id); outline != nil {
		err := m.fromCache(outline)
		if !errors.Is(err, errNoCode) {
			return err
		}
		e.log.Warn("an entry of the compile cache is of another engine or processor: it is compiled again", zap.String("entry", m.code.id))
	}
	metered, err := meter.Instrument(wasm, meter.Options{})
	if err != nil {
		return err
	}
	if permit != nil {
		if err := permit(); err != nil {
			return &notPermitted{err}
		}
	}
	if len(e.o.Compiler) == 0 {
		return m.inspect(ctx, metered)
	}
	outline, err := meter.Outline(metered)
	if err != nil {
		return err
	}
	if err := e.compile(ctx, wasm, outline, m.code.id); err != nil {
		return err
	}
	return m.fromCache(outline)
}

// CompileError is why a cold compile failed.
type CompileError struct{ Reason string }

// Error returns the reason.
func (e *CompileError) Error() string { return "compile: " + e.Reason }

// compile runs the compiler process. One runs at a time; the others wait.
func (e *Engine) compile(ctx context.Context, wasm, outline []byte, id string) error {
	select {
	case e.compiling <- struct{}{}:
		defer func() { <-e.compiling }()
	case <-ctx.Done():
		return ctx.Err()
	}
	start := time.Now()
	dir, err := e.code.newFolder()
	if err != nil {
		return &CompileError{Reason: err.Error()}
	}
	defer os.RemoveAll(dir)
	err = e.runCompiler(ctx, wasm, dir)
	e.metrics.compile.With().Observe(time.Since(start).Seconds())
	if err != nil {
		return err
	}
	if err := e.code.add(id, outline, dir); err != nil {
		return &CompileError{Reason: err.Error()}
	}
	e.log.Debug("module compiled", zap.Int("bytes", len(wasm)), zap.Duration("took", time.Since(start)))
	e.code.evict(func(other string) bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, m := range e.modules { // those that are looked for just now, too
			if m.code.id == other {
				return true
			}
		}
		return false
	})
	return nil
}
