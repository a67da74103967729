package h2

import (
	"errors"
	"fmt"
	"time"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/exchange"
)

// Errors of an UpstreamStream that a caller branches on.
var (
	// ErrInvalidMessage means that a request was made, by a filter for instance,
	// which HTTP/2 cannot carry. Nothing of it is sent.
	ErrInvalidMessage = fields.ErrInvalidMessage
	// ErrUpgrade means that a request would go on with another protocol, which
	// HTTP/2 has no way for (RFC 9113, 8.6). Nothing of it is sent.
	ErrUpgrade = errors.New("an upgrade cannot be asked for over HTTP/2")
	// ErrStale means that the connection takes no more streams: nothing was sent.
	ErrStale = errors.New("connection takes no more streams")
	// ErrRefused means that the upstream did nothing with the request.
	ErrRefused = errors.New("upstream refused the stream")
	// ErrInterrupted means that Interrupt was called: ReadHead may be called again.
	ErrInterrupted = errors.New("interrupted")
	// ErrTimeout means that the deadline passed.
	ErrTimeout = errors.New("no response within the timeout")

	errClientGone = errors.New("client disconnected")
)

// BadResponse says what is wrong with what an upstream sent. Reason is a short
// code, one of a fixed set.
type BadResponse struct{ Reason string }

// Error returns the reason.
func (e *BadResponse) Error() string { return "bad response: " + e.Reason }

// resetError is how an upstream ended a stream.
type resetError struct{ code code }

func (e resetError) Error() string { return fmt.Sprintf("upstream reset the stream: error %d", e.code) }

// WasReset reports whether err says that the upstream reset the stream.
func WasReset(err error) bool {
	var one resetError
	return errors.As(err, &one)
}

// maxInterim bounds the interim responses to one request.
const maxInterim = 64

// UpstreamStream is a place for one exchange at a time on a connection: Write,
// WriteRest if that says so, ReadHead, Settle, then the response's Body to its
// end, then Recycle. It belongs to the exchange's goroutine but for the methods
// that say otherwise.
type UpstreamStream struct {
	flow
	c    *UpstreamConn
	body content
	free func(reusable bool)

	owner   exchange.Owner // nil: none
	asked   bool           // with HEAD
	connect bool           // with CONNECT
	away    bool           // a tunnel has it
	pending []byte         // of the request's body: read and not sent yet
	last    bool           // pending is the last
	all     []byte         // the whole body, if it came as one part; nil: it did not
	by      time.Time
	hurry   bool          // ReadHead was called before
	handed  *responseBody // nil: none

	// Guarded by the connection's mutex.
	opened      bool
	sent        bool // the request was sent whole
	interrupted bool
	received    bool // something of the response came
	headed      bool // its final head did
	status      int
	length      int64 // its Content-Length; -1: none
	final       section
	interims    []interim
	informed    int // interim responses that came
	held        int // bytes of those that wait
	err         error
	broke       bool // err is the request body's
}

// interim is an interim response that waits for the exchange's goroutine.
type interim struct {
	status, size int
	section
}

// NewStream returns a place for exchanges. free is called when the stream's part
// in an exchange is over, after ReadHead returned a head, on the goroutine that
// reads the response's body, before that Read returns; reusable is always true.
func (c *UpstreamConn) NewStream(free func(reusable bool)) *UpstreamStream {
	s := &UpstreamStream{c: c, free: free}
	s.up, s.in, s.body.s = s, &s.body, &s.flow
	return s
}

// Close ends the stream, if it is open, before its time: whoever reads or writes
// gets an error. It may be called by any goroutine.
func (s *UpstreamStream) Close() { s.cancel(errGone) }

// cancel resets a stream that is not over.
func (s *UpstreamStream) cancel(err error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.opened && (!s.sent || !s.in.whole) {
		c.reset(&s.flow, codeCancel, err)
		c.flushLater()
	}
}

// Interrupt makes ReadHead, now or when it is next called, return
// ErrInterrupted. It may be called by any goroutine.
func (s *UpstreamStream) Interrupt() {
	s.c.mu.Lock()
	s.interrupted = true
	s.in.wait.wake()
	s.c.mu.Unlock()
}

// Received reports whether anything of the response came.
func (s *UpstreamStream) Received() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.received
}

// Sent reports whether the request was sent whole. It may be called by any
// goroutine.
func (s *UpstreamStream) Sent() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.sent
}

// Arm makes ReadHead fail d after now; d is 0 for no deadline.
func (s *UpstreamStream) Arm(now time.Time, d time.Duration) {
	s.by = time.Time{}
	if d > 0 {
		s.by = now.Add(d)
	}
}

// Write sends the head of x's request and as much of its body as is there and
// may be sent without waiting; rest reports whether WriteRest has to send more.
// An error is ErrStale, ErrUpgrade, ErrInvalidMessage, an *exchange.Error of the
// body, or of the connection.
func (s *UpstreamStream) Write(x *exchange.Exchange, _ bool) (rest bool, err error) {
	q := &x.Request
	if len(q.Upgrade) > 0 {
		return false, ErrUpgrade
	}
	if s.fields, err = s.appendRequest(s.fields[:0], q); err != nil {
		return false, err
	}
	s.asked, s.connect = string(q.Method) == "HEAD", q.Connect()
	s.pending, s.last, s.all = nil, q.Body == nil || q.ContentLength == 0, nil
	if s.connect {
		return false, s.writeConnect()
	}
	// Nothing is read of a body before it is certain that it will be sent here.
	if err := s.open(s.last); err != nil || s.last {
		return false, err
	}
	if q.Body.Buffered() > 0 {
		s.lend(s.c.pool, q.ContentLength)
		if err = s.take(q); err != nil {
			return false, err
		}
	}
	return s.writeFirst(s.last && !fields.Trails(&q.Trailer)), nil
}

// take reads the next part of the request's body.
func (s *UpstreamStream) take(q *exchange.Request) (err error) {
	first := s.total == 0
	s.pending, s.last, err = s.next(q.Body, q.ContentLength)
	if s.all = nil; first && s.last {
		s.all = s.pending
	}
	return err
}

// Body returns the request's body if all of it is at hand, so that it can be
// sent again after ErrRefused. It lives until Recycle. Nobody writes any more.
func (s *UpstreamStream) Body() (content []byte, ok bool) { return s.all, s.all != nil }

// open opens the stream; end says that no content follows, else the caller
// flushes.
func (s *UpstreamStream) open(end bool) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.bind(&c.mux, 0)
	for len(c.out) >= outMost && !c.ended && !c.dead { // as awaitRoom; a write ends within the idle timeout
		if c.writing {
			c.written.Wait()
		} else {
			c.flush()
		}
	}
	if len(c.streams) >= c.allowed() {
		return ErrStale
	}
	if len(c.streams) == 0 {
		c.heard, c.pings, c.pingBy = time.Now(), 0, time.Time{}
	}
	if c.last == 0 {
		c.last = 1
	} else {
		c.last += 2
	}
	s.id, s.window, s.opened, s.sent = c.last, c.peer.initialWindow, true, end
	c.streams[s.id] = &s.flow
	if c.last >= 1<<31-1 {
		c.tell()
	}
	c.control.Give(controlPerData)
	var flags uint8
	if end {
		flags = flagEndStream
	}
	c.queueHeaders(s.id, flags, s.fields)
	if end {
		c.flush()
	}
	return nil
}

// writeFirst sends what was read of the body, as far as windows allow, with the
// head; end says that it is all. rest reports whether something is left.
func (s *UpstreamStream) writeFirst(end bool) (rest bool) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.gone && (len(s.pending) > 0 || end) {
		s.pending = c.gatherSome(&s.flow, s.pending, end)
		s.sent = end && len(s.pending) == 0
	}
	c.flush()
	return !s.sent
}

// WriteRest sends what Write left. It may run on another goroutine than
// ReadHead and the reading of the response. peer reports whether an error is
// the connection's, not the body's.
func (s *UpstreamStream) WriteRest(x *exchange.Exchange) (peer bool, err error) {
	c, q := s.c, &x.Request
	s.lend(c.pool, q.ContentLength)
	for {
		trails := s.last && fields.Trails(&q.Trailer)
		if len(s.pending) > 0 || s.last && !trails {
			if err := s.writePart(s.last && !trails); err != nil {
				return true, err
			}
		}
		if trails {
			return true, s.writeTrailer(&q.Trailer)
		}
		if s.last {
			return false, nil
		}
		if err = s.take(q); err != nil {
			s.breakOff(err)
			return false, err
		}
	}
}

// writePart sends what is pending; end says that it is the last.
func (s *UpstreamStream) writePart(end bool) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.gatherData(&s.flow, s.pending, end)
	s.pending = nil
	return s.written(err, end)
}

func (s *UpstreamStream) writeTrailer(h *exchange.Header) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.awaitRoom(&s.flow)
	if err == nil {
		s.fields = encoding.AppendTrailer(s.fields[:0], h)
		c.queueHeaders(s.id, flagEndStream, s.fields)
	}
	return s.written(err, true)
}

// written ends writePart and writeTrailer. An upstream that takes nothing of the
// body is as one that does not answer. c.mu is held.
func (s *UpstreamStream) written(err error, end bool) error {
	s.c.settle(&s.flow)
	switch err {
	case nil:
		s.sent = end
	case errStalled:
		s.c.reset(&s.flow, codeCancel, ErrTimeout)
	}
	s.c.flush()
	return err
}

// breakOff resets a stream whose request's body failed.
func (s *UpstreamStream) breakOff(err error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.gone {
		s.broke = true
		c.reset(&s.flow, codeCancel, err)
		c.flush()
	}
}

// Recycle readies s for another exchange. Nobody uses it any more, nor the
// response's body; a stream that is still open is reset. It reports whether the
// connection opens more streams.
func (s *UpstreamStream) Recycle() (more bool) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.opened {
		s.in.close()
		s.c.settle(&s.flow)
		if s.sent && s.in.whole && !s.gone {
			s.gone = true
			delete(c.streams, s.id)
		}
		c.reset(&s.flow, codeCancel, errGone)
		if len(c.streams) == 0 {
			c.quiet = time.Now()
			if c.leaving {
				c.poke()
			}
		}
		c.flush()
	}
	s.flow.clear(c.pool)
	s.body.clear(c.pool)
	s.connect, s.away = false, false
	s.asked, s.pending, s.last, s.all, s.by, s.hurry, s.handed = false, nil, false, nil, time.Time{}, false, nil
	s.opened, s.sent, s.interrupted, s.received, s.headed, s.broke = false, false, false, false, false, false
	s.final.fields.Reset()
	s.final.arena.Reset()
	s.interims, s.informed, s.held, s.err = nil, 0, 0, nil
	return c.allowed() > 0
}
