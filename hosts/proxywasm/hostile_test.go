package proxywasm

import (
	"strconv"
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
