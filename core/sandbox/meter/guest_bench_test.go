package meter

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// stub instantiates a Proxy-Wasm guest with host functions that answer OK, and
// nothing where a place for an answer is given.
func stub(b *testing.B, wasm []byte, metered bool) api.Module {
	b.Helper()
	ctx := context.Background()
	r := newBed(b).r
	compiled, err := r.CompileModule(ctx, wasm)
	if err != nil {
		b.Fatal(err)
	}
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	for _, module := range []string{"env", "wasi_unstable"} {
		host := r.NewHostModuleBuilder(module)
		for _, f := range compiled.ImportedFunctions() {
			from, name, _ := f.Import()
			if from != module {
				continue
			}
			answers := name == "proxy_get_header_map_value" || name == "proxy_get_property" || name == "proxy_get_buffer_bytes"
			host.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, m api.Module, stack []uint64) {
				if n := len(f.ParamTypes()); answers {
					m.Memory().WriteUint32Le(uint32(stack[n-2]), 0)
					m.Memory().WriteUint32Le(uint32(stack[n-1]), 0)
				}
				if len(stack) > 0 {
					stack[0] = 0
				}
			}), f.ParamTypes(), f.ResultTypes()).Export(name)
		}
		if _, err := host.Instantiate(ctx); err != nil {
			b.Fatal(err)
		}
	}
	m, err := r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithStartFunctions("_initialize").WithName(""))
	if err != nil {
		b.Fatal(err)
	}
	if metered {
		m.ExportedGlobal(GlobalSteps).(api.MutableGlobal).Set(10_000)
	}
	return m
}

// BenchmarkMetering runs the header plugins of bench/ (bench/run.sh builds them)
// through one exchange, as they are and rewritten: their ratio is what metering
// costs. compute is a guest that only counts.
func BenchmarkMetering(b *testing.B) {
	for _, name := range []string{"c", "go", "assemblyscript", "compute"} {
		wasm, err := os.ReadFile(filepath.Join("..", "..", "..", "bench", "out", name+".wasm"))
		if err != nil {
			b.Logf("%v: bench/run.sh builds it", err)
			continue
		}
		rewritten, err := Instrument(wasm, Options{})
		if err != nil {
			b.Fatal(err)
		}
		for _, form := range []struct {
			name string
			wasm []byte
		}{{"plain", wasm}, {"metered", rewritten}} {
			b.Run(name+"/"+form.name, func(b *testing.B) { exchanges(b, stub(b, form.wasm, form.name == "metered")) })
		}
	}
}

func exchanges(b *testing.B, m api.Module) {
	ctx := context.Background()
	call := map[string]api.Function{}
	run := func(name string, args ...uint64) {
		f, ok := call[name]
		if !ok {
			f = m.ExportedFunction(name)
			call[name] = f
		}
		if f == nil {
			return
		}
		if _, err := f.Call(ctx, args...); err != nil {
			b.Fatalf("%s: %v", name, err)
		}
	}
	run("proxy_on_context_create", 1, 0)
	run("proxy_on_vm_start", 1, 0)
	run("proxy_on_configure", 1, 0)
	id := uint64(1)
	for b.Loop() {
		id++
		run("proxy_on_context_create", id, 1)
		run("proxy_on_request_headers", id, 5, 1)
		run("proxy_on_response_headers", id, 5, 0)
		run("proxy_on_done", id)
		run("proxy_on_log", id)
		run("proxy_on_delete", id)
	}
}
