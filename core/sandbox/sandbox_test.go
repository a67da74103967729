package sandbox

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/sandbox/meter"
	"penstock.dev/penstock/core/telemetry"
)

func TestMain(m *testing.M) {
	if os.Getenv("PENSTOCK_TEST_COMPILE") != "" { // the compiler process of a test
		if path := os.Getenv("PENSTOCK_TEST_RAN"); path != "" {
			_ = os.WriteFile(path, nil, 0o600)
		}
		dir, memory := os.Args[len(os.Args)-5], int64(1<<30)
		if err := Compile(dir, memory, 20*time.Second, os.Stdin); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func engine(t testing.TB, change func(*Options)) *Engine {
	t.Helper()
	o := Options{Dir: filepath.Join(t.TempDir(), "compiled")}
	if change != nil {
		change(&o)
	}
	e, err := New(o, zap.NewNop(), telemetry.New())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// compiler has an engine compile in a child: this binary, see TestMain.
func compiler(o *Options) {
	o.Compiler, o.CompilerEnv = []string{os.Args[0]}, []string{"PENSTOCK_TEST_COMPILE=1"}
}

// u encodes an unsigned LEB128.
func u(n int) []byte {
	var b []byte
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func section(id byte, body ...byte) []byte {
	return append(append([]byte{id}, u(len(body))...), body...)
}

func name(s string) []byte { return append(u(len(s)), s...) }

// wasm builds a module that imports env.host: () -> () and proc_exit, has one
// page of memory without maximum, and exports f: () -> () with this code.
func wasm(code ...byte) []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	out = append(out, section(1, 2, 0x60, 0, 0, 0x60, 1, 0x7f, 0)...)
	imports := append(append([]byte{2}, append(name("env"), name("host")...)...), 0, 0)
	imports = append(imports, append(append(name(wasiNew), name("proc_exit")...), 0, 1)...)
	out = append(out, section(2, imports...)...)
	out = append(out, section(3, 1, 0)...)
	out = append(out, section(5, 1, 0, 1)...)
	exports := append(append([]byte{2}, name("f")...), 0, 2)
	exports = append(append(exports, name("memory")...), 2, 0)
	out = append(out, section(7, exports...)...)
	body := append([]byte{0}, append(code, 0x0b)...)
	return append(out, section(10, append([]byte{1}, append(u(len(body)), body...)...)...)...)
}

var (
	endless   = wasm(0x03, 0x40, 0x0c, 0, 0x0b)
	recursive = wasm(0x10, 2)
	trapping  = wasm(0x00)
	exiting   = wasm(0x41, 7, 0x10, 1)
	hosting   = wasm(0x10, 0)
	idle      = wasm()
	// greedy grows memory by a page until that fails, then traps.
	greedy = wasm(0x03, 0x40, 0x41, 1, 0x40, 0, 0x41, 0x7f, 0x47, 0x0d, 0, 0x0b, 0x00)
)

func pool(t testing.TB, e *Engine, code []byte, change func(*PoolOptions)) (*Pool, error) {
	t.Helper()
	m, err := e.Load(t.Context(), code)
	if err != nil {
		return nil, err
	}
	o := PoolOptions{
		Owner: "Service/ns/svc", Filter: "service/x", MemoryBytes: 4 << 20, StartSteps: Steps(time.Second),
		Import: func(Import) HostFunc { return func(*Instance, []uint64) {} },
	}
	if change != nil {
		change(&o)
	}
	p, err := m.NewPool(t.Context(), o)
	m.Close()
	if err == nil {
		t.Cleanup(func() { p.Close(context.Background()) })
	}
	return p, err
}

func call(t testing.TB, p *Pool, b Budget) error {
	t.Helper()
	i, err := p.Acquire()
	if err != nil {
		return err
	}
	defer i.Unlock()
	return i.Call(i.Func("f"), &b, nil)
}

// TestFaults: each ends its call with its cause, returns the memory, and the
// pool goes on with a new instance.
func TestFaults(t *testing.T) {
	tests := map[string]struct {
		code  []byte
		cause string
		err   error
	}{
		"an endless loop":           {endless, CauseCPU, ErrCPU},
		"an endless recursion":      {recursive, CauseStack, ErrStack},
		"unreachable":               {trapping, CauseTrap, nil},
		"proc_exit":                 {exiting, CauseExit, ErrExit},
		"memory beyond the limit":   {greedy, CauseTrap, nil},
		"a host function that ends": {hosting, CauseABI, errNoMemory},
	}
	for text, test := range tests {
		t.Run(text, func(t *testing.T) {
			died := 0
			p, err := pool(t, engine(t, nil), test.code, func(o *PoolOptions) {
				o.Died = func(*Instance) { died++ }
				o.Import = func(Import) HostFunc {
					return func(i *Instance, _ []uint64) { i.Abort(&Failure{CauseABI, errNoMemory}) }
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			before := p.memory.Load()
			for n := range 2 {
				err := call(t, p, Budget{Call: Steps(5 * time.Millisecond)})
				var f *Failure
				if !errors.As(err, &f) || f.Cause != test.cause || test.err != nil && !errors.Is(err, test.err) {
					t.Fatalf("call %d: got %v; want %s", n, err, test.cause)
				}
			}
			if died != 2 {
				t.Errorf("Died was called %d times; want 2", died)
			}
			if got := p.memory.Load(); got != 0 || before != 1<<16 {
				t.Errorf("%d bytes of memory before, %d after; want 65536 and 0", before, got)
			}
		})
	}
}

func TestBackOff(t *testing.T) {
	p, err := pool(t, engine(t, nil), trapping, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range freeDeaths + 1 {
		if err := call(t, p, Budget{Call: 1000}); errors.Is(err, ErrBackOff) {
			t.Fatal("back-off too early")
		}
	}
	if err := call(t, p, Budget{Call: 1000}); !errors.Is(err, ErrBackOff) {
		t.Errorf("got %v; want ErrBackOff", err)
	}
}

func TestBudgetIsExactAndShared(t *testing.T) {
	p, err := pool(t, engine(t, nil), hosting, nil)
	if err != nil {
		t.Fatal(err)
	}
	spent := func() int64 {
		exchange := int64(1 << 40)
		if err := call(t, p, Budget{Call: 1 << 40, Exchange: &exchange}); err != nil {
			t.Fatal(err)
		}
		return 1<<40 - exchange
	}
	if a, b := spent(), spent(); a != b || a <= 0 || a > 100 {
		t.Errorf("the same call spent %d and %d steps", a, b)
	}
	left := int64(3)
	if err := call(t, p, Budget{Call: 1 << 40, Exchange: &left}); !errors.Is(err, ErrCPU) || left > 0 {
		t.Errorf("got %v, %d steps left; want ErrCPU and none", err, left)
	}
}

func TestSlowGuestsLeaveRoomForOthers(t *testing.T) {
	e := engine(t, nil)
	spinning, err := pool(t, e, endless, nil)
	if err != nil {
		t.Fatal(err)
	}
	quick, err := pool(t, e, idle, nil)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() { _ = call(t, spinning, Budget{Call: Steps(50 * time.Millisecond)}) })
	}
	if err := call(t, quick, Budget{Call: 1000}); err != nil {
		t.Error(err)
	}
	group.Wait()
	if n := len(e.slow); n != 0 {
		t.Errorf("%d slow-guest tokens were not given back", n)
	}
}

// TestWaitingForOtherSlowGuestsEnds: it is no failure of the guest that waits.
func TestWaitingForOtherSlowGuestsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engine(t, nil)
		p, err := pool(t, e, endless, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range cap(e.slow) {
			e.slow <- struct{}{}
		}
		for limit, want := range map[time.Duration]time.Duration{20 * time.Millisecond: crowdedAfter, time.Second: stuckFactor * time.Second} {
			start := time.Now()
			var f *Failure
			if err := call(t, p, Budget{Call: Steps(limit)}); !errors.As(err, &f) || f.Cause != CauseUnavailable || !errors.Is(err, ErrCrowded) {
				t.Errorf("got %v; want ErrCrowded", err)
			}
			if took := time.Since(start); took != want {
				t.Errorf("limit %v: it waited for %v; want %v", limit, took, want)
			}
		}
		if c := p.Usage().Counts(); c.Failures != nil || p.deaths != 0 {
			t.Errorf("got %v and %d deaths; want none", c.Failures, p.deaths)
		}
		for range cap(e.slow) {
			<-e.slow
		}
		if err := call(t, p, Budget{Call: Steps(time.Millisecond)}); !errors.Is(err, ErrCPU) || len(e.slow) != 0 {
			t.Errorf("afterwards: got %v, %d tokens taken; want ErrCPU and none", err, len(e.slow))
		}
	})
}

func TestPoolGrowsAndShrinks(t *testing.T) {
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("needs two processors")
	}
	closing := 0
	p, err := pool(t, engine(t, nil), idle, func(o *PoolOptions) { o.Closing = func(*Instance) { closing++ } })
	if err != nil {
		t.Fatal(err)
	}
	first, err := p.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	p.grow()
	p.group.Wait()
	second, err := p.Acquire()
	if err != nil || second == first {
		t.Fatalf("got %v; want another instance", err)
	}
	first.Unlock()
	second.Unlock()
	for _, i := range *p.list.Load() {
		i.used.Store(-3600)
	}
	p.shrink()
	if n := len(*p.list.Load()); n != 1 || closing != 1 {
		t.Errorf("%d instances, %d closed; want 1 and 1", n, closing)
	}
}

func TestCloseWaitsForStreams(t *testing.T) {
	p, err := pool(t, engine(t, nil), idle, nil)
	if err != nil {
		t.Fatal(err)
	}
	i, err := p.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	i.Hold()
	i.Unlock()
	done := make(chan struct{})
	go func() { p.Close(context.Background()); close(done) }()
	select {
	case <-done:
		t.Fatal("closed under a stream")
	case <-time.After(50 * time.Millisecond):
	}
	i.Drop()
	<-done
	if p.memory.Load() != 0 || i.Lock() == nil {
		t.Error("memory or instance is left")
	}
	if _, err := p.Acquire(); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v; want ErrClosed", err)
	}
}

func TestStartFailures(t *testing.T) {
	starting := append([]byte{}, endless...)
	// The start section comes after the exports: build it in.
	at := strings.Index(string(starting), "\x0a")
	for ; at >= 0 && at < len(starting); at++ { // the code section's id, after the exports
		if starting[at] == 10 && strings.Contains(string(starting[:at]), "memory") {
			break
		}
	}
	starting = append(append(append([]byte{}, starting[:at]...), section(8, 2)...), starting[at:]...)
	_, err := pool(t, engine(t, nil), starting, func(o *PoolOptions) { o.StartSteps = Steps(20 * time.Millisecond) })
	if !errors.Is(err, ErrCPU) {
		t.Errorf("an endless start function: got %v; want ErrCPU", err)
	}
	refuse := errors.New("no")
	p, err := pool(t, engine(t, nil), idle, func(o *PoolOptions) { o.Init = func(*Instance) error { return refuse } })
	if !errors.Is(err, refuse) || p != nil {
		t.Errorf("got %v; want Init's error", err)
	}
}

func TestUnknownImportAnswers(t *testing.T) {
	p, err := pool(t, engine(t, nil), hosting, func(o *PoolOptions) { o.Import = func(Import) HostFunc { return nil } })
	if err != nil {
		t.Fatal(err)
	}
	if err := call(t, p, Budget{Call: 1000}); err != nil {
		t.Error(err)
	}
}

func TestCompilerProcess(t *testing.T) {
	e := engine(t, compiler)
	p, err := pool(t, e, idle, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := call(t, p, Budget{Call: 1000}); err != nil {
		t.Error(err)
	}
	if e.code.get(p.module.code.id) == nil {
		t.Error("the compile cache does not hold the module")
	}
	// What this process loads must be the child's code: no file is added.
	files := func() int {
		all, err := filepath.Glob(filepath.Join(e.o.Dir, "wazero-*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := files()
	again, err := New(Options{Dir: e.o.Dir, Compiler: []string{"/bin/false"}}, zap.NewNop(), telemetry.New())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	m, err := again.Load(t.Context(), idle)
	if err != nil {
		t.Fatalf("a warm start compiled: %v", err)
	}
	m.Close()
	if files() != before {
		t.Error("this process compiled the module itself")
	}
}

// bomb is a module whose one function takes the compiler long: deeply nested
// blocks with many values alive.
func bomb(blocks int) []byte {
	var code []byte
	for range blocks {
		code = append(code, 0x02, 0x40, 0x41, 1, 0x0d, 0)
		for range 20 {
			code = append(code, 0x41, 1, 0x41, 2, 0x6a, 0x1a)
		}
		code = append(code, 0x0b)
	}
	return wasm(code...)
}

func TestCompileBomb(t *testing.T) {
	e := engine(t, func(o *Options) {
		compiler(o)
		o.CompileTimeout = 300 * time.Millisecond
	})
	start := time.Now()
	_, err := e.Load(t.Context(), bomb(30_000))
	var failed *CompileError
	if !errors.As(err, &failed) || !strings.Contains(err.Error(), "not done after 300ms") {
		t.Errorf("got %v; want the time limit", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
	if left, _ := filepath.Glob(filepath.Join(e.o.Dir, "done", "*")); len(left) != 0 {
		t.Errorf("a killed compile left %v", left)
	}
}

func TestRefusedModules(t *testing.T) {
	e := engine(t, nil)
	for text, code := range map[string][]byte{
		"no module":       []byte("#!/bin/sh"),
		"an invalid body": wasm(0x6a),
	} {
		if _, err := e.Load(t.Context(), code); !errors.Is(err, meter.ErrModule) {
			t.Errorf("%s: got %v; want ErrModule", text, err)
		}
	}
	if _, err := e.Load(t.Context(), wasm(0xfe, 3, 0)); !errors.Is(err, meter.ErrFeature) {
		t.Errorf("got %v; want ErrFeature", err)
	}
}

// TestCacheDirectoryMustBePrivate: one that others could write to is closed to them,
// and what it held counts no more.
func TestCacheDirectoryMustBePrivate(t *testing.T) {
	for name, open := range map[string]func(dir string) error{
		"the folder": func(dir string) error { return os.Chmod(dir, 0o770) },
		"the key":    func(dir string) error { return os.Chmod(dir+".key", 0o660) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := New(Options{Dir: dir}, zap.NewNop(), telemetry.New()); err != nil {
				t.Fatal(err)
			}
			old, err := os.ReadFile(dir + ".key")
			if err != nil {
				t.Fatal(err)
			}
			if err := open(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := New(Options{Dir: dir}, zap.NewNop(), telemetry.New()); err != nil {
				t.Fatal(err)
			}
			made, err := os.ReadFile(dir + ".key")
			if err != nil || bytes.Equal(made, old) {
				t.Errorf("the key is as it was, or %v", err)
			}
			for _, path := range []string{dir, dir + ".key"} {
				if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o022 != 0 {
					t.Errorf("%s: mode %v, %v", path, info.Mode().Perm(), err)
				}
			}
		})
	}
}

func TestCallAllocatesNothing(t *testing.T) {
	p, err := pool(t, engine(t, nil), hosting, nil)
	if err != nil {
		t.Fatal(err)
	}
	i, err := p.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer i.Unlock()
	f, stack, b := i.Func("f"), make([]uint64, 1), &Budget{Call: 1000}
	if n := testing.AllocsPerRun(100, func() {
		if err := i.Call(f, b, stack); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per call; want 0", n)
	}
}

func BenchmarkCall(b *testing.B) {
	p, err := pool(b, engine(b, nil), hosting, nil)
	if err != nil {
		b.Fatal(err)
	}
	i, err := p.Acquire()
	if err != nil {
		b.Fatal(err)
	}
	defer i.Unlock()
	f, stack, budget := i.Func("f"), make([]uint64, 1), &Budget{Call: 1 << 30}
	for b.Loop() {
		if err := i.Call(f, budget, stack); err != nil {
			b.Fatal(err)
		}
	}
}
