// Package filter runs a chain of filters over one exchange: their order, what
// each may hold back, what happens when one fails.
package filter

import "penstock.dev/penstock/core/exchange"

// Verdict is what a filter says after a callback.
type Verdict uint8

// The verdicts.
const (
	// Continue hands the headers, the part of the body or the trailers on.
	Continue Verdict = iota
	// Pause holds them back. After headers or trailers the exchange waits
	// until the Waker says more; a body part is kept and the next callback
	// sees all that is held.
	Pause
	// Respond turns round: exchange.Local holds the response to send.
	Respond
	// Reset ends the exchange without a response (proxy_close_stream).
	Reset
	// Hold, of a header callback, holds the headers back as Pause does, while the
	// body's parts come to this filter. The headers go on when a body callback
	// says Continue, or the Waker says more. Without a body it is Pause.
	Hold
)

// Callbacks says which callbacks a filter has, so that the others are never made.
type Callbacks uint16

// The callbacks.
const (
	OnRequestHeaders Callbacks = 1 << iota
	OnRequestBody
	OnRequestTrailers
	OnResponseHeaders
	OnResponseBody
	OnResponseTrailers
	// TakesBodies: the filter reads bodies itself, within its header callbacks.
	// When RequestHeaders is called, exchange.Request.Body is what comes out of
	// the filters before it. The stream may read it there, and put another Body
	// and ContentLength in its place, as may ResponseHeaders. Such a filter has
	// no body and no trailer callbacks. What a Read fails with is to be the
	// callback's error, wrapped or not.
	TakesBodies
	// OnConnection: the filter is a ConnFilter, and raw connections may pass it.
	OnConnection
)

// Filter is one configured use of a plugin in its compiled, running form. It
// is shared by every exchange of every chain it is joined into; all methods
// may be called by several goroutines at once.
type Filter interface {
	// Callbacks returns what the filter has; it never changes.
	Callbacks() Callbacks
	// Begin makes the filter's part in one exchange. It is called on the
	// exchange's goroutine, immediately before the first callback. w is how the
	// filter reaches a paused exchange from other goroutines. The error is an
	// *Error: no instance can be had.
	Begin(x *exchange.Exchange, w *Waker) (Stream, error)
}

// Stream is a filter's part in one exchange. All calls are made by one
// goroutine at a time. An error is an *Error: the call trapped, or a limit was
// exceeded; no further call but Done follows.
type Stream interface {
	RequestHeaders(end bool) (Verdict, error)
	// RequestBody sees b, all bytes held back so far and the new part, and may
	// change them. end is true once, for the last part when no trailers follow.
	RequestBody(b *Buffer, end bool) (Verdict, error)
	RequestTrailers() (Verdict, error)
	ResponseHeaders(end bool) (Verdict, error)
	ResponseBody(b *Buffer, end bool) (Verdict, error)
	ResponseTrailers() (Verdict, error)
	// Done ends it (on_done, on_log, on_delete). The exchange is complete and
	// readable, not writable; afterwards the stream holds no pointer to it.
	Done()
}

// ConnFilter is a Filter that has callbacks for raw connections.
type ConnFilter interface {
	// BeginConn makes the filter's part in a raw connection, as Begin.
	BeginConn(c *exchange.Conn, w *Waker) (ConnStream, error)
}

// ConnStream is a filter's part in a raw connection. Calls, verdicts and errors
// are as a Stream's; the request's direction is the one from the client
// (downstream) to the upstream. Respond and Hold are never returned.
type ConnStream interface {
	NewConnection() (Verdict, error)
	// Data sees b, all bytes held back so far in this direction and the new
	// part. end says that this side sends no more.
	Data(downstream bool, b *Buffer, end bool) (Verdict, error)
	// Closed says that one side's connection is closed; remote: by the peer.
	Closed(downstream, remote bool) error
	Done()
}

// Buffer is the part of a body that a filter sees: what it may read, change,
// replace or empty.
type Buffer struct {
	Data []byte
	// Through is what goes on at once, before Data, though the filter pauses.
	Through []byte
	// Ended makes Through the end of the body: Data and what is still to come
	// is dropped.
	Ended bool
}

// Error says why a filter's call failed.
type Error struct {
	// Cause is a short code for metric and log, one of a fixed set: "trap",
	// "cpu", "memory", "stack", "exit", "stuck", "unavailable", "abi".
	Cause string
	Err   error
	// Busy: no instance, processor or CPU share became free in time. The answer is
	// 503 with Retry-After.
	Busy bool
}

// Error returns cause and error.
func (e *Error) Error() string { return e.Cause + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
