package h2

import (
	"errors"
	"io"
	"sync"
	"time"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bufpool"
	"penstock.dev/penstock/core/internal/watch"
)

// What can end a message early.
var (
	errBodyShort = errors.New("body is shorter than its length")
	errBodyLong  = errors.New("body is longer than its length")
	errStalled   = errors.New("the peer opened no window within the idle timeout")
	errGone      = errors.New("stream was reset or connection closed")
)

// flow is a stream as its connection sees it, whichever end this is.
type flow struct {
	id uint32
	in *content        // what comes
	up *UpstreamStream // it is one; nil: a client's

	// For the goroutine that sends.
	fields []byte // of a header block
	data   *bufpool.Buffer
	total  int64 // content bytes taken from the body that is sent

	// Guarded by the connection's mutex.
	window   int  // what may be sent
	gone     bool // it neither sends nor receives any more
	blocked  bool
	yielding bool
	urgency  uint8     // 0 to 7, the lower the more urgent
	eager    bool      // it waited for what all share, and has more to send at hand
	active   time.Time // content was sent last
	sendWait waiter
	watch    *watch.Watch    // who is to be told that it ended early
	tied     *UpstreamStream // and what ends then
	relay    *relay          // the tunnel that it is; nil: none
}

// bind readies s for a connection.
func (s *flow) bind(c *mux, id uint32) {
	s.id = id
	s.sendWait.cond.L, s.in.wait.cond.L = &c.mu, &c.mu
	s.in.c, s.in.window = c, streamWindow
	s.urgency, s.eager = fields.DefaultUrgency, false
}

// clear forgets everything that was of one stream, but for waiters.
func (s *flow) clear(pool *bufpool.Pool) {
	pool.Put(s.data)
	if s.fields = s.fields[:0]; cap(s.fields) > bufpool.Small {
		s.fields = nil
	}
	s.data, s.total, s.watch, s.tied, s.relay = nil, 0, nil, nil, nil
	s.gone, s.blocked, s.active = false, false, time.Time{}
}

// next returns a part of the body that is sent: what it gives without waiting,
// at least one byte unless it is the last. length is the whole body's, -1 if
// unknown.
func (s *flow) next(body exchange.Body, length int64) (part []byte, last bool, err error) {
	n, err := s.gather(body, length)
	switch {
	case length >= 0 && s.total > length:
		return nil, false, errBodyLong
	case err == io.EOF && s.total < length:
		return nil, false, errBodyShort
	case err != nil && err != io.EOF:
		return nil, false, err
	}
	return s.data.Bytes[:n], err == io.EOF, nil
}

// gather reads what the body gives without waiting, at least one byte. The last
// bytes of a body whose length is known come with its end.
func (s *flow) gather(body exchange.Body, length int64) (n int, err error) {
	buf := s.data.Bytes
	for {
		k, err := body.Read(buf[n:])
		n += k
		s.total += int64(k)
		if err != nil || n == len(buf) || n > 0 && s.total != length && body.Buffered() == 0 {
			return n, err
		}
	}
}

// lend takes the buffer that next reads into.
func (s *flow) lend(pool *bufpool.Pool, length int64) {
	if s.data != nil {
		return
	}
	size := bufpool.Medium
	if length >= bufpool.Large {
		size = bufpool.Large
	}
	s.data = pool.Get(size)
}

// gatherSome gathers content as far as windows allow now; end says that it is
// the last. It returns what is left. c.mu is held; the caller flushes.
func (c *mux) gatherSome(s *flow, p []byte, end bool) (left []byte) {
	for {
		n := min(len(p), s.window, c.window, c.peer.maxFrame, outMost-len(c.out))
		if n <= 0 && len(p) > 0 {
			return p
		}
		n = max(n, 0)
		var flags uint8
		if end && n == len(p) {
			flags = flagEndStream
		}
		if n > 0 || end {
			out := appendFrame(c.room(frameHeaderLen+n), frameData, flags, s.id, n)
			c.out = append(out, p[:n]...)
		}
		c.window -= n
		s.window -= n
		if n >= worthwhile || n == len(p) {
			c.control.Give(controlPerData + n/controlBytes)
		}
		if p = p[n:]; len(p) == 0 {
			return nil
		}
	}
}

// gatherData gathers content, as far and as fast as windows allow; end says
// that it is the last. c.mu is held, and let go of meanwhile; the caller flushes.
func (c *mux) gatherData(s *flow, p []byte, end bool) error {
	var by time.Time
	for {
		if s.gone || c.ended || c.dead {
			return errGone
		}
		if len(p) > 0 && c.yields(s) && c.yield(s, &by) {
			continue
		}
		if p = c.gatherSome(s, p, end); len(p) == 0 {
			if end {
				c.settle(s)
			}
			s.active = time.Now()
			return nil
		}
		// One deadline for all of p: a window that opens by single bytes is none.
		if by.IsZero() {
			by = time.Now().Add(c.p.IdleTimeout)
		}
		if s.window > 0 {
			c.press(s)
		} else {
			c.settle(s)
		}
		c.flush()
		if s.gone || c.ended || min(s.window, c.window) > 0 && outMost > len(c.out) {
			continue // things changed while it was written
		}
		if !c.wait(s, by) {
			return errStalled
		}
	}
}

// yield lets more urgent streams pass, for half of the idle timeout at most; false
// if that has passed, since by was set for it. c.mu is held, and let go of meanwhile.
func (c *mux) yield(s *flow, by *time.Time) (inTime bool) {
	if by.IsZero() {
		*by = time.Now().Add(c.p.IdleTimeout)
	}
	c.flush()
	if s.gone || !c.yields(s) {
		return true // things changed while it was written
	}
	s.yielding = true
	c.yielding++
	inTime = c.wait(s, by.Add(-c.p.IdleTimeout/2))
	s.yielding = false
	c.yielding--
	return inTime
}

// wait waits until a window opens, or what was gathered is written; false if
// by has passed. c.mu is held, and let go of meanwhile.
func (c *mux) wait(s *flow, by time.Time) (inTime bool) {
	s.blocked = true
	c.blocked++
	inTime = s.sendWait.wait(by)
	s.blocked = false
	c.blocked--
	return inTime
}

// awaitRoom waits until a head may be gathered: a peer that reads nothing must
// not fill the memory with small messages. c.mu is held, and let go of meanwhile.
func (c *mux) awaitRoom(s *flow) error {
	var by time.Time
	for {
		if s.gone || c.ended || c.dead {
			return errGone
		}
		if len(c.out) < outMost {
			return nil
		}
		if by.IsZero() {
			by = time.Now().Add(c.p.IdleTimeout)
		}
		c.flush()
		if len(c.out) >= outMost && !s.gone && !c.wait(s, by) {
			return errStalled
		}
	}
}

// queueHeaders gathers a header block. c.mu is held; the caller flushes.
func (c *mux) queueHeaders(id uint32, flags uint8, block []byte) {
	out := c.room(len(block) + 64)
	if c.peer.shrink { // RFC 7541, 4.2
		c.peer.shrink = false
		block = append([]byte{resizeToZero}, block...)
	}
	c.out = appendHeaders(out, id, flags, block, c.peer.maxFrame)
}

// waiter is a place where one goroutine waits for what is guarded by a mutex.
type waiter struct {
	cond  sync.Cond
	timer *time.Timer
}

// wait waits until woken, or by, whichever is first; false if by has passed. The
// mutex is held, and let go of meanwhile.
func (w *waiter) wait(by time.Time) bool {
	left := time.Until(by)
	if left <= 0 {
		return false
	}
	if w.timer == nil {
		mu := w.cond.L
		w.timer = time.AfterFunc(left, func() {
			mu.Lock() // the waiter has gone to sleep by then
			defer mu.Unlock()
			w.cond.Broadcast()
		})
	} else {
		w.timer.Reset(left)
	}
	w.cond.Wait()
	w.timer.Stop()
	return true
}

// reset readies w for another mutex. Nobody waits.
func (w *waiter) reset() {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// wake wakes who waits. The mutex is held.
func (w *waiter) wake() { w.cond.Broadcast() }
