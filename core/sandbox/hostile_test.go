package sandbox

import (
	"errors"
	"runtime"
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

// TestClosedWhileMaking: an instance that is ready when its pool is closed ends in
// an orderly way: what Init has begun would go on for ever.
func TestClosedWhileMaking(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	closings := 0
	p, err := pool(t, engine(t, nil), idle, func(o *PoolOptions) {
		o.Lazy = true
		o.Init = func(*Instance) error {
			close(begun)
			<-goOn
			return nil
		}
		o.Closing = func(*Instance) { closings++ }
	})
	if err != nil {
		t.Fatal(err)
	}
	p.grow()
	<-begun
	closed := make(chan struct{})
	go func() {
		p.Close(t.Context())
		close(closed)
	}()
	for done := false; !done; runtime.Gosched() {
		p.mu.Lock()
		done = p.closed
		p.mu.Unlock()
	}
	close(goOn)
	<-closed
	if closings != 1 || p.memory.Load() != 0 {
		t.Errorf("closed in an orderly way %d times, %d bytes left; want once, and 0", closings, p.memory.Load())
	}
}
