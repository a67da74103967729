package sandbox

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"penstock.dev/penstock/core/sandbox/meter"
)

// FuncType is a function's parameters and results.
type FuncType struct{ Params, Results []api.ValueType }

// Import is a function that a guest asks for.
type Import struct {
	Module, Name string
	Type         FuncType
}

// Module is a compiled plugin, from which pools are made. It lives until Close
// was called and its last pool is closed.
type Module struct {
	engine  *Engine
	wasm    []byte
	digest  string
	exports map[string]FuncType
	imports []Import
	wasi    map[string]bool // WASI modules it imports from
	memory  bool            // it exports one
	least   uint64          // bytes of memory that it starts with

	runtime wazero.Runtime
	code    wazero.CompiledModule

	link   sync.Once
	linked error

	refs   atomic.Int32 // pools, and one until Close
	closed atomic.Bool
}

// WASI modules that the sandbox serves itself.
const (
	wasiNew = "wasi_snapshot_preview1"
	wasiOld = "wasi_unstable"
)

// inspect reads exports and imports.
func (m *Module) inspect(ctx context.Context) error {
	m.runtime = wazero.NewRuntimeWithConfig(context.WithoutCancel(ctx), runtimeConfig(m.engine.cache))
	m.refs.Store(1)
	c, err := m.runtime.CompileModule(ctx, m.wasm)
	m.wasm = nil // compiled: the bytes are not needed any more
	if err != nil {
		m.Close()
		return fmt.Errorf("%w: %w", meter.ErrModule, err)
	}
	m.code = c
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

// Imports returns the functions that the guest asks for, but those of WASI,
// which the sandbox serves.
func (m *Module) Imports() []Import { return m.imports }

// Digest returns the digest of the module as it came: "sha256:<hex>".
func (m *Module) Digest() string { return m.digest }

// Close says that no more pools will be made. A second call does nothing.
func (m *Module) Close() {
	if !m.closed.Swap(true) {
		m.release()
	}
}

// release drops a reference; the last one frees the code.
func (m *Module) release() {
	if m.refs.Add(-1) > 0 {
		return
	}
	ctx := context.Background()
	if m.code != nil {
		_ = m.code.Close(ctx) // cannot fail: it only drops a reference
	}
	_ = m.runtime.Close(ctx) // it holds no instance
}
