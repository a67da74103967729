package h1

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"penstock.dev/penstock/core/exchange"
)

const (
	// sliceLeast is how long a body is at least for its bytes not to be copied behind
	// the head: below it one write of both costs less.
	sliceLeast = 12 << 10
	// sliceMost is how much is written at once. The deadline is armed for each.
	sliceMost = 128 << 10
	// fileLeast is how much of a file is sent from it.
	fileLeast = 32 << 10
)

// sendSlices sends a body of exactly left bytes behind what is gathered, as sendLength.
func (s *sender) sendSlices(body exchange.Slicer, left int64) error {
	files, _ := body.(exchange.Filer)
	if s.w.raw == nil {
		files = nil
	}
	for {
		if files != nil && left >= fileLeast {
			if file, offset, n, ok := files.File(); ok {
				n = min(n, left)
				if err := s.sendFile(file, offset, n); err != nil {
					return err
				}
				files.Skip(n)
				left -= n
				continue
			}
		}
		if body.Buffered() == 0 && left > 0 {
			if err := s.flush(); err != nil {
				return err
			}
		}
		b, err := body.Next()
		left -= int64(len(b))
		s.total += int64(len(b))
		switch {
		case left < 0:
			return errBodyLong
		case err == io.EOF && left > 0:
			return errBodyShort
		case err != nil && err != io.EOF:
			return err
		case err == io.EOF:
			return s.flush()
		case left > 0:
			err = s.flushWith(b)
		default:
			return s.finish(body, b)
		}
		if err != nil {
			return err
		}
		s.release() // the head has gone, and nothing more is gathered
	}
}

// finish writes the last bytes of a body, once that has said that it is whole.
func (s *sender) finish(body exchange.Slicer, last []byte) error {
	b, err := body.Next()
	switch {
	case len(b) > 0:
		return errBodyLong
	case err != io.EOF:
		return err
	}
	return s.flushWith(last)
}

// flushWith writes what is gathered, and b behind it.
func (s *sender) flushWith(b []byte) error {
	for len(b) > sliceMost {
		if err := s.flushPart(b[:sliceMost]); err != nil {
			return err
		}
		b = b[sliceMost:]
	}
	return s.flushPart(b)
}

func (s *sender) flushPart(b []byte) error {
	if len(b) == 0 {
		return s.flush()
	}
	if s.w.tcp == nil || len(s.b) == 0 {
		if err := s.flush(); err != nil {
			return err
		}
		own := s.b
		s.b = b
		err := s.flush()
		s.b = own[:0]
		return err
	}
	now, first, n := time.Now(), !s.started, int64(len(s.b)+len(b))
	s.started = true
	s.w.armWrite(now, s.idle)
	s.two = [2][]byte{s.b, b}
	s.vector = s.two[:]
	_, err := s.vector.WriteTo(s.w.tcp)
	s.two, s.b = [2][]byte{}, s.b[:0]
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		err = errTimeout
	}
	if err == nil && s.least > 0 && !first && !s.meter.Add(n, time.Since(now), s.least, slowGrace) {
		err = errSlowResponse
	}
	s.failed = err != nil
	return err
}

// sendFile sends what is gathered, and then n bytes of a file from offset on, inside the
// kernel. A round is what a slow client must take within the idle timeout.
func (s *sender) sendFile(f *os.File, offset, n int64) error {
	if err := s.flush(); err != nil {
		return err
	}
	from := int(f.Fd())
	for n > 0 {
		now := time.Now()
		s.w.armWrite(now, s.idle)
		want, sent := int(min(n, sliceMost)), 0
		var failed error
		err := s.w.raw.Write(func(to uintptr) bool {
			for {
				at := offset
				sent, failed = unix.Sendfile(int(to), from, &at, want)
				switch failed {
				case unix.EINTR:
					continue
				case unix.EAGAIN:
					return false
				}
				return true
			}
		})
		if err == nil {
			err = failed
		}
		switch {
		case err != nil && errors.Is(err, os.ErrDeadlineExceeded):
			s.failed = true
			return errTimeout
		case err != nil:
			s.failed = true
			return err
		case sent <= 0: // the file is shorter than it was
			return io.ErrUnexpectedEOF
		}
		offset, n = offset+int64(sent), n-int64(sent)
		s.total += int64(sent)
		if s.least > 0 && !s.meter.Add(int64(sent), time.Since(now), s.least, slowGrace) {
			s.failed = true
			return errSlowResponse
		}
	}
	return nil
}
