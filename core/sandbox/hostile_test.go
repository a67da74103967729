package sandbox

import (
	"bytes"
	"errors"
	"runtime"
	"syscall"
	"testing"
	"time"
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

// wasiGuest imports a function of WASI of four i32, and calls it with these
// arguments in an endless loop from its export f.
func wasiGuest(function string, params int, args ...byte) []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	kind := append([]byte{0x60}, u(params)...)
	for range params {
		kind = append(kind, 0x7f)
	}
	out = append(out, section(1, append(append([]byte{2}, append(kind, 1, 0x7f)...), 0x60, 0, 0)...)...)
	out = append(out, section(2, append(append([]byte{1}, append(name(wasiNew), name(function)...)...), 0, 0)...)...)
	out = append(out, section(3, 1, 1)...)
	out = append(out, section(5, 1, 0, 16)...)
	out = append(out, section(7, append(append(append([]byte{2}, name("f")...), 0, 1), append(name("memory"), 2, 0)...)...)...)
	code := append([]byte{0, 0x03, 0x40}, args...)
	code = append(code, 0x10, 0, 0x1a, 0x0c, 0, 0x0b, 0x0b)
	return append(out, section(10, append([]byte{1}, append(u(len(code)), code...)...)...)...)
}

// threadTime is what this thread has computed, which others on the machine do not
// lengthen.
func threadTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestWASIIsPaid: what WASI does for a guest costs it steps: by the byte and by
// the entry, as it takes.
func TestWASIIsPaid(t *testing.T) {
	size := []byte{0x41, 0x80, 0x80, 0x38} // i32.const 917504
	few := []byte{0x41, 0x80, 0x80, 0x04}  // i32.const 65536
	zero := []byte{0x41, 0}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	tests := map[string][]byte{
		"random bytes":     wasiGuest("random_get", 2, join(zero, size)...),
		"empty vectors":    wasiGuest("fd_write", 4, join([]byte{0x41, 1}, few, few, zero)...),
		"no subscriptions": wasiGuest("poll_oneoff", 4, join(few, few, []byte{0x41, 0x80, 0x20}, zero)...),
		"the time":         wasiGuest("sched_yield", 0),
	}
	for text, code := range tests {
		t.Run(text, func(t *testing.T) {
			p, err := pool(t, engine(t, nil), code, nil)
			if err != nil {
				t.Fatal(err)
			}
			var f *Failure
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			start := threadTime(t)
			// On a loaded machine the clock may end it before its steps do.
			if err := call(t, p, Budget{Call: Steps(5 * time.Millisecond)}); !errors.As(err, &f) || f.Cause != CauseCPU && f.Cause != CauseStuck {
				t.Errorf("got %v; want cause cpu", err)
			}
			if took := threadTime(t) - start; took > 500*time.Millisecond {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestDearHostCallsMeetTheClock: a guest that is charged by host functions only
// takes a slow guest's token, and ends when it has taken far too long.
func TestDearHostCallsMeetTheClock(t *testing.T) {
	var late bool
	e := engine(t, nil)
	p, err := pool(t, e, hosting, func(o *PoolOptions) {
		o.Import = func(Import) HostFunc {
			return func(i *Instance, _ []uint64) {
				if late {
					i.started = time.Now().Add(-time.Hour)
				}
				for n := range 4 {
					if len(e.slow) != 0 {
						t.Errorf("a token was taken after %d of 4 charges", n)
					}
					i.Spend(slowSteps / 4)
				}
				if len(e.slow) != 1 {
					t.Errorf("%d tokens are taken; want 1", len(e.slow))
				}
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := call(t, p, Budget{Call: 10 * slowSteps}); err != nil {
		t.Error(err)
	}
	late = true
	var f *Failure
	if err := call(t, p, Budget{Call: 10 * slowSteps}); !errors.As(err, &f) || f.Cause != CauseStuck {
		t.Errorf("an hour late: got %v; want cause stuck", err)
	}
	if n := len(e.slow); n != 0 {
		t.Errorf("%d tokens were not given back", n)
	}
}
