package meter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// many builds a module of functions (i32) -> i32, all in a table in their order;
// the first is exported as f.
func many(bodies ...[]byte) []byte {
	n := uint32(len(bodies))
	out := []byte("\x00asm\x01\x00\x00\x00")
	out = appendSection(out, secType, []byte{1, 0x60, 1, 0x7f, 1, 0x7f})
	functions, elements := appendU32(nil, n), appendU32([]byte{1, 0, 0x41, 0, 0x0b}, n)
	code := appendU32(nil, n)
	for i, body := range bodies {
		functions = append(functions, 0)
		elements = appendU32(elements, uint32(i))
		body = append([]byte{1, 1, 0x7f}, append(body, 0x0b)...) // a local i32
		code = append(appendU32(code, uint32(len(body))), body...)
	}
	out = appendSection(out, secFunction, functions)
	out = appendSection(out, secTable, appendU32([]byte{1, 0x70, 0}, n))
	out = appendSection(out, secExport, append([]byte{1}, append(appendName(nil, "f"), 0, 0)...))
	out = appendSection(out, secElement, elements)
	return appendSection(out, secCode, code)
}

// direct and table call function n with what is on the stack.
func direct(n byte) []byte { return []byte{0x10, n} }
func table(n byte) []byte  { return []byte{0x41, n, 0x11, 0, 0} }

func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// TestNoWayAround: whatever way a function leads back to itself, it is stopped by
// the stack's bound, or by its steps, soon after they are spent.
func TestNoWayAround(t *testing.T) {
	x := []byte{0x20, 0}
	twice := func(call []byte) []byte { return join(x, call, x, call, []byte{0x6a}) } // f(x) + f(x)
	big := join(x, repeat(2000, 0x41, 3, 0x6e))
	var long [][]byte
	for i := range byte(90) {
		long = append(long, join(x, direct((i+1)%90)))
	}
	for name, module := range map[string][]byte{
		"itself":               many(join(x, direct(0))),
		"itself by table":      many(join(x, table(0))),
		"each other":           many(join(x, direct(1)), join(x, direct(0))),
		"three":                many(join(x, direct(1)), join(x, direct(2)), join(x, direct(0))),
		"a tail":               many(join(x, direct(1)), join(x, direct(2)), join(x, direct(1))),
		"two rings":            many(join(x, direct(1), direct(2)), join(x, direct(2), direct(0)), join(x, direct(1))),
		"by table and direct":  many(join(x, direct(1)), join(x, direct(2)), join(x, table(0))),
		"a big one":            many(join(big, direct(1)), join(x, direct(0))),
		"a failure that fails": many(join(x, direct(1), []byte{0x00}), join(x, direct(0))),
		"one far below":        many(join(x, direct(1), []byte{0x00}), join(x, direct(2)), join(x, direct(3)), join(x, table(0))),
		"a long way":           many(long...),
		"many calls first":     many(join(x, []byte(strings.Repeat("\x10\x02", 70)), direct(1)), join(x, direct(0)), x),
	} {
		for _, budget := range []int64{100_000, 1 << 40} {
			n, err := spend(t, module, 1, budget)
			if budget == 1<<40 && (!errors.Is(err, errOverflow) || n > 10_000_000) {
				t.Errorf("%s: got %v after %d steps; want the stack's bound", name, err, n)
			}
			if budget < 1<<40 && err == nil {
				t.Errorf("%s: it returned", name)
			}
		}
	}
	// 2^n calls, without a loop and within the stack's bound.
	wide := map[string][][]byte{"direct": nil, "by table": nil, "of big ones": nil}
	for i := range byte(60) {
		wide["direct"] = append(wide["direct"], twice(direct(i+1)))
		wide["by table"] = append(wide["by table"], twice(table(i+1)))
		wide["of big ones"] = append(wide["of big ones"], join(big, twice(direct(i+1)), []byte{0x6a}))
	}
	for name, bodies := range wide {
		n, err := spend(t, many(append(bodies, x)...), 1, 1_000_000)
		if err == nil || !strings.Contains(err.Error(), "out of steps") || n > 1_300_000 {
			t.Errorf("a tree of calls %s: got %v after %d steps; want out of steps after 1,000,000", name, err, n)
		}
	}
}

// graph is a module of functions that call each other at random, which ends: each
// call has an argument that is less by one.
func graph(r *rand.Rand) []byte {
	bodies := make([][]byte, 2+r.IntN(6))
	call := func() []byte {
		to := byte(r.IntN(len(bodies)))
		less := []byte{0x20, 0, 0x41, 1, 0x6b}
		if r.IntN(4) == 0 {
			return join(less, table(to))
		}
		return join(less, direct(to))
	}
	for i := range bodies {
		body := []byte{0x20, 0, 0x45, 0x04, 0x40, 0x41, 1, 0x0f, 0x0b} // if x == 0 return 1
		if r.IntN(3) == 0 {
			body = nil // it calls nothing
		}
		leaf := body == nil
		var statements func(depth int) []byte
		statements = func(depth int) (code []byte) {
			for range 1 + r.IntN(3) {
				switch k := r.IntN(8); {
				case k < 2 && !leaf && depth < 2:
					code = join(code, []byte{0x20, 1}, call(), []byte{0x6a, 0x21, 1}) // y += f(x - 1)
				case k == 2 && depth < 3: // if x & 1
					code = join(code, []byte{0x20, 0, 0x41, 1, 0x71, 0x04, 0x40}, statements(depth+1), []byte{0x05}, statements(depth+1), []byte{0x0b})
				case k == 3 && depth < 3: // block, and out of it if y & 2
					code = join(code, []byte{0x02, 0x40}, statements(depth+1), []byte{0x20, 1, 0x41, 2, 0x71, 0x0d, 0}, statements(depth+1), []byte{0x0b})
				case k == 4 && leaf && depth < 3: // do y = y * 2 + 1 while y < 100, unsigned
					code = join(code, []byte{0x03, 0x40, 0x20, 1, 0x41, 1, 0x74, 0x41, 1, 0x6a, 0x22, 1, 0x41, 0xe4, 0, 0x49, 0x0d, 0, 0x0b})
				default:
					code = join(code, []byte{0x20, 1}, repeat(1+r.IntN(12), 0x20, 0, 0x6a, 0x41, 5, 0x6c), []byte{0x21, 1})
				}
			}
			return code
		}
		bodies[i] = join(body, statements(0), []byte{0x20, 1})
	}
	return many(bodies...)
}

// TestGraphs: in modules at random, results are the same as without metering,
// every function pays for being entered, and what is short of steps is stopped.
func TestGraphs(t *testing.T) {
	const (
		budget    = 5_000_000
		unchecked = 15_000 // steps that may go by between two checks
	)
	seed, long := rand.Uint64(), 0
	r := rand.New(rand.NewPCG(seed, 0))
	for n := range 600 {
		module, arg := graph(r), uint64(5+n%25)
		rewritten, err := Instrument(module, Options{})
		if err != nil {
			t.Fatal(err)
		}
		steps, got, err := call(context.Background(), t, rewritten, arg, budget)
		if err != nil && strings.Contains(err.Error(), "out of steps") {
			continue // too long to run without metering
		}
		entered := int64(0)
		listen := experimental.FunctionListenerFactoryFunc(func(api.FunctionDefinition) experimental.FunctionListener {
			return experimental.FunctionListenerFunc(func(context.Context, api.Module, api.FunctionDefinition, []uint64, experimental.StackIterator) {
				entered++
			})
		})
		_, want, wantErr := call(experimental.WithFunctionListenerFactory(context.Background(), listen), t, module, arg, 0)
		if fmt.Sprint(got, err) != fmt.Sprint(want, wantErr) {
			t.Fatalf("seed %d, module %d: %v, %v as it is; %v, %v rewritten", seed, n, want, wantErr, got, err)
		}
		if least := entered * weightEntry; steps < least {
			t.Errorf("seed %d, module %d: %d steps for %d functions entered; want %d at least", seed, n, steps, entered, least)
		}
		if steps <= unchecked {
			continue
		}
		long++
		if _, _, err := call(context.Background(), t, rewritten, arg, steps-unchecked); err == nil {
			t.Errorf("seed %d, module %d: it takes %d steps, and was not stopped with %d", seed, n, steps, steps-unchecked)
		}
	}
	if long == 0 {
		t.Errorf("seed %d: none took more than %d steps", seed, unchecked)
	}
}
