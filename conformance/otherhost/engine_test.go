package otherhost

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"reflect"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"mosn.io/proxy-wasm-go-host/proxywasm/common"
)

var errMemory = errors.New("outside of memory")

// instance is a common.WasmInstance on wazero.
type instance struct {
	ctx     context.Context
	runtime wazero.Runtime
	module  api.Module
	funcs   map[string]any // that the host has registered, of module env

	mu   sync.Mutex
	data any
}

var _ common.WasmInstance = (*instance)(nil)

// load compiles a module, and gives it what register has the host register; what of env it
// imports besides answers UNIMPLEMENTED. started is called before it is initialised.
func load(t *testing.T, file string, register func(common.WasmInstance), data any) *instance {
	t.Helper()
	wasm, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	i := &instance{ctx: ctx, runtime: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter()), funcs: map[string]any{}, data: data}
	t.Cleanup(func() { _ = i.runtime.Close(context.Background()) })
	register(i)
	compiled, err := i.runtime.CompileModule(ctx, wasm)
	if err != nil {
		t.Fatal(err)
	}
	wasi_snapshot_preview1.MustInstantiate(ctx, i.runtime)
	env := i.runtime.NewHostModuleBuilder("env")
	for _, f := range compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		if module != "env" {
			continue
		}
		do := func(_ context.Context, _ api.Module, stack []uint64) { stack[0] = 12 }                       // UNIMPLEMENTED
		if known := i.funcs[name]; known != nil && reflect.TypeOf(known).NumIn() == len(f.ParamTypes())+1 { // else it is another version's
			do = i.host(known, f.ParamTypes())
		}
		env.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(do), f.ParamTypes(), f.ResultTypes()).Export(name)
	}
	if _, err := env.Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	i.module, err = i.runtime.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize").WithSysWalltime().WithSysNanotime())
	if err != nil {
		t.Fatalf("%s does not start: %v", file, err)
	}
	return i
}

// host wraps a function of the host, whose first parameter is the instance.
func (i *instance) host(f any, params []api.ValueType) func(context.Context, api.Module, []uint64) {
	v := reflect.ValueOf(f)
	return func(_ context.Context, m api.Module, stack []uint64) {
		i.module = m // it may be called while the module is instantiated
		args := []reflect.Value{reflect.ValueOf(common.WasmInstance(i))}
		for j := range params {
			args = append(args, reflect.ValueOf(stack[j]).Convert(v.Type().In(j+1)))
		}
		stack[0] = uint64(uint32(v.Call(args)[0].Int()))
	}
}

func (i *instance) Start() error { return nil }
func (i *instance) Stop()        {}

func (i *instance) RegisterFunc(namespace, name string, f any) error {
	if namespace == "env" {
		i.funcs[name] = f
	}
	return nil
}

// function is an export; numbers are of 32 bits, as all are that Proxy-Wasm calls.
type function struct {
	i *instance
	f api.Function
}

func (f function) Call(args ...any) (any, error) {
	stack := make([]uint64, len(args))
	for j, a := range args {
		stack[j] = uint64(uint32(a.(int32)))
	}
	results, err := f.f.Call(f.i.ctx, stack...)
	if err != nil || len(results) == 0 {
		return nil, err
	}
	return int32(uint32(results[0])), nil
}

func (i *instance) GetExportsFunc(name string) (common.WasmFunction, error) {
	f := i.module.ExportedFunction(name)
	if f == nil {
		return nil, fmt.Errorf("%s is not exported", name)
	}
	return function{i, f}, nil
}

func (i *instance) GetExportsMem(string) ([]byte, error) {
	b, _ := i.module.Memory().Read(0, i.module.Memory().Size())
	return b, nil
}

func (i *instance) GetMemory(at, size uint64) ([]byte, error) {
	b, ok := i.module.Memory().Read(uint32(at), uint32(size))
	if !ok {
		return nil, errMemory
	}
	return append([]byte{}, b...), nil
}

func (i *instance) PutMemory(at, size uint64, content []byte) error {
	if !i.module.Memory().Write(uint32(at), content[:min(size, uint64(len(content)))]) {
		return errMemory
	}
	return nil
}

func (i *instance) GetByte(at uint64) (byte, error) {
	b, err := i.GetMemory(at, 1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

func (i *instance) PutByte(at uint64, b byte) error { return i.PutMemory(at, 1, []byte{b}) }

func (i *instance) GetUint32(at uint64) (uint32, error) {
	b, err := i.GetMemory(at, 4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (i *instance) PutUint32(at uint64, n uint32) error {
	return i.PutMemory(at, 4, binary.LittleEndian.AppendUint32(nil, n))
}

func (i *instance) Malloc(size int32) (uint64, error) {
	f, err := i.GetExportsFunc("proxy_on_memory_allocate")
	if err != nil {
		if f, err = i.GetExportsFunc("malloc"); err != nil {
			return 0, err
		}
	}
	at, err := f.Call(size)
	if err != nil {
		return 0, err
	}
	return uint64(uint32(at.(int32))), nil
}

func (i *instance) GetData() any                 { return i.data }
func (i *instance) SetData(data any)             { i.data = data }
func (i *instance) Acquire() bool                { return true }
func (i *instance) Release()                     {}
func (i *instance) Lock(data any)                { i.mu.Lock(); i.data = data }
func (i *instance) Unlock()                      { i.data = nil; i.mu.Unlock() }
func (i *instance) GetModule() common.WasmModule { return nil }
func (i *instance) HandleError(error)            {}
