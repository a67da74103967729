package h1

import (
	"errors"
	"io"
	"net"
	"strconv"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bufpool"
	"penstock.dev/penstock/core/internal/pace"
)

// What a body's reader can find wrong with it.
var (
	errBodyShort = errors.New("body is shorter than its length")
	errBodyLong  = errors.New("body is longer than its length")
)

// sender writes messages: head and content gathered in one buffer, so that a
// small message is one write.
type sender struct {
	w    *wire
	pool *bufpool.Pool
	idle time.Duration
	lent *bufpool.Buffer
	b    []byte // what is not written yet; may have outgrown lent

	started bool  // bytes of this message were written, or tried
	failed  bool  // a write failed: the last error is the peer's
	total   int64 // content bytes taken from the body
	limited io.LimitedReader
	least   int // bytes per second that the peer must take; 0: no bound
	meter   pace.Meter
	two     [2][]byte // what is written at once, and vector of it
	vector  net.Buffers
}

// begin readies s for a message.
func (s *sender) begin() {
	if s.lent == nil {
		s.lent = s.pool.Get(bufpool.Medium)
	}
	s.b = s.lent.Bytes[:0]
	s.started, s.failed, s.total, s.meter = false, false, 0, pace.Meter{}
}

// release gives the buffer back.
func (s *sender) release() {
	s.pool.Put(s.lent)
	s.lent, s.b = nil, nil
}

// flush writes what is gathered.
func (s *sender) flush() error { return s.flushFrom(0) }

func (s *sender) flushFrom(start int) error {
	if len(s.b) == start {
		return nil
	}
	now, first, n := time.Now(), !s.started, int64(len(s.b)-start)
	s.started = true
	err := s.w.write(s.b[start:], now, s.idle)
	s.b = s.b[:0]
	// The first part goes into the socket's buffer: it costs no look at the clock.
	if err == nil && s.least > 0 && !first && !s.meter.Add(n, time.Since(now), s.least, slowGrace) {
		err = errSlowResponse
	}
	if err != nil {
		s.failed = true
	}
	return err
}

// Space kept free in the buffer: before a chunk for its size line, after it for
// its end and the last chunk.
const (
	sizeRoom = 8
	tailRoom = 64
)

// room returns the free space for content, after enlarging an empty buffer if
// more than it holds is to come.
func (s *sender) room(more bool) []byte {
	if more && len(s.b) == 0 && cap(s.b) < bufpool.Large {
		s.pool.Put(s.lent)
		s.lent = s.pool.Get(bufpool.Large)
		s.b = s.lent.Bytes[:0]
	}
	if cap(s.b)-len(s.b) < minRoom {
		grown := make([]byte, len(s.b), len(s.b)+bufpool.Medium)
		copy(grown, s.b)
		s.b = grown
	}
	return s.b[len(s.b) : cap(s.b)-tailRoom]
}

// sendLength sends a body of exactly left bytes behind what is gathered. Its
// last bytes leave only once the body has said that it is whole.
func (s *sender) sendLength(body exchange.Body, left int64) error {
	for {
		if len(s.b) > 0 && left > 0 && (cap(s.b)-len(s.b) < minRoom+tailRoom || body.Buffered() == 0) {
			if err := s.flush(); err != nil {
				return err
			}
		}
		p := s.room(left >= bufpool.Medium)
		n, err := body.Read(p)
		left -= int64(n)
		s.total += int64(n)
		s.b = s.b[:len(s.b)+n]
		switch {
		case left < 0:
			return errBodyLong
		case err == io.EOF && left > 0:
			return errBodyShort
		case err == io.EOF:
			return s.flush()
		case err != nil:
			return err
		}
	}
}

// sendRaw sends a body that ends with the connection.
func (s *sender) sendRaw(body exchange.Body) error {
	for {
		if len(s.b) > 0 && (cap(s.b)-len(s.b) < minRoom+tailRoom || body.Buffered() == 0) {
			if err := s.flush(); err != nil {
				return err
			}
		}
		n, err := body.Read(s.room(s.started))
		s.total += int64(n)
		s.b = s.b[:len(s.b)+n]
		if err == io.EOF {
			return s.flush()
		}
		if err != nil {
			return err
		}
	}
}

// sendChunked sends a body in chunks (RFC 9112, 7.1), one for each write, and
// its trailer fields, which are complete once the body ends.
func (s *sender) sendChunked(body exchange.Body, trailer *exchange.Header) error {
	for {
		if len(s.b) > 0 && (cap(s.b)-len(s.b) < minRoom+tailRoom+sizeRoom || body.Buffered() == 0) {
			if err := s.flush(); err != nil {
				return err
			}
		}
		s.room(s.started)
		before := len(s.b)
		s.b = s.b[:before+sizeRoom]
		size, err := s.gather(body)
		if err != nil && err != io.EOF {
			return err
		}
		start := s.frame(before, size)
		if err == io.EOF {
			s.b = append(s.b, "0\r\n"...)
			s.b = appendTrailer(s.b, trailer)
		}
		if err2 := s.flushFrom(start); err2 != nil || err == io.EOF {
			return err2
		}
	}
}

// gather reads what the body gives without waiting, at least one byte.
func (s *sender) gather(body exchange.Body) (size int, err error) {
	for {
		n, err := body.Read(s.b[len(s.b) : cap(s.b)-tailRoom])
		size += n
		s.total += int64(n)
		s.b = s.b[:len(s.b)+n]
		if err != nil || size > 0 && (cap(s.b)-len(s.b) < minRoom+tailRoom || body.Buffered() == 0) {
			return size, err
		}
	}
}

// frame puts the size line before the last size bytes and the line end behind
// them. The line is as long as it must be, so what stands before it moves up;
// the message begins at start.
func (s *sender) frame(before, size int) (start int) {
	if size == 0 {
		s.b = s.b[:before]
		return 0
	}
	var line [sizeRoom]byte
	l := append(strconv.AppendUint(line[:0], uint64(size), 16), '\r', '\n')
	start = sizeRoom - len(l)
	copy(s.b[start:], s.b[:before])
	copy(s.b[start+before:], l)
	s.b = append(s.b, '\r', '\n')
	return start
}
