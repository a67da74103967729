package h3

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/pace"
)

// Why no more of a request's body comes.
var (
	errCut    = errors.New("stream was reset or connection closed")
	errClosed = errors.New("request body is closed")
)

// requestBody is the exchange.Body of a request: it reads the request's stream.
// Unlike others, its Close may be called while another goroutine reads: that Read
// then ends.
//
// One that was handed out is not used again for another request: whoever reads
// it too late finds it closed.
type requestBody struct {
	s      *stream
	handed bool // the exchange has it
	closed atomic.Bool
	bytes  atomic.Int64 // handed out

	mu    sync.Mutex // held while it is read; guards what follows
	left  uint64     // of the DATA frame
	rest  int64      // of the content, to come; -1: unknown
	err   error      // what reading ended with
	bad   bool       // that is a mistake of the client's, or it has reset the stream
	arena exchange.Arena
	meter pace.Meter
}

// Read implements exchange.Body. The first one sends the 100 (Continue) that
// the client waits for. Its errors are *exchange.Error.
func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return 0, bodyError(errClosed)
	}
	if b.err != nil {
		return 0, b.err
	}
	s := b.s
	s.proceed()
	_ = s.qs.SetReadDeadline(time.Now().Add(s.x.BodyIdle(s.c.p.IdleTimeout))) // never fails
	if b.closed.Load() {                                                      // Close set its deadline before
		return 0, bodyError(errClosed)
	}
	n, err := b.measured(p)
	b.bytes.Add(int64(n))
	if err != nil {
		b.err = b.ended(err)
		return n, b.err
	}
	return n, nil
}

// read reads content; io.EOF is its end, other errors are the stream's.
func (b *requestBody) read(p []byte) (int, error) {
	for b.left == 0 {
		if err := b.next(); err != nil {
			return 0, err
		}
	}
	in := &b.s.in
	n, err := in.payload(p, b.left)
	b.left -= uint64(n)
	if b.rest > 0 {
		b.rest -= int64(n)
	}
	if err == nil && b.left == 0 && in.eof && in.buffered() == 0 {
		err = b.complete() // told with the last bytes
	}
	return n, err
}

// next reads up to the next DATA frame with content, or to the end.
func (b *requestBody) next() error {
	kind, size, err := b.s.frame()
	switch {
	case err == io.EOF:
		return b.complete()
	case err != nil:
		return err
	case kind == frameHeaders:
		return b.trailer(size)
	case kind != frameData:
		return connError{codeFrameUnexpected, "frame-unexpected"}
	case size == 0:
		return b.s.c.control(1)
	case b.rest >= 0 && size > uint64(b.rest):
		return streamError{codeMessage, "body-length"} // RFC 9114, 4.1.2
	}
	b.left = size
	return nil
}

// trailer reads the trailer section, after which the stream must end.
func (b *requestBody) trailer(size uint64) error {
	s := b.s
	err := s.decode(size, &s.x.Request.Trailer, &b.arena, true)
	if refused := (*fields.Refused)(nil); errors.As(err, &refused) {
		return streamError{codeMessage, "trailer"}
	}
	if err != nil {
		return err
	}
	_, _, err = s.frame()
	switch err {
	case nil:
		return connError{codeFrameUnexpected, "frame-unexpected"} // RFC 9114, 4.1
	case io.EOF:
		return b.complete()
	}
	return err
}

// nothing reads what follows the head of a request that says that it has no content
// (RFC 9114, 4.1.2). A client that takes longer than endWait to end it is served.
func (b *requestBody) nothing() error {
	b.handed, b.rest = true, 0                          // it is not used again
	_ = b.s.qs.SetReadDeadline(time.Now().Add(endWait)) // never fails
	for {
		switch err := b.next(); err {
		case nil: // an empty frame
		case io.EOF:
			b.err = err
			b.s.x.Request.Trailer.Reset() // without a body there is none
			return nil
		case errTimeout:
			return nil
		default:
			return misread(err)
		}
	}
}

// complete is the end of the stream.
func (b *requestBody) complete() error {
	if b.rest > 0 {
		return streamError{codeMessage, "body-length"} // RFC 9114, 4.1.2
	}
	return io.EOF
}

// ended does what an error asks for, and returns the reader's.
func (b *requestBody) ended(err error) error {
	if err == io.EOF {
		return err
	}
	if err == errSlow {
		return bodyError(err)
	}
	var conn connError
	var one streamError
	switch err = misread(err); {
	case errors.As(err, &conn):
		b.s.c.fail(conn)
	case errors.As(err, &one):
		b.bad = true
		b.s.c.count(one.reason)
		b.s.reset(one.code)
	case b.closed.Load():
		return bodyError(errClosed)
	case err == errTimeout:
		return bodyError(errTimeout)
	default:
		b.bad = err == errReset
	}
	return bodyError(errCut)
}

// Buffered implements exchange.Body. It knows nothing of what QUIC holds.
func (b *requestBody) Buffered() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return 0
	}
	return int(min(b.left, uint64(b.s.in.buffered())))
}

// Close implements exchange.Body. What comes still stays in the stream's window
// until the response is sent.
func (b *requestBody) Close() {
	if !b.closed.Swap(true) {
		_ = b.s.qs.SetReadDeadline(time.Unix(1, 0)) // never fails; it ends a Read
	}
}

// end closes the body, and waits for its reader.
func (b *requestBody) end() {
	if !b.handed {
		return
	}
	b.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.s.whole, b.s.blamed = b.err == io.EOF, b.s.blamed || b.bad
}

// bodyError says what a client did wrong while it sent a body.
func bodyError(err error) error {
	e := &exchange.Error{Phase: exchange.PhaseRequestBody, Side: exchange.SideClient, Status: 400, Reason: "request-body-cut", Err: err}
	switch err {
	case errTimeout:
		e.Status, e.Reason = 408, "request-body-timeout"
	case errSlow:
		e.Status, e.Reason = 408, reasonSlowRequest
	case errClosed:
		e.Reason = "request-body-closed"
	}
	return e
}

var _ exchange.Body = (*requestBody)(nil)
