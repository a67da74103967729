package meter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// specFolder returns the official spec tests that wazero's module carries.
func specFolder(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "internal", "integration_test", "spectest")
}

// command is one line of a spec test, as wast2json writes it.
type command struct {
	Type     string
	Line     int
	Filename string
	Name     string
	Action   action
	Expected []value
}

type action struct {
	Type, Field, Module string
	Args                []value
}

type value struct {
	Type, LaneType string
	Value          json.RawMessage
}

// bed is a runtime with the functions that a rewritten module imports.
type bed struct {
	r       wazero.Runtime
	refuels int
}

var errOverflow = errors.New("stack overflow")

func newBed(t testing.TB) *bed {
	t.Helper()
	ctx := context.Background()
	b := &bed{r: wazero.NewRuntime(ctx)}
	_, err := b.r.NewHostModuleBuilder(ImportModule).
		NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, m api.Module, _ []uint64) {
		b.refuels++
		m.ExportedGlobal(GlobalSteps).(api.MutableGlobal).Set(10_000)
	}), nil, nil).Export(ImportRefuel).
		NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(context.Context, api.Module, []uint64) {
		panic(errOverflow)
	}), nil, nil).Export(ImportOverflow).
		Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.r.Close(ctx) })
	return b
}

// TestSpec runs the official tests on rewritten modules: every module that the
// engine accepts must be accepted after rewriting, every result and trap be
// the same, and the stack counter be back where it was.
func TestSpec(t *testing.T) {
	total := 0
	for _, version := range []string{"v1", "v2"} {
		files, err := filepath.Glob(filepath.Join(specFolder(t), version, "testdata", "*.json"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no spec tests: %v", err)
		}
		for _, file := range files {
			if testing.Short() && total > 5000 {
				break
			}
			t.Run(version+"/"+strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) { total += runSpec(t, file) })
		}
	}
	t.Logf("%d assertions", total)
	if total < 20_000 {
		t.Errorf("only %d assertions ran; want at least 20000", total)
	}
}

func runSpec(t *testing.T, file string) (assertions int) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var script struct{ Commands []command }
	if err := json.Unmarshal(text, &script); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	var m api.Module
	for _, c := range script.Commands {
		switch c.Type {
		case "module":
			m = instantiate(t, ctx, filepath.Join(filepath.Dir(file), c.Filename), c.Line)
		case "assert_return", "assert_trap", "assert_exhaustion", "action":
			if m == nil || c.Action.Type != "invoke" || c.Action.Module != "" {
				continue
			}
			if invoke(t, ctx, m, &c) {
				assertions++
			}
		}
	}
	return assertions
}

// instantiate returns nil for a module that imports something, which these
// tests leave out.
func instantiate(t *testing.T, ctx context.Context, file string, line int) api.Module {
	t.Helper()
	wasm, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	plain := wazero.NewRuntime(ctx)
	defer plain.Close(ctx)
	compiled, err := plain.CompileModule(ctx, wasm)
	if err != nil || len(compiled.ImportedFunctions()) > 0 {
		return nil
	}
	rewritten, err := Instrument(wasm, Options{StackBytes: 1 << 20, TableEntries: 10_000_000})
	if err != nil {
		if strings.Contains(err.Error(), "imports a table or memory") {
			return nil
		}
		t.Errorf("line %d: %v", line, err)
		return nil
	}
	m, err := newBed(t).r.InstantiateWithConfig(ctx, rewritten, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		if m, plainErr := plain.InstantiateWithConfig(ctx, wasm, wazero.NewModuleConfig().WithName("").WithStartFunctions()); plainErr == nil {
			m.Close(ctx)
			t.Errorf("line %d: %v", line, err)
		}
		return nil
	}
	return m
}

func invoke(t *testing.T, ctx context.Context, m api.Module, c *command) bool {
	t.Helper()
	var args []uint64
	for _, a := range c.Action.Args {
		v, ok := numbers(a)
		if !ok {
			return false
		}
		args = append(args, v...)
	}
	f := m.ExportedFunction(c.Action.Field)
	if f == nil {
		t.Errorf("line %d: no function %q", c.Line, c.Action.Field)
		return false
	}
	stack := m.ExportedGlobal(GlobalStack)
	before := stack.Get()
	got, err := f.Call(ctx, args...)
	switch c.Type {
	case "assert_trap", "assert_exhaustion":
		if err == nil {
			t.Errorf("line %d: %s: got %v; want a trap", c.Line, c.Action.Field, got)
		}
		stack.(api.MutableGlobal).Set(before) // an instance that trapped is not used again; here it is
		return true
	}
	if err != nil {
		t.Errorf("line %d: %s: %v", c.Line, c.Action.Field, err)
		return true
	}
	if stack.Get() != before {
		t.Errorf("line %d: %s: the stack counter went from %d to %d", c.Line, c.Action.Field, int32(before), int32(stack.Get()))
	}
	at := 0
	for _, e := range c.Expected {
		want, ok := numbers(e)
		if !ok { // a NaN pattern or a reference
			return true
		}
		for _, w := range want {
			mask := ^uint64(0)
			if e.Type == "i32" || e.Type == "f32" {
				mask = 1<<32 - 1
			}
			if got[at]&mask != w&mask {
				t.Errorf("line %d: %s: got %x; want %x", c.Line, c.Action.Field, got[at], w)
			}
			at++
		}
	}
	return true
}

// numbers returns the engine's form of a value; not ok for NaN patterns and references.
func numbers(v value) ([]uint64, bool) {
	if v.Type == "v128" {
		return lanes(v)
	}
	var s string
	if json.Unmarshal(v.Value, &s) != nil {
		return nil, false
	}
	if s == "null" && v.Type == "externref" {
		return []uint64{0}, true
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if v.Type == "externref" { // the engine takes 0 for null
		n++
	}
	return []uint64{n}, err == nil && v.Type != "funcref"
}

func lanes(v value) ([]uint64, bool) {
	var list []string
	if json.Unmarshal(v.Value, &list) != nil {
		return nil, false
	}
	width := 128 / len(list)
	out := make([]uint64, 2)
	for i, s := range list {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return nil, false
		}
		out[i*width/64] |= n << (i * width % 64)
	}
	return out, true
}

// FuzzInstrument: no input makes it panic, and what the engine accepts and it
// rewrites is still accepted.
func FuzzInstrument(f *testing.F) {
	files, err := filepath.Glob(filepath.Join(specFolder(f), "v2", "testdata", "*.wasm"))
	if err != nil {
		f.Fatal(err)
	}
	for i, file := range files {
		if wasm, err := os.ReadFile(file); err == nil && i%10 == 0 && len(wasm) < 4096 {
			f.Add(wasm)
		}
	}
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, wasm []byte) {
		rewritten, err := Instrument(wasm, Options{})
		if err != nil {
			if !errors.Is(err, ErrModule) && !errors.Is(err, ErrFeature) {
				t.Fatalf("an error without a sentinel: %v", err)
			}
			return
		}
		if again, err := Instrument(wasm, Options{}); err != nil || string(again) != string(rewritten) {
			t.Fatal("not the same twice")
		}
		r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
		defer r.Close(ctx)
		// The engine makes room for as many names as a name section claims: it is
		// only ever given the rewritten module, whose names were counted.
		if bytes.Contains(wasm, []byte("\x04name")) {
			if _, err := r.CompileModule(ctx, rewritten); err != nil && strings.Contains(err.Error(), "section custom") {
				t.Fatalf("names that cannot be read: %v", err)
			}
			return
		}
		if _, err := r.CompileModule(ctx, wasm); err != nil {
			return
		}
		if _, err := r.CompileModule(ctx, rewritten); err != nil {
			t.Fatalf("valid before, not after: %v", err)
		}
	})
}

func ExampleInstrument() {
	_, err := Instrument([]byte("no module"), Options{})
	fmt.Println(errors.Is(err, ErrModule))
	// Output: true
}
