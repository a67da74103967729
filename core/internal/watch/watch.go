// Package watch tells who waits for something that its client has gone.
package watch

import "sync"

// Watch calls a function at most once, and never after it was stopped. It is for all
// goroutines, and not to be copied.
type Watch struct {
	gone func()

	mu   sync.Mutex // held while gone runs
	over bool
}

// New returns a Watch that calls gone.
func New(gone func()) *Watch { return &Watch{gone: gone} }

// Tell calls gone, on this goroutine, unless it was called or the Watch is stopped.
func (w *Watch) Tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.over = true
		w.gone()
	}
}

// Stop makes sure that gone is not running, and will not run.
func (w *Watch) Stop() {
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
}
