package proxywasm

import (
	"strconv"
	"sync"
	"testing"

	"penstock.dev/penstock/core/exchange"
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
