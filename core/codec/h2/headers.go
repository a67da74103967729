package h2

import (
	"bytes"
	"time"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/exchange"
)

// opens implements role.
func (c *Conn) opens(b *block) error {
	if s := c.streams[b.id]; s != nil {
		if b.err == nil {
			c.opensTrailer(b, s, c.conn.Trusted)
		}
		return nil
	}
	if b.id <= c.last {
		return c.opensNothing(b.id, true)
	}
	c.last = b.id
	switch {
	case c.drain == drainLast:
		// Not served, not told: the client knows (RFC 9113, 6.8).
		c.ignored.add(b.id)
		return c.opensNothing(b.id, false)
	case b.err != nil:
	case c.full():
		b.err = streamError{b.id, codeRefusedStream, "too-many-streams"}
	default:
		s := c.server.stream(c, b.id)
		s.x.Start = c.began
		c.hd.Begin(&c.lim, &s.x.Request.Header, &s.x.Arena, c.conn.Trusted, false)
		c.fresh, b.wanted = s, true
	}
	return nil
}

// full reports whether no stream may be opened. c.mu is held.
func (c *Conn) full() bool {
	if c.serving >= maxServing {
		c.sweep()
	}
	return len(c.streams) >= maxStreams || c.serving >= maxServing
}

// section implements role: it is a request's.
func (c *Conn) section(*block) error {
	s := c.fresh
	c.fresh = nil
	if r := c.hd.Finish(&s.x, c.scheme); r != nil {
		c.server.free(s)
		return c.refuse(r)
	}
	return c.start(s)
}

// refuse answers a request that is not accepted, or resets its stream.
func (c *Conn) refuse(r *fields.Refused) error {
	status := r.Status
	if status == 0 {
		status = 400
	}
	c.reject(status, r.Reason)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.resetOne(); err != nil {
		return err
	}
	id := c.block.id
	if r.Status == 0 {
		c.out = appendRST(c.room(32), id, codeProtocol)
	} else {
		var store [128]byte
		b := appendStatus(store[:0], r.Status)
		b = encoding.AppendDate(b, &c.server.date)
		b = appendText(b, "content-length", "0")
		c.queueHeaders(id, flagEndStream, b)
		if c.block.endStream {
			return nil
		}
		c.out = appendRST(c.room(32), id, codeNo)
	}
	c.ignored.add(id)
	return nil
}

// start opens a stream. Its exchange is served once the reader is about to wait:
// until then the client may have reset it, or made it be reset.
func (c *Conn) start(s *stream) error {
	hd, q := &c.hd, &s.x.Request
	q.Version = exchange.HTTP2
	s.head = string(q.Method) == "HEAD"
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended { // a write failed: nobody would tell this stream
		c.server.free(s)
		return errGone
	}
	b := s.body
	b.left = hd.Length
	if c.block.endStream {
		if hd.Length > 0 && q.Upgrade == nil {
			c.server.free(s)
			return streamError{c.block.id, codeProtocol, "body-length"} // RFC 9113, 8.1.1
		}
		b.whole, b.err = true, errWhole
	}
	q.Body, q.ContentLength = nil, 0
	switch {
	case q.Upgrade != nil:
		s.handshake()
	case q.Connect():
		s.connect = true
		b.left, b.tunnel = -1, true
	case !b.whole && hd.Length != 0:
		q.Body, q.ContentLength = b, hd.Length
		b.handed = true
		b.expect = hd.Expect
	default:
		b.closed = true
	}
	s.window, s.urgency = c.peer.initialWindow, c.urgencyOf(s.id, hd.Urgency)
	c.streams[s.id] = &s.flow
	c.serving++
	if c.waiting = append(c.waiting, s); len(c.waiting) >= maxStreams {
		c.sweep()
	}
	return nil
}

// launch serves the streams that wait for it, each on a goroutine.
// c.mu is held.
func (c *Conn) launch() {
	c.sweep()
	for i, s := range c.waiting {
		c.waiting[i] = nil
		c.running.Add(1)
		c.server.workers.Go(s.run)
	}
	c.waiting = c.waiting[:0]
}

// sweep frees the streams that ended while they waited to be served. c.mu is held.
func (c *Conn) sweep() {
	left := c.waiting[:0]
	for _, s := range c.waiting {
		if !s.gone {
			left = append(left, s)
			continue
		}
		s.body.handed = false // nobody has seen it
		c.server.free(s)
		c.handled()
	}
	clear(c.waiting[len(left):])
	c.waiting = left
}

// handled is called when a stream is served no more. c.mu is held.
func (c *Conn) handled() {
	if c.serving--; c.serving == 0 {
		c.quiet = time.Now()
		if c.drain != drainNot {
			c.poke()
		}
	}
}

// setting implements role.
func (c *Conn) setting(id uint16, value uint32) error {
	if id == settingEnablePush && value > 1 {
		return connError{codeProtocol, "settings"}
	}
	return nil
}

// settled implements role.
func (c *Conn) settled() {}

// pong implements role.
func (c *Conn) pong(data []byte) {
	if c.drain == drainAsked && bytes.Equal(data, drainPing) {
		c.lastGoAway()
	}
}

// goAway implements role: nothing is pushed that a client could refuse.
func (c *Conn) goAway(uint32, code) error { return nil }

// rst implements role.
func (c *Conn) rst(s *flow, _ code) error {
	c.drop(s, errCut)
	return c.resetOne()
}

var _ exchange.Client = (*stream)(nil)
var _ role = (*Conn)(nil)
