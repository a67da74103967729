package filter

import (
	"sync"
	"sync/atomic"

	"penstock.dev/penstock/core/exchange"
)

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
	// Deliver says that callbacks wait for the exchange's goroutine: Deliverer.
	Deliver
	// Gone is Fail where no call of the filter was to blame.
	Gone
)

// lasting are the signals that stay: whoever waits next sees them too.
const lasting = Abort | Fail | Gone

// bell wakes every goroutine of an exchange that waits: its own, and the one
// that sends the request's body.
type bell struct {
	mu   sync.Mutex
	rung chan struct{} // nil: nobody waits
	hook func()        // called after each ring; set before the first; may be nil
}

// wait returns a channel that is closed when the bell is next rung. To be
// called before looking for what may have been rung for.
func (b *bell) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.rung
}

func (b *bell) ring() {
	b.mu.Lock()
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
	b.mu.Unlock()
	if b.hook != nil {
		b.hook()
	}
}

// Waker is the mailbox of one filter in one exchange. Post may be called by any
// goroutine.
type Waker struct {
	pending atomic.Uint32
	refused atomic.Bool // the last Hold was: what the stream answers is not sent
	bell    *bell       // shared by the exchange's filters
	run     *Run
	slot    *slot
}

// Post leaves a signal and wakes the exchange if it waits. It never blocks and is not to be
// called after the stream's Done returned.
func (w *Waker) Post(s Signal) {
	w.pending.Or(uint32(s))
	if w.bell != nil { // nobody waits for a Waker of its own
		w.bell.ring()
	}
}

// Take returns the pending signals of those in mask. It clears them, but
// Abort, Fail and Gone. Called by the exchange's goroutines only.
func (w *Waker) Take(mask Signal) Signal {
	return Signal(w.pending.And(^uint32(mask&^lasting))) & mask
}

// Parker is a Stream that other goroutines may reach while it is paused.
// Unpark is called by the exchange's goroutine when it stops waiting in one
// direction, whatever the reason, before it touches the exchange: afterwards
// nobody else does.
type Parker interface{ Unpark(request bool) }

// Deliverer is a Stream with callbacks that are made for it on the exchange's
// goroutine while it is paused: the answer to a call out. Deliver makes those
// that are due; its error is that of any callback.
type Deliverer interface{ Deliver() error }

// Answerer is a Stream that can answer while it is paused, from a goroutine
// that is not the exchange's. Answer fills exchange.Local and is called by the
// exchange's goroutine after the signal Answer; false: it was given before.
type Answerer interface{ Answer() bool }

// Converter puts another body in a message's place, as it is encoded or decoded.
type Converter interface {
	// Convert changes the message of x's request, or of its response: its body, which is as
	// the filters before have let it through, its length, and the fields that speak of
	// them. It is called on the exchange's goroutine once the filter's header callback has
	// ended and the headers go on, and may wait for the body. An error of the body is that,
	// wrapped or not; others are *exchange.Error.
	Convert(x *exchange.Exchange, request bool) error
}

// Convert has c convert the message whose headers the stream holds or is shown; of several
// the last. The filter's own callbacks for that body and its trailers are not made. If the
// headers do not go on, c is not called. To be called as Hold.
func (w *Waker) Convert(request bool, c Converter) {
	switch {
	case w.run == nil: // a Waker of its own
	case request:
		w.slot.request.converter = c
	default:
		w.slot.response.converter = c
	}
}
