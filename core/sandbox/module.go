package sandbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"penstock.dev/penstock/core/sandbox/meter"
)

// FuncType is a function's parameters and results.
type FuncType struct{ Params, Results []api.ValueType }

// Import is a function that a guest asks for.
type Import struct {
	Module, Name string
	Type         FuncType
}

// Module is a compiled plugin, from which pools are made. All who load the same
// bytes share it; it lives until each of them has closed it, and its last pool
// is closed.
type Module struct {
	engine  *Engine
	digest  string
	exports map[string]FuncType
	imports []Import
	wasi    map[string]bool // WASI modules it imports from
	memory  bool            // it exports one
	least   uint64          // bytes of memory that it starts with

	runtime wazero.Runtime
	code    struct {
		wazero.CompiledModule
		id string // of its entry in the compile cache
	}

	link   sync.Once
	linked error

	loaded chan struct{} // closed once it is loaded, or err says why it cannot be
	err    error

	refs int // loads and pools; guarded by Engine.mu
}

// WASI modules that the sandbox serves itself.
const (
	wasiNew = "wasi_snapshot_preview1"
	wasiOld = "wasi_unstable"
)

// errNoCode means that the engine does not find a module's code in its cache.
var errNoCode = errors.New("the engine finds no code in the compile cache")

// fromCache has the engine take the code of an outline from its cache, and reads
// exports and imports. The engine must not compile the outline: it does not, with a
// context that is done.
func (m *Module) fromCache(outline []byte) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := m.inspect(experimental.WithCompilationWorkers(ctx, 2), outline) // one worker alone does not look at the context
	if errors.Is(err, context.Canceled) {
		return errNoCode
	}
	return err
}

// inspect compiles a module, and reads exports and imports.
func (m *Module) inspect(ctx context.Context, wasm []byte) error {
	if m.runtime == nil {
		m.runtime = wazero.NewRuntimeWithConfig(context.WithoutCancel(ctx), runtimeConfig(m.engine.cache))
	}
	c, err := m.runtime.CompileModule(ctx, wasm)
	if err != nil {
		return fmt.Errorf("%w: %w", meter.ErrModule, err)
	}
	m.code.CompiledModule = c
	for _, memory := range c.ExportedMemories() {
		m.memory, m.least = true, uint64(memory.Min())<<16
	}
	m.exports, m.wasi = map[string]FuncType{}, map[string]bool{}
	for name, f := range c.ExportedFunctions() {
		m.exports[name] = FuncType{f.ParamTypes(), f.ResultTypes()}
	}
	seen := map[[2]string]bool{}
	for _, f := range c.ImportedFunctions() {
		from, name, _ := f.Import()
		switch from {
		case meter.ImportModule:
			continue
		case wasiNew, wasiOld:
			m.wasi[from] = true
			continue
		}
		if !seen[[2]string{from, name}] {
			seen[[2]string{from, name}] = true
			m.imports = append(m.imports, Import{from, name, FuncType{f.ParamTypes(), f.ResultTypes()}})
		}
	}
	return nil
}

// Export returns the type of an exported function; ok is false if there is none.
func (m *Module) Export(name string) (t FuncType, ok bool) {
	t, ok = m.exports[name]
	return t, ok
}

// Exports returns the names of the exported functions, in their order.
func (m *Module) Exports() []string { return slices.Sorted(maps.Keys(m.exports)) }

// Imports returns the functions that the guest asks for, but those of WASI,
// which the sandbox serves.
func (m *Module) Imports() []Import { return m.imports }

// Digest returns the digest of the module as it came: "sha256:<hex>".
func (m *Module) Digest() string { return m.digest }

// Usage returns the counters of a filter that runs the module. Close them.
func (m *Module) Usage(owner, filter string) *Usage { return m.engine.usageOf(owner, filter) }

// Close undoes one Load: whoever loaded it makes no more pools.
func (m *Module) Close() { m.release() }

// release drops a reference; the last one frees the code.
func (m *Module) release() {
	e := m.engine
	e.mu.Lock()
	m.refs--
	last := m.refs == 0
	if last && e.modules[m.digest] == m {
		delete(e.modules, m.digest)
	}
	e.mu.Unlock()
	if !last {
		return
	}
	ctx := context.Background()
	if m.code.CompiledModule != nil {
		_ = m.code.Close(ctx) // cannot fail: it only drops a reference
	}
	if m.runtime != nil {
		_ = m.runtime.Close(ctx) // it holds no instance
	}
}
