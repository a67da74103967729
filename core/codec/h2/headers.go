package h2

import (
	"time"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/exchange"
)

// block is the header block that is being read (RFC 9113, 4.3).
type block struct {
	open      bool // CONTINUATION follows
	id        uint32
	s         *stream // a new one
	trailer   bool    // of the stream of this id; with neither it is decoded for the table's sake
	endStream bool
	fragments int
	size      int
	err       error // what to do once it is decoded, in place of s
}

// maxBlock is how long a header block may be, in bytes.
func (c *Conn) maxBlock() int { return max(blockFactor*c.p.HeaderBytes, 64<<10) }

// onHeaders: RFC 9113, 6.2.
func (c *Conn) onHeaders(f *frame) error {
	if f.id&1 == 0 {
		return connError{codeProtocol, "stream-id"}
	}
	p, err := f.unpad()
	if err != nil {
		return err
	}
	b := block{id: f.id, endStream: f.has(flagEndStream)}
	if f.has(flagPriority) {
		if len(p) < 5 {
			return connError{codeFrameSize, "priority"}
		}
		if dependsOn(p) == f.id {
			b.err = streamError{f.id, codeProtocol, "priority"}
		}
		p = p[5:]
	}
	c.mu.Lock()
	err = c.opens(&b)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	c.block = b
	c.began = time.Now()
	c.dec.SetEmitEnabled(b.s != nil || b.trailer)
	if s := b.s; b.trailer {
		c.hd.Begin(&c.lim, &c.trailer, &c.arena, c.conn.Trusted, true)
	} else if s != nil {
		s.x.Start = c.began
		c.hd.Begin(&c.lim, &s.x.Request.Header, &s.x.Arena, c.conn.Trusted, false)
	}
	return c.fragment(p, f.has(flagEndHeaders))
}

// opens finds out what a header block is for. c.mu is held.
func (c *Conn) opens(b *block) error {
	if s := c.streams[b.id]; s != nil {
		switch {
		case s.body.whole:
			b.err = streamError{b.id, codeStreamClosed, "stream-closed"} // RFC 9113, 5.1
		case !b.endStream:
			b.err = streamError{b.id, codeProtocol, "trailer"} // RFC 9113, 8.1
		}
		b.trailer = b.err == nil
		return nil
	}
	if b.id <= c.last {
		if !c.ignored.has(b.id) {
			return connError{codeStreamClosed, "stream-closed"}
		}
		if !c.control.take(1) {
			return connError{codeEnhanceYourCalm, "control-flood"}
		}
		return nil
	}
	if c.drain == drainLast {
		// Not served, not told: the client knows (RFC 9113, 6.8).
		c.last = b.id
		c.ignored.add(b.id)
		if !c.control.take(1) {
			return connError{codeEnhanceYourCalm, "control-flood"}
		}
		return nil
	}
	c.last = b.id
	switch {
	case b.err != nil:
	case len(c.streams) >= maxStreams || c.serving >= maxServing:
		b.err = streamError{b.id, codeRefusedStream, "too-many-streams"}
	default:
		b.s = c.server.stream(c, b.id)
	}
	return nil
}

// onContinuation: RFC 9113, 6.10.
func (c *Conn) onContinuation(f *frame) error {
	if !c.block.open {
		return connError{codeProtocol, "header-block"}
	}
	return c.fragment(f.payload, f.has(flagEndHeaders))
}

// fragment decodes a part of a header block, and does what is asked for after
// the last one.
func (c *Conn) fragment(p []byte, last bool) error {
	b := &c.block
	b.fragments++
	b.size += len(p)
	if b.fragments > maxFragments || b.size > c.maxBlock() {
		return connError{codeEnhanceYourCalm, "continuation-flood"}
	}
	if _, err := c.dec.Write(p); err != nil {
		return connError{codeCompression, "compression"}
	}
	if b.open = !last; b.open {
		return nil
	}
	if c.dec.Close() != nil {
		return connError{codeCompression, "compression"}
	}
	s := b.s
	b.s = nil
	switch {
	case b.err != nil:
		return b.err
	case b.trailer:
		return c.onTrailer()
	case s == nil:
		return nil
	}
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
	if !c.resets.take(resetCost) {
		return connError{codeEnhanceYourCalm, "reset-flood"}
	}
	id := c.block.id
	if r.Status == 0 {
		c.out = appendRST(c.room(32), id, codeProtocol)
	} else {
		var store [128]byte
		b := appendStatus(store[:0], r.Status)
		b = c.appendDate(b)
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

// start serves a stream's exchange on a goroutine of its own.
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
		if hd.Length > 0 {
			c.server.free(s)
			return streamError{c.block.id, codeProtocol, "body-length"} // RFC 9113, 8.1.1
		}
		b.whole, b.err = true, errWhole
	}
	q.Body, q.ContentLength = nil, 0
	if !b.whole && hd.Length != 0 {
		q.Body, q.ContentLength = b, hd.Length
		b.handed = true
		b.expect = hd.Expect
	} else {
		b.closed = true
	}
	s.window = c.peer.initialWindow
	c.streams[s.id] = s
	c.serving++
	c.running.Add(1)
	go s.run()
	return nil
}

// onTrailer ends a request's body with the trailer section that was read.
func (c *Conn) onTrailer() error {
	defer func() { c.trailer, c.arena = exchange.Header{}, exchange.Arena{} }()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[c.block.id]
	if s == nil {
		return nil // reset while its block came
	}
	if c.hd.Err != nil {
		return streamError{s.id, codeProtocol, "trailer"}
	}
	b := s.body
	if !b.closed {
		for _, f := range c.trailer.Fields() {
			b.trailer.Add(b.arena.Copy(f.Name), b.arena.Copy(f.Value))
		}
	}
	return s.receive(nil, 0, true)
}

var _ exchange.Client = (*stream)(nil)
