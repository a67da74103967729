package exchange

import (
	"errors"
	"io"
	"os"
)

// ErrBodyTooLarge is what Body.Read returns when a limit on the body's size
// is passed.
var ErrBodyTooLarge = errors.New("body exceeds its limit")

// Body is a message's content as a stream, pulled by whoever sends it on. One
// goroutine reads at a time.
type Body interface {
	// Read works as io.Reader's. io.EOF means the whole content was read and
	// the message's Trailer is complete; any other error means that the
	// message is cut short and must not be made to look whole. A Read never
	// waits for p to be full.
	Read(p []byte) (int, error)
	// Buffered returns how many bytes Read gives without waiting for the
	// network; a sender flushes before it reads when this is 0.
	Buffered() int
	// Close gives up what is unread and frees the stream (an upstream
	// connection returns to its pool or is closed). Calling it again is
	// allowed and does nothing.
	Close()
}

// Bytes is a Body that is in memory. The zero value is an empty body.
type Bytes struct{ rest []byte }

// NewBytes returns a body that reads b, which is kept.
func NewBytes(b []byte) *Bytes { return &Bytes{rest: b} }

// Reset makes the body read b from the start; b is kept.
func (b *Bytes) Reset(p []byte) { b.rest = p }

// Read implements Body.
func (b *Bytes) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Buffered implements Body.
func (b *Bytes) Buffered() int { return len(b.rest) }

// Close implements Body.
func (b *Bytes) Close() { b.rest = nil }

var _ Body = (*Bytes)(nil)

// Slicer is a Body whose bytes lie in memory and never change: a sender can hand them
// on without a copy. Read and Next may be mixed.
type Slicer interface {
	Body
	// Next returns the next bytes, at least one, or io.EOF at the end. They are not to be
	// changed, and valid until Close or until Next has returned others.
	Next() ([]byte, error)
}

// Filer is a Body whose next bytes may lie in a file.
type Filer interface {
	Body
	// File returns where the next n bytes lie: from offset on, if they may be sent from
	// there. The file stays open until Close; its own offset is not to be used.
	File() (f *os.File, offset, n int64, ok bool)
	// Skip passes over n bytes of those that File returned.
	Skip(n int64)
}
