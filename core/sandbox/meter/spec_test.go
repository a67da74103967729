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
	Type, Name, As, Filename string
	Line                     int
	ModuleType               string `json:"module_type"`
	Action                   struct {
		Type, Field, Module string
		Args                []value
	}
}

type value struct {
	Type     string
	LaneType string `json:"lane_type"`
	Value    json.RawMessage
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
	b := &bed{r: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2))}
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

// TestSpec runs the official tests twice, on modules as they are and rewritten:
// each module must be accepted, refused or fail alike, and each call have the
// same results, bit for bit, or the same trap; afterwards memories and globals
// must be the same, and the stack counter be where it was. The modules as they
// are pass the engine's own run of these tests. What is left out has a reason.
func TestSpec(t *testing.T) {
	done, left := 0, map[string]int{}
	for _, version := range []string{"v1", "v2"} {
		files, err := filepath.Glob(filepath.Join(specFolder(t), version, "testdata", "*.json"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no spec tests: %v", err)
		}
		for _, file := range files {
			if testing.Short() && done > 5000 {
				break
			}
			t.Run(version+"/"+strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
				p := newPair(t, filepath.Dir(file))
				p.run(t, file)
				done += p.done
				for reason, n := range p.left {
					left[reason] += n
				}
			})
		}
	}
	t.Logf("%d commands", done)
	for reason, n := range left {
		t.Logf("left out: %d: %s", n, reason)
	}
	if done < 60_000 && !testing.Short() {
		t.Errorf("only %d commands ran; want at least 60,000", done)
	}
}

// Why a command is left out.
const (
	leftText    = "a module in text form: the engine reads none"
	leftImports = "the module imports a memory or a table, which is refused: a plugin owns its memory"
	leftNothing = "the module that it is about was left out"
)

// pair runs each module in two forms.
type pair struct {
	dir            string
	plain, metered wazero.Runtime
	current        twins
	named          map[string]twins
	everybody      []twins
	done           int
	left           map[string]int
	partial        bool // a module was left out that writes into others
}

// twins are one module's two instances; both nil: it was left out.
type twins struct{ plain, metered api.Module }

func newPair(t *testing.T, dir string) *pair {
	t.Helper()
	ctx := context.Background()
	p := &pair{dir: dir, metered: newBed(t).r, named: map[string]twins{}, left: map[string]int{}}
	p.plain = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2))
	t.Cleanup(func() { p.plain.Close(ctx) })
	wasm, err := os.ReadFile(filepath.Join(specFolder(t), "testdata", "spectest.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []wazero.Runtime{p.plain, p.metered} {
		if _, err := r.Instantiate(ctx, wasm); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p *pair) run(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var script struct{ Commands []command }
	if err := json.Unmarshal(text, &script); err != nil {
		t.Fatal(err)
	}
	for i := range script.Commands {
		c := &script.Commands[i]
		as := ""
		if i+1 < len(script.Commands) && script.Commands[i+1].Type == "register" {
			as = script.Commands[i+1].As
		}
		reason := p.one(t, c, as)
		if reason != "" {
			p.left[reason]++
		} else {
			p.done++
		}
	}
	for _, m := range p.everybody {
		same(t, m)
	}
}

// one runs a command; reason says why it was left out.
func (p *pair) one(t *testing.T, c *command, as string) (reason string) {
	switch c.Type {
	case "register": // done with the module
		return ""
	case "module":
		p.current, reason = p.module(t, c, as)
		if c.Name != "" {
			p.named[c.Name] = p.current
		}
		if p.current.plain != nil {
			p.everybody = append(p.everybody, p.current)
		}
		return reason
	case "assert_invalid", "assert_malformed", "assert_unlinkable", "assert_uninstantiable":
		if c.ModuleType == "text" {
			return leftText
		}
		_, reason = p.module(t, c, "")
		return reason
	case "action", "assert_return", "assert_trap", "assert_exhaustion":
		m := p.current
		if c.Action.Module != "" {
			m = p.named[c.Action.Module]
		}
		if m.plain == nil {
			return leftNothing
		}
		if c.Action.Type == "get" {
			a, b := m.plain.ExportedGlobal(c.Action.Field), m.metered.ExportedGlobal(c.Action.Field)
			if a.Get() != b.Get() {
				t.Errorf("line %d: global %s: got %x; want %x", c.Line, c.Action.Field, b.Get(), a.Get())
			}
			return ""
		}
		p.call(t, c, m)
		return ""
	}
	t.Fatalf("line %d: command %s is not known", c.Line, c.Type)
	return ""
}

// module instantiates both forms.
func (p *pair) module(t *testing.T, c *command, as string) (m twins, reason string) {
	t.Helper()
	ctx := context.Background()
	wasm, err := os.ReadFile(filepath.Join(p.dir, c.Filename))
	if err != nil {
		t.Fatal(err)
	}
	config := wazero.NewModuleConfig().WithName(as).WithStartFunctions()
	rewritten, refused := Instrument(wasm, Options{StackBytes: 1 << 20, TableEntries: 10_000_000})
	if refused != nil && strings.Contains(refused.Error(), "imports a table or memory") {
		p.partial = true
		return twins{}, leftImports
	}
	plain, plainErr := p.plain.InstantiateWithConfig(ctx, wasm, config)
	if refused != nil {
		if plainErr == nil {
			t.Errorf("line %d: %s: %v", c.Line, c.Filename, refused)
			plain.Close(ctx)
		}
		return twins{}, ""
	}
	metered, meteredErr := p.metered.InstantiateWithConfig(ctx, rewritten, config)
	if (plainErr == nil) != (meteredErr == nil) {
		t.Errorf("line %d: %s: got %v; want %v", c.Line, c.Filename, meteredErr, plainErr)
	}
	if plainErr != nil || meteredErr != nil {
		return twins{}, ""
	}
	return twins{plain, metered}, ""
}

// call calls both forms.
func (p *pair) call(t *testing.T, c *command, m twins) {
	t.Helper()
	ctx := context.Background()
	var args []uint64
	for _, a := range c.Action.Args {
		args = append(args, a.bits(t)...)
	}
	stack := m.metered.ExportedGlobal(GlobalStack).(api.MutableGlobal)
	before := stack.Get()
	want, wantErr := m.plain.ExportedFunction(c.Action.Field).Call(ctx, args...)
	got, err := m.metered.ExportedFunction(c.Action.Field).Call(ctx, args...)
	name := fmt.Sprintf("line %d: %s", c.Line, c.Action.Field)
	if trap := strings.HasPrefix(c.Type, "assert_trap") || c.Type == "assert_exhaustion"; trap != (wantErr != nil) && !p.partial {
		t.Errorf("%s: the module as it is: got %v, which %s does not expect", name, wantErr, c.Type)
	}
	if wantErr != nil || err != nil {
		if a, b := cause(wantErr), cause(err); a != b && (c.Type != "assert_exhaustion" || !errors.Is(err, errOverflow)) {
			t.Errorf("%s: got %q; want %q", name, b, a)
		}
		stack.Set(before) // an instance that trapped is not used again; here it is
		return
	}
	types := m.plain.ExportedFunction(c.Action.Field).Definition().ResultTypes()
	at := 0
	for _, kind := range types {
		n, mask := 1, ^uint64(0)
		switch kind {
		case 0x7b: // v128
			n = 2
		case api.ValueTypeI32, api.ValueTypeF32:
			mask = 1<<32 - 1
		case 0x70: // a function of another instance
			at++
			continue
		}
		for range n {
			if got[at]&mask != want[at]&mask {
				t.Errorf("%s: got %x; want %x", name, got, want)
				return
			}
			at++
		}
	}
	if stack.Get() != before {
		t.Errorf("%s: the stack counter went from %d to %d", name, int32(before), int32(stack.Get()))
	}
}

// cause is an error without its stack trace.
func cause(err error) string {
	if err == nil {
		return ""
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	text, _, _ = strings.Cut(text, " (recovered by wazero)")
	return text
}

// same compares what two instances have become.
func same(t *testing.T, m twins) {
	t.Helper()
	for name := range m.plain.ExportedMemoryDefinitions() {
		a, b := m.plain.ExportedMemory(name), m.metered.ExportedMemory(name)
		x, _ := a.Read(0, a.Size())
		y, _ := b.Read(0, b.Size())
		if !bytes.Equal(x, y) {
			t.Errorf("memory %s differs", name)
		}
	}
}

// bits returns the engine's form of an argument.
func (v value) bits(t *testing.T) []uint64 {
	t.Helper()
	if v.Type == "v128" {
		return v.lanes(t)
	}
	var s string
	if err := json.Unmarshal(v.Value, &s); err != nil {
		t.Fatal(err)
	}
	if s == "null" {
		return []uint64{0}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if v.Type == "externref" { // the engine takes 0 for null
		n++
	}
	return []uint64{n}
}

func (v value) lanes(t *testing.T) []uint64 {
	t.Helper()
	var list []string
	if err := json.Unmarshal(v.Value, &list); err != nil {
		t.Fatal(err)
	}
	width := 128 / len(list)
	out := make([]uint64, 2)
	for i, s := range list {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		out[i*width/64] |= n << (i * width % 64)
	}
	return out
}

// FuzzInstrument: no input makes it panic, and the engine accepts what it
// rewrites if, and only if, it accepts what was given.
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
		_, before := r.CompileModule(ctx, wasm)
		_, after := r.CompileModule(ctx, rewritten)
		if before != nil && strings.Contains(before.Error(), "custom section") {
			return // it has no meaning, and is dropped
		}
		if (before == nil) != (after == nil) {
			t.Fatalf("before rewriting: %v; after: %v", before, after)
		}
	})
}

func ExampleInstrument() {
	_, err := Instrument([]byte("no module"), Options{})
	fmt.Println(errors.Is(err, ErrModule))
	// Output: true
}
