package h2

import (
	"errors"
	"io"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bufpool"
)

// Why no more of a message's content comes.
var (
	errWhole   = io.EOF
	errCut     = errors.New("stream was reset or connection closed")
	errClosed  = errors.New("body is closed")
	errTimeout = errors.New("no data within the idle timeout")
)

// content is what the peer sent, up to its stream's window, until it is read.
// All of it is guarded by the connection's mutex.
type content struct {
	c      *mux
	s      *flow // not for use once the content is closed
	parts  []part
	size   int           // bytes in parts
	left   int64         // to come; -1: unknown
	bytes  int64         // handed out
	window int           // what the peer may send
	idle   time.Duration // how long read waits; set before it
	owed   int           // what was taken of that, and not yet told

	whole   bool // END_STREAM came
	closed  bool
	reading bool
	tunnel  bool  // it is no content, but what follows a CONNECT: no trailer ends it, and it may be silent
	err     error // after parts; nil: more may come

	trailer section
	wait    waiter
}

// part is a piece of a body: bytes r to w of the buffer are to be read.
type part struct {
	b    *bufpool.Buffer
	r, w int
}

// clear forgets everything that was of one message, but for the waiter.
func (b *content) clear(pool *bufpool.Pool) {
	b.drop(pool)
	b.trailer.fields.Reset()
	b.trailer.arena.Reset()
	b.left, b.bytes, b.owed = 0, 0, 0
	b.whole, b.closed, b.reading, b.tunnel, b.err = false, false, false, false, nil
}

// drop forgets what is buffered.
func (b *content) drop(pool *bufpool.Pool) {
	for i := range b.parts {
		pool.Put(b.parts[i].b)
		b.parts[i].b = nil
	}
	b.parts, b.size = b.parts[:0], 0
}

// receive takes data of the peer's that came in a frame of size bytes. c.mu
// is held.
func (b *content) receive(data []byte, size int, end bool) error {
	c, id := b.c, b.s.id
	free := size // of the connection's window
	defer func() { c.taken(free) }()
	if b.whole {
		return streamError{id, codeStreamClosed, "stream-closed"}
	}
	if b.window -= size; b.window < 0 {
		return streamError{id, codeFlowControl, "flow-control"}
	}
	if b.left >= 0 && int64(len(data)) > b.left || end && b.left > int64(len(data)) {
		return streamError{id, codeProtocol, "body-length"} // RFC 9113, 8.1.1
	}
	if b.left > 0 {
		b.left -= int64(len(data))
	}
	if !b.closed && b.err == nil {
		b.push(c.pool, data)
		free -= len(data)
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

func (b *content) push(pool *bufpool.Pool, data []byte) {
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
func (b *content) owe(n int) {
	c := b.c
	if b.owed += n; b.owed >= streamWindow/2 && !b.s.gone && !b.whole && !c.ended {
		c.out = appendWindowUpdate(c.room(32), b.s.id, b.owed)
		b.window += b.owed
		b.owed = 0
	}
}

// read reads what is there, and waits for it; a stream that sends meanwhile is
// not idle. With the end trailer gets the trailer section, whose bytes live as
// long as the content. c.mu is held, and let go of meanwhile.
func (b *content) read(p []byte) (int, error) {
	c := b.c
	if b.closed {
		return 0, errClosed
	}
	b.reading = true
	defer func() {
		b.reading = false
		b.wait.wake() // whoever ends the stream waits for it
	}()
	var by time.Time
	for b.size == 0 && !b.closed {
		if b.err != nil {
			return 0, b.err
		}
		if b.tunnel {
			b.wait.cond.Wait()
			continue
		}
		if by.IsZero() {
			by = time.Now().Add(b.idle)
		}
		if b.wait.wait(by) || b.closed {
			continue
		}
		if by = b.s.active.Add(b.idle); !time.Now().Before(by) {
			b.err = errTimeout
		}
	}
	if b.closed {
		return 0, errClosed
	}
	n := b.pop(p)
	b.bytes += int64(n)
	b.owe(n)
	c.taken(n)
	c.flushLater()
	if b.size == 0 && b.err == errWhole {
		return n, errWhole
	}
	return n, nil
}

// pop takes what is buffered, up to len(p).
func (b *content) pop(p []byte) (n int) {
	used := 0
	for used < len(b.parts) && n < len(p) {
		first := &b.parts[used]
		k := copy(p[n:], first.b.Bytes[first.r:first.w])
		n += k
		if first.r += k; first.r == first.w {
			b.c.pool.Put(first.b)
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

// close gives up what is unread. c.mu is held; the caller flushes.
func (b *content) close() {
	if b.closed {
		return
	}
	b.closed = true
	b.discard()
}

// fail makes reading fail with err. c.mu is held.
func (b *content) fail(err error) {
	b.err = err
	b.discard()
}

func (b *content) discard() {
	b.c.taken(b.size)
	b.drop(b.c.pool)
	b.wait.wake()
}

// addTrailer ends the content with a trailer section that was read. c.mu is held.
func (b *content) addTrailer(h *exchange.Header) error {
	if !b.closed {
		for _, f := range h.Fields() {
			b.trailer.fields.Add(b.trailer.arena.Copy(f.Name), b.trailer.arena.Copy(f.Value))
		}
	}
	return b.receive(nil, 0, true)
}
