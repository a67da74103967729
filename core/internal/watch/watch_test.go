package watch

import (
	"testing"
	"time"
)

func TestWatch(t *testing.T) {
	n := 0
	w := New(func() { n++ })
	w.Tell()
	w.Tell()
	w.Stop()
	if n != 1 {
		t.Errorf("called %d times; want 1", n)
	}
	w = New(func() { n++ })
	w.Stop()
	w.Tell()
	if n != 1 {
		t.Error("called after it was stopped")
	}
}

// TestStopWaits: after Stop the function is not running.
func TestStopWaits(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	done := false
	w := New(func() {
		close(begun)
		<-end
		done = true
	})
	go w.Tell()
	<-begun
	time.AfterFunc(10*time.Millisecond, func() { close(end) })
	w.Stop()
	if !done {
		t.Error("Stop did not wait")
	}
}
