package proxywasm

import (
	"strconv"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
)

// TestStateFromTwoDirections: a filter that is parked on the response is reached
// by its tick, while the request's body passes other filters.
func TestStateFromTwoDirections(t *testing.T) {
	x := &exchange.Exchange{}
	f := &Filter{}
	var group sync.WaitGroup
	for n := range 2 {
		group.Go(func() {
			s := &stream{x: x}
			for i := range 100_000 {
				s.keep(strconv.Itoa(n), []byte("value"))
				f.ofExchange(nil, s, []string{strconv.Itoa(i & 3)})
			}
		})
	}
	group.Wait()
}

// TestClosedFilterStartsNothing: an exchange that comes to a filter after its end
// makes no root context on the instances that others still use, nor new instances.
func TestClosedFilterStartsNothing(t *testing.T) {
	a, b := tenants(t, "configure: set_tick_period_milliseconds 10", "")
	shared := a.f.on.Load()
	roots := func() (n int) {
		shared.pool.Each(func(i *sandbox.Instance) { n += len(i.Data.(*vm).roots) })
		return n
	}
	a.f.Close(t.Context())
	before := roots()
	for _, alone := range []bool{false, true} {
		a.f.alone.Store(alone)
		e := a.exchange(config.Reject)
		if out := e.request(""); out == filter.Passed {
			t.Error("an exchange passed a closed filter")
		}
		e.Done()
	}
	if n := roots(); n != before || a.f.on.Load() != shared {
		t.Errorf("got %d root contexts, %d before; new instances: %v", n, before, a.f.on.Load() != shared)
	}
	pass(t, b).Done()
}

// TestCopiesArePaid: a change of a buffer copies all of it.
func TestCopiesArePaid(t *testing.T) {
	b := start(t, caller(), func(c *config.Filter) { c.Limits.BodyBytes = 8 << 20 })
	if b.err != nil {
		t.Fatal(b.err)
	}
	within(t, b, newExchange(), phaseRequestBody, func(h *hand) {
		h.s.ways[wayRequest].buffer.Data = make([]byte, 4<<20)
		h.v.current, h.v.effective = h.s, h.s
		left := int64(1 << 40)
		stack := make([]uint64, 12)
		if err := h.s.i.Call(h.s.i.Func("call_proxy_set_buffer_bytes"), &sandbox.Budget{Call: 1 << 40, Exchange: &left}, stack); err != nil {
			t.Fatal(err)
		}
		if spent := 1<<40 - left; uint32(stack[0]) != statusOK || spent < 4<<20/bytesOfAStep {
			t.Errorf("got %d for %d steps; want OK for %d at least", stack[0], spent, 4<<20/bytesOfAStep)
		}
	})
}

// TestSearchesArePaid: who looks for a name in a map pays for all its fields, and
// more the longer the name is.
func TestSearchesArePaid(t *testing.T) {
	const fields = 5000
	b := start(t, caller(), nil)
	if b.err != nil {
		t.Fatal(b.err)
	}
	x := newExchange()
	for range fields {
		x.Request.Header.Add([]byte("X-Many"), []byte("1"))
		x.Response.Header.Add([]byte("X-Many"), []byte("1"))
	}
	const name, long, size = 2000, 800, 4000 // where the name is, how long it is, where results go
	property := map[uint64]string{mapRequestHeaders: "request\x00headers\x00", mapResponseHeaders: "response\x00headers\x00"}
	for kind, at := range map[uint64]phase{mapRequestHeaders: phaseRequestHeaders, mapResponseHeaders: phaseResponseHeaders} {
		within(t, b, x, at, func(h *hand) {
			h.put(name, strings.Repeat("x", long))
			path, n := h.put(6000, property[kind]+strings.Repeat("x", long))
			for function, test := range map[string]struct {
				args []uint64
				want int64
			}{
				"proxy_get_header_map_size":      {[]uint64{kind, size}, fields},
				"proxy_get_header_map_pairs":     {[]uint64{kind, size, size + 4}, fields},
				"proxy_get_header_map_value":     {[]uint64{kind, name, long, size, size + 4}, fields * long / comparedOfAStep},
				"proxy_add_header_map_value":     {[]uint64{kind, name, long, name, 1}, fields},
				"proxy_replace_header_map_value": {[]uint64{kind, name, long, name, 1}, fields * long / comparedOfAStep},
				"proxy_remove_header_map_value":  {[]uint64{kind, name, long}, fields * long / comparedOfAStep},
				"proxy_get_property":             {[]uint64{path, n, size, size + 4}, fields * long / comparedOfAStep},
			} {
				if h.call(function, test.args...); h.spent < test.want {
					t.Errorf("%s of map %d took %d steps; want %d at least", function, kind, h.spent, test.want)
				}
			}
			a := attributes{v: h.v}
			if a.Attribute(strings.Split(property[kind]+"x-none", "\x00")); a.steps < fields {
				t.Errorf("an expression over map %d took %d steps; want %d at least", kind, a.steps, fields)
			}
		})
	}
}
