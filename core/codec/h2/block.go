package h2

import "time"

// block is the header block that is being read (RFC 9113, 4.3).
type block struct {
	open      bool // CONTINUATION follows
	id        uint32
	wanted    bool // its fields are; else it is decoded for the table's sake
	trailer   bool // of the stream of this id
	endStream bool
	fragments int
	size      int
	err       error // what to do once it is decoded
}

// maxBlock is how long a header block may be, in bytes.
func (c *mux) maxBlock() int { return max(blockFactor*c.p.HeaderBytes, 64<<10) }

// onHeaders: RFC 9113, 6.2.
func (c *mux) onHeaders(f *frame) error {
	if f.id&1 == 0 {
		return connError{codeProtocol, "stream-id"}
	}
	p, err := f.unpad()
	if err != nil {
		return err
	}
	c.block = block{id: f.id, endStream: f.has(flagEndStream)}
	b := &c.block
	if f.has(flagPriority) {
		if len(p) < 5 {
			return connError{codeFrameSize, "priority"}
		}
		if dependsOn(p) == f.id {
			b.err = streamError{f.id, codeProtocol, "priority"}
		}
		p = p[5:]
	}
	c.began = time.Now()
	c.mu.Lock()
	err = c.role.opens(b)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	c.dec.SetEmitEnabled(b.wanted)
	return c.fragment(p, f.has(flagEndHeaders))
}

// opensTrailer finds out whether a header block of a stream whose head was read
// may be its trailer section. c.mu is held.
func (c *mux) opensTrailer(b *block, s *flow, trusted bool) {
	switch {
	case s.in.whole:
		b.err = streamError{b.id, codeStreamClosed, "stream-closed"} // RFC 9113, 5.1
	case !b.endStream, s.in.tunnel:
		b.err = streamError{b.id, codeProtocol, "trailer"} // RFC 9113, 8.1 and 8.5
	default:
		b.wanted, b.trailer = true, true
		c.hd.Begin(&c.lim, &c.trailer.fields, &c.trailer.arena, trusted, true)
	}
}

// opensNothing takes a header block of a stream that has ended; strict is for
// a peer that must have known. c.mu is held.
func (c *mux) opensNothing(id uint32, strict bool) error {
	if strict && !c.ignored.has(id) {
		return connError{codeStreamClosed, "stream-closed"}
	}
	if !c.control.Take(1) {
		return connError{codeEnhanceYourCalm, "control-flood"}
	}
	return nil
}

// onContinuation: RFC 9113, 6.10.
func (c *mux) onContinuation(f *frame) error {
	if !c.block.open {
		return connError{codeProtocol, "header-block"}
	}
	return c.fragment(f.payload, f.has(flagEndHeaders))
}

// fragment decodes a part of a header block, and does what is asked for after
// the last one.
func (c *mux) fragment(p []byte, last bool) error {
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
	switch {
	case b.err != nil:
		return b.err
	case b.trailer:
		return c.onTrailer(b.id)
	case !b.wanted:
		return nil
	}
	return c.role.section(b)
}

// onTrailer ends a message's content with the trailer section that was read.
func (c *mux) onTrailer(id uint32) error {
	defer func() { c.trailer = section{} }()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[id]
	if s == nil {
		return nil // reset while its block came
	}
	if c.hd.Err != nil {
		return streamError{id, codeProtocol, "trailer"}
	}
	return s.in.addTrailer(&c.trailer.fields)
}
