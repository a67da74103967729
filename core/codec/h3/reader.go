package h3

import (
	"errors"
	"io"
	"os"

	"github.com/quic-go/quic-go"
)

// errTruncated means that a stream ended within a frame or a number.
var errTruncated = errors.New("stream ended within a frame")

// errShort means that a frame is shorter than what it must hold.
var errShort = errors.New("frame is too short")

// reader reads numbers and frames of a stream through a buffer of its own.
type reader struct {
	src    io.Reader
	buf    []byte
	r, end int
	eof    bool // src has ended; what is buffered is the last
}

// start readies in for a stream.
func (in *reader) start(src io.Reader, buf []byte) { *in = reader{src: src, buf: buf} }

// buffered returns how many bytes there are without waiting.
func (in *reader) buffered() int { return in.end - in.r }

// fill reads at least one byte more; io.EOF if the stream has ended. There must
// be room behind what is buffered, or nothing be buffered.
func (in *reader) fill() error {
	if in.r == in.end {
		in.r, in.end = 0, 0
	}
	if in.eof {
		return io.EOF
	}
	n, err := in.src.Read(in.buf[in.end:])
	in.end += n
	if err == io.EOF {
		in.eof = true
	}
	switch {
	case n > 0:
		return nil // an error comes again
	case err == nil:
		return io.ErrNoProgress
	}
	return ended(err)
}

// ended says in our words why a stream gives no more.
func ended(err error) error {
	if err == io.EOF {
		return err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errTimeout
	}
	var reset *quic.StreamError
	if errors.As(err, &reset) {
		return errReset
	}
	return errGone
}

// varint reads a number (RFC 9000, 16). The error is io.EOF if the stream ended
// before it, errTruncated if within.
func (in *reader) varint() (uint64, error) {
	if in.r == in.end {
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
	size := 1 << (in.buf[in.r] >> 6)
	if size > len(in.buf)-in.r { // the rest goes to the front
		in.end = copy(in.buf, in.buf[in.r:in.end])
		in.r = 0
	}
	for in.buffered() < size {
		if err := in.fill(); err != nil {
			return 0, within(err)
		}
	}
	v := uint64(in.buf[in.r] & 0x3f)
	for _, c := range in.buf[in.r+1 : in.r+size] {
		v = v<<8 | uint64(c)
	}
	in.r += size
	return v, nil
}

// within makes of an end one that comes too early.
func within(err error) error {
	if err == io.EOF {
		return errTruncated
	}
	return err
}

// number is varint within a frame that has left bytes left; errShort if it is not.
func (in *reader) number(left *uint64) (uint64, error) {
	if *left == 0 {
		return 0, errShort
	}
	if in.r == in.end {
		if err := in.fill(); err != nil {
			return 0, within(err)
		}
	}
	size := uint64(1) << (in.buf[in.r] >> 6)
	if size > *left {
		return 0, errShort
	}
	*left -= size
	v, err := in.varint()
	return v, within(err)
}

// frame reads a frame's type and length; io.EOF if the stream ended before it.
func (in *reader) frame() (kind, size uint64, err error) {
	if kind, err = in.varint(); err != nil {
		return 0, 0, err
	}
	size, err = in.varint()
	return kind, size, within(err)
}

// skip reads n bytes and forgets them. pay is asked for each KiB; its error ends
// it.
func (in *reader) skip(n uint64, pay func(n int) error) error {
	for owed := 0; ; {
		k := min(in.buffered(), int(min(n, 1<<30)))
		in.r += k
		if owed += k; owed >= skipUnit {
			if err := pay(owed / skipUnit); err != nil {
				return err
			}
			owed %= skipUnit
		}
		if n -= uint64(k); n == 0 {
			return nil
		}
		if err := in.fill(); err != nil {
			return within(err)
		}
	}
}

// payload reads up to len(p) bytes of a frame that has left bytes left, at least
// one unless len(p) is 0.
func (in *reader) payload(p []byte, left uint64) (int, error) {
	if uint64(len(p)) > left {
		p = p[:left]
	}
	if n := copy(p, in.buf[in.r:in.end]); n > 0 || len(p) == 0 {
		in.r += n
		return n, nil
	}
	if in.eof {
		return 0, errTruncated
	}
	n, err := in.src.Read(p)
	if err == io.EOF {
		in.eof = true
	}
	if n > 0 {
		return n, nil
	}
	if err == nil {
		return 0, io.ErrNoProgress
	}
	return 0, within(ended(err))
}

// byte reads one byte; io.EOF if the stream has ended.
func (in *reader) byte() (byte, error) {
	if in.r == in.end {
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
	in.r++
	return in.buf[in.r-1], nil
}
