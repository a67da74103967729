package httpwasm

import (
	"errors"
	"io"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
)

var errConsumed = errors.New("the plugin failed after it had consumed a part of the body")

// body is a message's body as the guest reads and replaces it, and afterwards
// an exchange.Body in the message's place. Then whoever sends it uses inner,
// kept and data, which do not change any more, and sent; the guest seen.
type body struct {
	inner exchange.Body // what nobody has read; nil: there is none
	ended bool          // it was read to its end
	keep  bool          // what the guest reads is sent all the same
	kept  []byte
	seen  int // how much of kept the guest has read
	taken int // what the guest has read that is not kept
	added int // how much of kept is the guest's, written before there was a response
	sent  int // of what replaces inner

	data     []byte // the guest's, if written
	written  bool
	trailers bool  // the guest has changed them
	broken   error // what Read returns; nil: nothing is broken
}

var _ exchange.Body = (*body)(nil)

// maxReuse is the memory of a body that is kept for another exchange, in bytes.
const maxReuse = 64 << 10

func (b *body) reset() { *b = body{kept: reusable(b.kept), data: reusable(b.data)} }

func reusable(b []byte) []byte {
	if cap(b) > maxReuse {
		return nil
	}
	return b[:0]
}

// whole reports whether nothing is left to be read from others.
func (b *body) whole() bool { return b.inner == nil || b.ended }

// write appends to the guest's own body.
func (b *body) write(text []byte, limit int64) error {
	if int64(len(b.data)+len(text)) > limit {
		return filter.ErrBodyLimit
	}
	b.written = true
	b.data = append(b.data, text...)
	return nil
}

// take reads for the guest until buf is full or the body ends.
func (s *stream) take(b *body, buf []byte) (n int, end bool, err error) {
	for n < len(buf) {
		if b.seen < len(b.kept) {
			m := min(len(buf)-n, len(b.kept)-b.seen)
			s.v.pay(m)
			copy(buf[n:], b.kept[b.seen:b.seen+m])
			b.seen += m
			n += m
			continue
		}
		if b.whole() || s.phase != phaseRequest && b == &s.request {
			return n, true, nil // after the next handler the request's body is the sender's
		}
		m, err := s.pull(b, buf[n:])
		n += m
		if err != nil {
			return n, false, err
		}
		s.v.pay(m) // ends the call only once m is accounted for
	}
	return n, b.whole() && b.seen == len(b.kept), nil
}

// running reports whether a call of the guest runs for the stream.
func (s *stream) running() bool { return s.v != nil && s.v.s == s }

// pull reads once, into p.
func (s *stream) pull(b *body, p []byte) (n int, err error) {
	if b.inner.Buffered() > 0 || !s.running() { // it does not wait, or no guest does
		n, err = b.inner.Read(p)
	} else {
		s.i.Waiting(func() { n, err = b.inner.Read(p) })
	}
	if b.keep {
		if int64(len(b.kept)+n) > s.f.config.Limits.BodyBytes {
			return n, filter.ErrBodyLimit
		}
		b.kept = append(b.kept, p[:n]...)
		b.seen += n
		if err := s.hold(); err != nil {
			return n, err
		}
	} else {
		b.taken += n
	}
	if err == io.EOF {
		b.ended, err = true, nil
	}
	return n, err
}

// hold counts what the exchange's bodies hold in memory.
func (s *stream) hold() error {
	return s.w.Hold(len(s.request.kept) + len(s.request.data) + len(s.response.kept) + len(s.response.data) + len(s.answer.body))
}

// drain keeps the rest of a body, which the guest may still read.
func (s *stream) drain(b *body) error {
	if b.whole() {
		return nil
	}
	var part [4 << 10]byte
	seen := b.seen
	b.keep = true
	defer func() { b.seen = seen }()
	for !b.ended {
		n, err := s.pull(b, part[:])
		if err != nil {
			return err
		}
		if s.running() {
			s.v.pay(n)
		}
	}
	return nil
}

// settle puts the body in the message's place, if the guest has read or changed
// it. failed says that the guest did not live to finish: then nothing is
// changed, and what it has consumed is missing.
func (b *body) settle(at *exchange.Body, length *int64, h, trailer *exchange.Header, failed bool) {
	switch {
	case failed && b.taken > 0:
		b.broken = &exchange.Error{Phase: exchange.PhaseRequestBody, Side: exchange.SidePlugin, Status: 500, Reason: "plugin-trap", Err: errConsumed}
		*at = b
		return
	case b.written && !failed:
		*at, *length = b, int64(len(b.data))
		h.Del("content-length")
	case b.taken > 0 || len(b.kept) > 0:
		b.written = false
		*at = b
		if b.ended {
			*length = int64(len(b.kept))
		} else if *length >= 0 {
			*length += int64(b.added - b.taken)
		}
		if b.taken > 0 || b.added > 0 {
			h.Del("content-length")
		}
	}
	if b.trailers && !failed || b.ended && trailer.Len() > 0 { // only a body without a length can have them
		*at, *length = b, -1
		h.Del("content-length")
	}
	b.seen = 0
}

// begin puts what the guest has written ahead of the body, of which nothing has been
// read. It is moved, not copied: what counts as held stays the same.
func (b *body) begin(text *[]byte) {
	b.kept, *text = *text, b.kept
	b.added = len(b.kept)
}

// rest returns what is sent before inner.
func (b *body) rest() []byte {
	if b.written {
		return b.data[b.sent:]
	}
	return b.kept[b.sent:]
}

// Read implements exchange.Body.
func (b *body) Read(p []byte) (int, error) {
	if b.broken != nil {
		return 0, b.broken
	}
	if rest := b.rest(); len(rest) > 0 {
		n := copy(p, rest)
		b.sent += n
		return n, nil
	}
	if b.written || b.whole() {
		return 0, io.EOF
	}
	return b.inner.Read(p)
}

// Buffered implements exchange.Body.
func (b *body) Buffered() int {
	n := len(b.rest())
	if !b.written && !b.whole() {
		n += b.inner.Buffered()
	}
	return n
}

// Close implements exchange.Body.
func (b *body) Close() {
	if b.inner != nil {
		b.inner.Close()
	}
}
