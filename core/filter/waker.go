package filter

import "sync/atomic"

// Signal is what a Waker brings to its exchange; several may be pending.
type Signal uint32

// The signals.
const (
	// ResumeRequest and ResumeResponse undo a Pause of that direction.
	ResumeRequest Signal = 1 << iota
	ResumeResponse
	// Answer says that the stream has a local response: it is fetched by
	// Answerer, asked on the exchange's goroutine.
	Answer
	// Abort ends the exchange without a response.
	Abort
	// Fail says that the stream's instance is gone; the next call returns the error.
	Fail
)

// Waker is the mailbox of one filter in one exchange. Post may be called by any
// goroutine.
type Waker struct {
	pending atomic.Uint32
	bell    chan struct{} // capacity 1, shared by the exchange's filters
}

// Post leaves a signal and wakes the exchange if it waits. It never blocks and is not to be
// called after the stream's Done returned.
func (w *Waker) Post(s Signal) {
	w.pending.Or(uint32(s))
	select {
	case w.bell <- struct{}{}:
	default:
	}
}

// Take returns the pending signals and clears them; called by the exchange's
// goroutine only.
func (w *Waker) Take() Signal { return Signal(w.pending.Swap(0)) }

// Parker is a Stream that other goroutines may reach while it is paused.
// Unpark is called by the exchange's goroutine when it stops waiting, whatever
// the reason, before it touches the exchange: afterwards nobody else does.
type Parker interface{ Unpark() }

// Answerer is a Stream that can answer while it is paused, from a goroutine
// that is not the exchange's. Answer fills exchange.Local and is called by the
// exchange's goroutine after the signal Answer.
type Answerer interface{ Answer() }
