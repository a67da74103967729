package workers

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestEachRunsOnce: on goroutines of their own, which can wait for each other.
func TestEachRunsOnce(t *testing.T) {
	var p Pool
	for range 20 {
		var ran atomic.Int64
		var all, met sync.WaitGroup
		met.Add(2 * mostResting)
		for range 2 * mostResting {
			all.Add(1)
			p.Go(func() {
				defer all.Done()
				met.Done()
				met.Wait()
				ran.Add(1)
			})
		}
		all.Wait()
		if n := ran.Load(); n != 2*mostResting {
			t.Fatalf("%d ran; want %d", n, 2*mostResting)
		}
	}
}

// TestRest: who has rested too long ends, as the test could not if it did not; who is
// needed does not.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pool
		at := func(what string, want int) {
			t.Helper()
			synctest.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			if n := len(p.resting); n != want {
				t.Errorf("%s: %d rest; want %d", what, n, want)
			}
		}
		together := func(n int) {
			release := make(chan struct{})
			for range n {
				p.Go(func() { <-release })
			}
			synctest.Wait()
			close(release)
			synctest.Wait()
		}
		together(mostResting + 9)
		at("after a crowd", mostResting)
		together(3)
		at("some were used again", mostResting)
		time.Sleep(restTime + time.Second) // a time of rest counts from a sweep to the next
		for range 4 {
			together(3)
			time.Sleep(restTime)
		}
		at("three are needed", 3)
		time.Sleep(3 * restTime)
		at("none is", 0)
		together(1)
		at("and again", 1)
		time.Sleep(3 * restTime)
		at("at last", 0)
	})
}

func BenchmarkDeepStack(b *testing.B) {
	var deep func(n int) int
	deep = func(n int) int {
		var room [256]byte
		if n == 0 {
			return int(room[0])
		}
		return deep(n-1) + int(room[n])
	}
	for name, start := range map[string]func(func()){"pool": new(Pool).Go, "go": func(f func()) { go f() }} {
		b.Run(name, func(b *testing.B) {
			done := make(chan int)
			f := func() { done <- deep(30) }
			for b.Loop() {
				start(f)
				<-done
			}
		})
	}
}
