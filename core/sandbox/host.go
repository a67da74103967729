package sandbox

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"go.uber.org/zap"

	"penstock.dev/penstock/core/sandbox/meter"
)

// HostFunc serves an import. Arguments come in stack, results go there from
// its start. An i32 argument's upper half is undefined: truncate it.
type HostFunc func(i *Instance, stack []uint64)

// statusUnimplemented is what a function nobody knows returns (Proxy-Wasm).
const statusUnimplemented = 12

// linkImports makes the host modules of a runtime: what metering needs, WASI,
// and the guest's own imports with exactly the types it asks for. Who serves
// them is each pool's to say.
func (m *Module) linkImports(ctx context.Context) error {
	steps := m.runtime.NewHostModuleBuilder(meter.ImportModule)
	steps.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, guest api.Module, _ []uint64) {
		ctx.(*Instance).refuel(guest)
	}), nil, nil).Export(meter.ImportRefuel)
	steps.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, _ []uint64) {
		ctx.(*Instance).Abort(&Failure{CauseStack, ErrStack})
	}), nil, nil).Export(meter.ImportOverflow)
	if _, err := steps.Instantiate(ctx); err != nil {
		return err
	}
	for name := range m.wasi {
		b := m.runtime.NewHostModuleBuilder(name)
		wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(b)
		if _, err := b.Instantiate(experimental.WithFunctionListenerFactory(ctx, wasiPrices)); err != nil {
			return err
		}
	}
	modules := map[string]wazero.HostModuleBuilder{}
	for n, imp := range m.imports {
		b := modules[imp.Module]
		if b == nil {
			b = m.runtime.NewHostModuleBuilder(imp.Module)
			modules[imp.Module] = b
		}
		b.NewFunctionBuilder().WithGoModuleFunction(importCall(n), imp.Type.Params, imp.Type.Results).Export(imp.Name)
	}
	for name, b := range modules {
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("import module %s: %w", name, err)
		}
	}
	return nil
}

// importCall calls the import of that number. It is a type of its own, and no
// api.GoModuleFunc, because each function more that a call passes is a nanosecond
// or two.
type importCall int

// Call implements api.GoModuleFunction.
func (n importCall) Call(ctx context.Context, guest api.Module, stack []uint64) {
	i := ctx.(*Instance)
	if i.memory == nil { // the module's start section runs
		i.memory = guest.Memory()
	}
	i.pool.imports[n](i, stack)
}

// serve chooses who serves the module's imports.
func (p *Pool) serve() {
	for _, imp := range p.module.imports {
		f := p.o.Import(imp)
		if f == nil {
			p.engine.log.Warn("plugin imports a function that is not known here: it answers UNIMPLEMENTED",
				zap.String("object", p.o.Owner), zap.String("plugin", p.o.Filter), zap.String("import", imp.Module+"."+imp.Name))
			f = unknown(imp.Type)
		}
		if o := p.engine.o.Observer; o != nil { // here, so that the call itself has no more to ask
			inner, name := f, imp.Name
			f = func(i *Instance, stack []uint64) {
				o.HostCalled(name)
				inner(i, stack)
			}
		}
		p.imports = append(p.imports, f)
	}
}

func unknown(t FuncType) HostFunc {
	return func(guest *Instance, stack []uint64) {
		guest.Spend(stepsOfWASI)
		for i, result := range t.Results {
			stack[i] = 0
			if result == api.ValueTypeI32 {
				stack[i] = statusUnimplemented
			}
		}
	}
}

// moduleConfig is a guest's view of the world: its environment, the wall
// clock, random numbers, and two streams that become log lines. No files, no
// network, no arguments; sleeping returns at once.
func (i *Instance) moduleConfig() wazero.ModuleConfig {
	c := wazero.NewModuleConfig().
		WithName("").
		WithStartFunctions().
		WithWalltime(i.walltime, 1000).
		WithNanotime(i.nanotime, 1).
		WithRandSource(&random{i}).
		WithStdout(&lines{i: i}).
		WithStderr(&lines{i: i, stderr: true})
	for _, e := range i.pool.o.Env {
		c = c.WithEnv(e.Name, e.Value)
	}
	return c
}

func (i *Instance) walltime() (seconds int64, nanoseconds int32) {
	now := i.pool.engine.o.Clock.Now()
	return now.Unix(), int32(now.Nanosecond()) //nolint:gosec // below 1e9
}

// nanotime is never zero: Go's runtime takes that for a clock that is broken.
func (i *Instance) nanotime() int64 {
	e := i.pool.engine
	return int64(e.o.Clock.Now().Sub(e.began) + time.Second)
}

// What WASI costs a guest, in steps.
const (
	stepsOfWASI       = 50
	stepsOfEntry      = 20 // of a list of buffers, or of subscriptions
	stepsOfRandomByte = 4
	stepsOfByte       = 2 // that is written
	// bytesOfFrame is what a frame weighs at least on the metered stack: the engine
	// walks the stack for each call that is listened to.
	bytesOfFrame = 32
)

// wasiPrices has each WASI function charge the guest before it runs.
var wasiPrices = experimental.FunctionListenerFactoryFunc(func(f api.FunctionDefinition) experimental.FunctionListener {
	list := -1 // the parameter that counts entries
	switch name := f.ExportNames(); {
	case len(name) == 0:
	case name[0] == "fd_write", name[0] == "fd_read", name[0] == "fd_pwrite", name[0] == "fd_pread", name[0] == "sock_recv", name[0] == "sock_send", name[0] == "poll_oneoff":
		list = 2
	}
	return experimental.FunctionListenerFunc(func(ctx context.Context, guest api.Module, _ api.FunctionDefinition, params []uint64, _ experimental.StackIterator) {
		steps := int64(stepsOfWASI)
		if list >= 0 && list < len(params) {
			steps += stepsOfEntry * int64(uint32(params[list]))
		}
		if stack := guest.ExportedGlobal(meter.GlobalStack); stack != nil {
			steps += (meter.StackBytes - int64(int32(stack.Get()))) / bytesOfFrame
		}
		ctx.(*Instance).Spend(steps)
	})
})

// random is a guest's source of random numbers.
type random struct{ i *Instance }

// Read implements io.Reader.
func (r *random) Read(p []byte) (int, error) {
	r.i.Spend(stepsOfRandomByte * int64(len(p)))
	return rand.Read(p)
}

// maxLine bounds a line that a guest writes, in bytes; a longer one is cut.
const maxLine = 16 << 10

// lines hands what a guest writes to the pool's owner, line by line.
type lines struct {
	i      *Instance
	stderr bool
	line   []byte
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.i.Spend(stepsOfByte * int64(len(p)))
	for _, c := range p {
		if c != '\n' {
			if len(l.line) < maxLine {
				l.line = append(l.line, c)
			}
			continue
		}
		if write := l.i.pool.o.Line; write != nil {
			write(l.i, l.stderr, l.line)
		}
		l.line = l.line[:0]
	}
	return len(p), nil
}
