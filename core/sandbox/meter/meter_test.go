package meter

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// wasm builds a module with one memory of a page (at most 100), and one
// exported function f: (i32) -> () with this code.
func wasm(code ...byte) []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	out = appendSection(out, secType, []byte{1, 0x60, 1, 0x7f, 0})
	out = appendSection(out, secFunction, []byte{1, 0})
	out = appendSection(out, secMemory, []byte{1, 1, 1, 100})
	out = appendSection(out, secExport, append([]byte{1}, appendU32(append(appendName(nil, "f"), 0), 0)...))
	body := append([]byte{0}, append(code, 0x0b)...)
	out = appendSection(out, secCode, append([]byte{1}, append(appendU32(nil, uint32(len(body))), body...)...))
	names := appendName([]byte{1, 0}, "victim")
	return appendSection(out, secCustom, append(appendName(nil, "name"), appendSection(nil, 1, names)...))
}

// spend calls f, rewritten, and returns the steps it took.
func spend(t *testing.T, code []byte, arg uint64, budget int64) (int64, error) {
	t.Helper()
	rewritten, err := Instrument(code, Options{StackBytes: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	steps, _, err := call(context.Background(), t, rewritten, arg, budget)
	return steps, err
}

// call calls f of a module, rewritten or not, and returns the steps it took, if
// it counts them, and its results. There are no more steps than the budget.
func call(ctx context.Context, t *testing.T, wasm []byte, arg uint64, budget int64) (steps int64, results []uint64, err error) {
	t.Helper()
	errBudget := errors.New("out of steps")
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	_, err = r.NewHostModuleBuilder(ImportModule).
		NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(context.Context, api.Module, []uint64) { panic(errBudget) }), nil, nil).Export(ImportRefuel).
		NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(context.Context, api.Module, []uint64) { panic(errOverflow) }), nil, nil).Export(ImportOverflow).
		Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.Instantiate(ctx, wasm)
	if err != nil {
		t.Fatal(err)
	}
	counter, ok := m.ExportedGlobal(GlobalSteps).(api.MutableGlobal)
	if !ok {
		results, err = m.ExportedFunction("f").Call(ctx, arg)
		return 0, results, err
	}
	counter.Set(uint64(budget))
	results, err = m.ExportedFunction("f").Call(ctx, arg)
	return budget - int64(counter.Get()), results, err
}

var (
	endless   = wasm(0x03, 0x40, 0x0c, 0, 0x0b)                                                                           // loop br 0
	recursive = wasm(0x20, 0, 0x10, 0)                                                                                    // f(x)
	filling   = wasm(0x41, 0, 0x41, 0, 0x20, 0, 0xfc, 11, 0)                                                              // memory.fill 0 0 x
	growing   = wasm(0x20, 0, 0x40, 0, 0x1a)                                                                              // memory.grow x
	counting  = wasm(0x03, 0x40, 0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, 0x0b)                                          // do x-- while x
	dividing  = wasm(0x20, 0, 0x20, 0, 0x6e, 0x1a)                                                                        // x / x
	adding    = wasm(0x20, 0, 0x20, 0, 0x6a, 0x1a)                                                                        // x + x
	branching = wasm(join([]byte{0x20, 0, 0x04, 0x40, 0x0f, 0x0b, 0x20, 0}, repeat(100, 0x20, 0, 0x6a), []byte{0x1a})...) // if x return; x + x + x...
)

func TestSteps(t *testing.T) {
	steps := func(code []byte, arg uint64) int64 {
		t.Helper()
		n, err := spend(t, code, arg, 1<<40)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if a, b := steps(counting, 1000), steps(counting, 2000); b-a != 1000*2 {
		t.Errorf("1000 turns of a subtraction and a branch took %d steps; want 2000", b-a)
	}
	if a, b := steps(counting, 777), steps(counting, 777); a != b {
		t.Errorf("the same call took %d and %d steps", a, b)
	}
	if a, b := steps(filling, 0), steps(filling, 65536); b-a != 65536/16 {
		t.Errorf("filling 64 KiB took %d steps more than nothing; want 4096", b-a)
	}
	if a, b := steps(growing, 0), steps(growing, 10); b-a != 10*weightGrowPage {
		t.Errorf("growing by 10 pages took %d steps more than by none; want %d", b-a, 10*weightGrowPage)
	}
	if n := steps(growing, 1<<32-1); n > weightGrowPage<<17 {
		t.Errorf("a growth that must fail took %d steps", n)
	}
	if a, b := steps(adding, 5), steps(dividing, 5); b-a != weightDivision-weightPlain {
		t.Errorf("a division took %d steps more than an addition; want %d", b-a, weightDivision-weightPlain)
	}
	if a, b := steps(branching, 1), steps(branching, 0); a >= b {
		t.Errorf("an early return took %d steps, the whole function %d", a, b)
	}
}

func TestBounds(t *testing.T) {
	n, err := spend(t, endless, 0, 1_000_000)
	if err == nil || !strings.Contains(err.Error(), "out of steps") || n > 1_000_000+flushAt+100 {
		t.Errorf("endless loop: got %v after %d steps; want out of steps after 1000000", err, n)
	}
	if !strings.Contains(err.Error(), "victim") {
		t.Errorf("the stack trace lost the function's name: %v", err)
	}
	if n, err = spend(t, recursive, 0, 1<<40); !errors.Is(err, errOverflow) || n > 1_000_000 {
		t.Errorf("recursion: got %v after %d steps; want the stack bound", err, n)
	}
	if n, err = spend(t, filling, 65536, 2000); err == nil {
		t.Errorf("a bulk operation beyond the budget ran, %d steps", n)
	}
}

func TestRefused(t *testing.T) {
	section := func(id byte, body ...byte) []byte {
		return appendSection([]byte("\x00asm\x01\x00\x00\x00"), id, body)
	}
	tests := map[string]struct {
		wasm []byte
		err  error
		text string
	}{
		"text":                {[]byte("(module)"), ErrModule, "magic"},
		"empty":               {nil, ErrModule, "magic"},
		"a component":         {[]byte("\x00asm\x0d\x00\x01\x00"), ErrModule, "component"},
		"a cut section":       {section(secType, 1, 0x60)[:10], ErrModule, "offset"},
		"sections twice":      {append(section(secType, 0), 1, 1, 0), ErrModule, "twice"},
		"exceptions":          {section(secTag, 0), ErrFeature, "exception"},
		"threads":             {wasm(0xfe, 0x03, 0), ErrFeature, "threads"},
		"shared memory":       {section(secMemory, 1, 3, 1, 1), ErrFeature, "threads"},
		"64-bit memory":       {section(secMemory, 1, 4, 1), ErrFeature, "64-bit"},
		"two memories":        {section(secMemory, 2, 0, 1, 0, 1), ErrFeature, "more than one memory"},
		"tail calls":          {wasm(0x12, 0), ErrFeature, "tail calls"},
		"relaxed SIMD":        {wasm(0xfd, 0x80, 2), ErrFeature, "relaxed SIMD"},
		"garbage collection":  {wasm(0xfb, 0), ErrFeature, "garbage collection"},
		"a huge table":        {section(secTable, 1, 0x70, 0, 0xff, 0xff, 0xff, 0x7f), ErrFeature, "table"},
		"our import":          {section(secImport, append(append([]byte{1}, appendName(appendName(nil, ImportModule), "refuel")...), 0, 0)...), ErrModule, "reserved"},
		"our global":          {wasm(0x23, 0, 0x1a), ErrModule, "unknown global"},
		"our local":           {wasm(0x20, 1, 0x1a), ErrModule, "unknown local"},
		"lying data":          {section(secData, 0xff, 0xff, 0xff, 0x7f), ErrModule, "list"},
		"long data":           {section(secData, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f), ErrModule, "size"},
		"a jump out":          {wasm(0x0c, 1), ErrModule, "jump out"},
		"a jump by table":     {wasm(0x41, 0, 0x0e, 1, 0, 1), ErrModule, "jump out"},
		"a type of ours":      {wasm(0x02, 1, 0x0b), ErrModule, "unknown type"},
		"more than a list":    {section(secType, 0, 0), ErrModule, "after the last entry"},
		"a table upside down": {section(secTable, 1, 0x70, 1, 2, 1), ErrModule, "maximum"},
		"a long list":         {section(secType, 0xff, 0xff, 0xff, 0xff, 0x0f), ErrModule, "list"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Instrument(test.wasm, Options{})
			if !errors.Is(err, test.err) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v; want %v with %q", err, test.err, test.text)
			}
		})
	}
}

func BenchmarkInstrument(b *testing.B) {
	b.SetBytes(int64(len(counting)))
	for b.Loop() {
		if _, err := Instrument(counting, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestRecursionPays: what a function does before it calls itself is paid for
// before the call, not when it returns.
func TestRecursionPays(t *testing.T) {
	var code []byte
	for range 5_000 { // x = x / 3
		code = append(code, 0x20, 0, 0x41, 3, 0x6e, 0x21, 0)
	}
	n, err := spend(t, wasm(append(code, 0x20, 0, 0x10, 0)...), 5, 1_000_000)
	if err == nil || !strings.Contains(err.Error(), "out of steps") || n > 1_200_000 {
		t.Errorf("got %v after %d steps; want out of steps after 1,000,000 and a frame's", err, n)
	}
}
