package h2

import (
	"errors"
	"io"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bufpool"
)

// Why no more of a request's body comes.
var (
	errWhole   = io.EOF
	errCut     = errors.New("stream was reset or connection closed")
	errClosed  = errors.New("request body is closed")
	errTimeout = errors.New("no data within the idle timeout")
)

// requestBody is the exchange.Body of a request: what the client sent, up to
// its stream's window, until it is read. Unlike others, its Close may be called
// while another goroutine reads: that Read then ends. All of it is guarded by
// the connection's mutex.
//
// One that was handed out is not used again for another request: whoever reads
// it too late finds it closed.
type requestBody struct {
	c      *Conn
	s      *stream // not for use once the body is closed
	parts  []part
	size   int   // bytes in parts
	left   int64 // of the content, to come; -1: unknown
	bytes  int64 // handed out
	window int   // what the client may send
	owed   int   // what was taken of that, and not yet told

	handed  bool // the exchange has it
	whole   bool // END_STREAM came
	closed  bool
	reading bool
	expect  bool  // the client waits for a 100 that was not sent yet
	err     error // after parts; nil: more may come

	trailer exchange.Header
	arena   exchange.Arena // of the trailer's fields
	wait    waiter
}

// part is a piece of a body: bytes r to w of the buffer are to be read.
type part struct {
	b    *bufpool.Buffer
	r, w int
}

func (b *requestBody) reset(pool *bufpool.Pool) {
	b.drop(pool)
	b.wait.reset()
	b.trailer.Reset()
	b.arena.Reset()
	b.left, b.bytes, b.owed = 0, 0, 0
	b.whole, b.closed, b.reading, b.expect, b.err = false, false, false, false, nil
}

// drop forgets what is buffered.
func (b *requestBody) drop(pool *bufpool.Pool) {
	for i := range b.parts {
		pool.Put(b.parts[i].b)
		b.parts[i].b = nil
	}
	b.parts, b.size = b.parts[:0], 0
}

// receive takes data of the client's that came in a frame of size bytes. c.mu
// is held.
func (s *stream) receive(data []byte, size int, end bool) error {
	c, b := s.c, s.body
	free := size // of the connection's window
	defer func() { c.taken(free) }()
	if b.whole {
		return streamError{s.id, codeStreamClosed, "stream-closed"}
	}
	if b.window -= size; b.window < 0 {
		return streamError{s.id, codeFlowControl, "flow-control"}
	}
	if b.left >= 0 && int64(len(data)) > b.left || end && b.left > int64(len(data)) {
		return streamError{s.id, codeProtocol, "body-length"} // RFC 9113, 8.1.1
	}
	if b.left > 0 {
		b.left -= int64(len(data))
	}
	if !b.closed && b.err == nil {
		b.push(&c.server.pool, data)
		free -= len(data)
	}
	if len(data) > 0 {
		b.expect = false // it does not wait (RFC 9110, 10.1.1)
	}
	if end {
		b.whole = true
		if b.err == nil {
			b.err = errWhole
		}
	} else {
		b.owe(size - len(data))
	}
	b.wait.wake()
	return nil
}

func (b *requestBody) push(pool *bufpool.Pool, data []byte) {
	b.size += len(data)
	if n := len(b.parts); n > 0 {
		last := &b.parts[n-1]
		k := copy(last.b.Bytes[last.w:], data)
		last.w += k
		data = data[k:]
	}
	if len(data) > 0 {
		p := part{b: pool.Get(len(data))}
		p.w = copy(p.b.Bytes, data)
		b.parts = append(b.parts, p)
	}
}

// owe says that n bytes of the stream's window are free again. c.mu is held;
// the caller flushes.
func (b *requestBody) owe(n int) {
	c := b.c
	if b.owed += n; b.owed >= streamWindow/2 && !b.s.gone && !b.whole && !c.ended {
		c.out = appendWindowUpdate(c.room(32), b.s.id, b.owed)
		b.window += b.owed
		b.owed = 0
	}
}

// Read implements exchange.Body. The first one sends the 100 (Continue) that
// the client waits for. Its errors are *exchange.Error.
func (b *requestBody) Read(p []byte) (int, error) {
	c := b.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.closed {
		return 0, bodyError(errClosed)
	}
	b.proceed()
	b.reading = true
	defer func() {
		b.reading = false
		b.wait.wake() // finish waits for it
	}()
	var by time.Time
	for b.size == 0 && !b.closed {
		if b.err == errWhole {
			return 0, b.end()
		}
		if b.err != nil {
			return 0, bodyError(b.err)
		}
		if by.IsZero() {
			by = time.Now().Add(c.p.IdleTimeout)
		}
		if !b.wait.wait(by) {
			b.err = errTimeout
		}
	}
	if b.closed {
		return 0, bodyError(errClosed)
	}
	n := b.pop(p)
	b.bytes += int64(n)
	b.owe(n)
	c.taken(n)
	c.flushLater()
	if b.size == 0 && b.err == errWhole {
		return n, b.end()
	}
	return n, nil
}

// pop takes what is buffered, up to len(p).
func (b *requestBody) pop(p []byte) (n int) {
	used := 0
	for used < len(b.parts) && n < len(p) {
		first := &b.parts[used]
		k := copy(p[n:], first.b.Bytes[first.r:first.w])
		n += k
		if first.r += k; first.r == first.w {
			b.c.server.pool.Put(first.b)
			first.b = nil
			used++
		}
	}
	if used > 0 {
		b.parts = b.parts[:copy(b.parts, b.parts[used:])]
	}
	b.size -= n
	return n
}

// end hands the trailer out with the end of the body.
func (b *requestBody) end() error {
	to := &b.s.x.Request.Trailer
	to.Reset()
	for _, f := range b.trailer.Fields() {
		to.Add(f.Name, f.Value)
	}
	return io.EOF
}

// proceed sends the 100 (Continue) that the client waits for. c.mu is held.
func (b *requestBody) proceed() {
	c := b.c
	if !b.expect {
		return
	}
	b.expect = false
	if !b.s.gone && !c.ended {
		var store [16]byte
		c.queueHeaders(b.s.id, 0, appendStatus(store[:0], 100))
		c.flushLater()
	}
}

// Buffered implements exchange.Body.
func (b *requestBody) Buffered() int {
	c := b.c
	c.mu.Lock()
	defer c.mu.Unlock()
	return b.size
}

// Close implements exchange.Body.
func (b *requestBody) Close() {
	c := b.c
	c.mu.Lock()
	defer c.mu.Unlock()
	b.close()
	c.flushLater()
}

// close is Close. c.mu is held; the caller flushes.
func (b *requestBody) close() {
	if b.closed {
		return
	}
	b.closed = true
	b.discard()
}

// fail makes reading fail with err. c.mu is held.
func (b *requestBody) fail(err error) {
	b.err = err
	b.discard()
}

func (b *requestBody) discard() {
	b.c.taken(b.size)
	b.drop(&b.c.server.pool)
	b.wait.wake()
}

// bodyError says what a client did wrong while it sent a body.
func bodyError(err error) error {
	e := &exchange.Error{Phase: exchange.PhaseRequestBody, Side: exchange.SideClient, Status: 400, Reason: "request-body-cut", Err: err}
	switch err {
	case errTimeout:
		e.Status, e.Reason = 408, "request-body-timeout"
	case errClosed:
		e.Reason = "request-body-closed"
	}
	return e
}

var _ exchange.Body = (*requestBody)(nil)
