package sandbox

import (
	"context"
	"fmt"

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

// Module is a compiled plugin; immutable.
type Module struct {
	engine  *Engine
	wasm    []byte
	digest  string
	exports map[string]FuncType
	imports []Import
	wasi    map[string]bool // WASI modules it imports from
	memory  bool            // it exports one

	// The code stays loaded until a pool has loaded it too, or Close.
	runtime wazero.Runtime
	code    wazero.CompiledModule
}

// WASI modules that the sandbox serves itself.
const (
	wasiNew = "wasi_snapshot_preview1"
	wasiOld = "wasi_unstable"
)

// inspect reads exports and imports.
func (m *Module) inspect(ctx context.Context) error {
	m.runtime = wazero.NewRuntimeWithConfig(ctx, runtimeConfig(m.engine.cache))
	c, err := m.runtime.CompileModule(ctx, m.wasm)
	if err != nil {
		m.Close()
		return fmt.Errorf("%w: %w", meter.ErrModule, err)
	}
	m.code = c
	m.memory = len(c.ExportedMemories()) > 0
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

// Close frees a module of which no pool was made; NewPool does it itself.
// A second call does nothing.
func (m *Module) Close() {
	ctx := context.Background()
	if m.code != nil {
		_ = m.code.Close(ctx) // cannot fail: it only drops a reference
		m.code = nil
	}
	if m.runtime != nil {
		_ = m.runtime.Close(ctx) // it holds no instance
		m.runtime = nil
	}
}
