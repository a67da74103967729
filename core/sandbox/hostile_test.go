package sandbox

import (
	"errors"
	"testing"
)

// TestEnteredTwice: a function's handle has one native stack: were it called
// again while it runs, the frames of its first call would be overwritten.
func TestEnteredTwice(t *testing.T) {
	entered := 0
	p, err := pool(t, engine(t, nil), hosting, func(o *PoolOptions) {
		o.Import = func(Import) HostFunc {
			return func(i *Instance, _ []uint64) {
				if entered++; entered < 3 {
					_ = i.Call(i.Func("f"), nil, make([]uint64, 1))
				}
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var f *Failure
	if err := call(t, p, Budget{Call: 1_000_000}); !errors.As(err, &f) || f.Cause != CauseABI || entered != 1 {
		t.Errorf("got %v, the host function called %d times; want cause abi, and once", err, entered)
	}
}
