package h1

import (
	"errors"
	"io"
	"os"
	"time"

	"penstock.dev/penstock/core/exchange"
)

// How much is moved at once. The deadlines are armed anew for each round, so
// the first is what a slow client must take within the idle timeout; it grows
// for a fast one.
const (
	spliceLeast = 64 << 10
	spliceMost  = 256 << 10
)

// A slow client needs no measure there: it must take a round within the idle timeout.

// spliceable returns the body if the rest of it can go from socket to socket
// inside the kernel, which pays for large ones only.
func spliceable(body exchange.Body, w *wire, length int64) *responseBody {
	b, ok := body.(*responseBody)
	if !ok || b.c == nil || w.tcp == nil || b.c.w.tcp == nil || b.c.duplex || b.form != formLength || b.left != length ||
		b.x.BodyIdle(0) > 0 || length-int64(b.Buffered()) < spliceLeast {
		return nil
	}
	return b
}

// splice sends what is gathered, what src holds in its buffer, and the rest of
// its length from socket to socket. After an error bytes may be lost between
// the two: both connections are of no use.
func (s *sender) splice(src *responseBody) error {
	for src.Buffered() > 0 {
		n, err := src.Read(s.room(false))
		s.total += int64(n)
		s.b = s.b[:len(s.b)+n]
		if err != nil {
			return err
		}
		if cap(s.b)-len(s.b) < minRoom+tailRoom {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
	if err := s.flush(); err != nil {
		return err
	}
	in := &src.c.w
	in.interrupted.Store(false)
	in.readBy = time.Time{}
	round, began := int64(spliceLeast), time.Now()
	for src.left > 0 {
		in.armRead(began, src.x.BodyIdle(s.idle))
		s.w.armWrite(began, s.idle)
		s.limited = io.LimitedReader{R: in.tcp, N: min(round, src.left)}
		src.wait()
		n, err := s.w.tcp.ReadFrom(&s.limited)
		silent := src.proceed()
		src.left -= n
		src.total += n
		s.total += n
		if err != nil && in.wasInterrupted(err) && time.Now().Before(s.w.writeBy) { // nothing is between the two
			if err := src.look(silent); err != nil {
				return src.giveUp(err)
			}
			continue
		}
		if err != nil || n == 0 {
			return s.spliceFailed(src, err)
		}
		now := time.Now()
		if now.Sub(began) < time.Second {
			round = min(round*4, spliceMost)
		} else {
			round = spliceLeast
		}
		began = now
	}
	src.err = io.EOF
	src.finish(true)
	return nil
}

// spliceFailed ends both sides. Which of them failed cannot be told but where
// the upstream just ended; the client is the more likely otherwise.
func (s *sender) spliceFailed(src *responseBody, err error) error {
	s.failed = err != nil
	switch {
	case err == nil:
		err = io.ErrUnexpectedEOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errTimeout
	}
	src.err = err
	src.finish(false)
	if s.failed {
		return err
	}
	return responseError(err)
}
