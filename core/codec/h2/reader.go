package h2

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"syscall"

	"penstock.dev/penstock/core/internal/bufpool"
)

// reader is a connection's read buffer. While it waits with nothing buffered it
// holds none.
type reader struct {
	c      *mux
	raw    syscall.RawConn // nil: not a socket
	lent   *bufpool.Buffer
	buf    []byte
	r, end int
	big    bool // the last read filled the buffer

	// For the callback, which is made once.
	first func(fd uintptr) bool
	n     int
	err   error
}

func (in *reader) init(c *mux) {
	in.c = c
	if sc, ok := c.nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			in.raw, in.first = raw, in.readFirst
		}
	}
}

func (in *reader) preread(b []byte) {
	in.lent = in.c.pool.Get(max(len(b), bufpool.Medium))
	in.buf = in.lent.Bytes
	in.r, in.end = 0, copy(in.buf, b)
}

// take takes a buffer from the pool.
func (in *reader) take() {
	size := bufpool.Medium
	if in.big {
		size = bufpool.Large
	}
	in.lent = in.c.pool.Get(size)
	in.buf = in.lent.Bytes
	in.r, in.end = 0, 0
}

func (in *reader) release() {
	in.c.pool.Put(in.lent)
	in.lent, in.buf, in.r, in.end = nil, nil, 0, 0
}

// preface reads the client's (RFC 9113, 3.4). Bytes that cannot become one end
// it at once.
func (in *reader) preface() error {
	for seen := 0; seen < len(Preface); {
		if in.end-in.r == 0 {
			if err := in.fill(); err != nil {
				return err
			}
		}
		n := min(in.end-in.r, len(Preface)-seen)
		if string(in.buf[in.r:in.r+n]) != Preface[seen:seen+n] {
			return connError{codeProtocol, "preface"}
		}
		seen += n
		in.r += n
	}
	return nil
}

// next reads one frame; its payload lives until the next call.
func (in *reader) next() (f frame, err error) {
	if err := in.need(frameHeaderLen); err != nil {
		return f, err
	}
	h := in.buf[in.r:]
	size := int(h[0])<<16 | int(h[1])<<8 | int(h[2])
	f.kind, f.flags = h[3], h[4]
	f.id = binary.BigEndian.Uint32(h[5:]) & (1<<31 - 1)
	if !in.c.greeted && (f.kind != frameSettings || f.has(flagAck)) {
		return f, connError{codeProtocol, "no-settings"}
	}
	if size > leastFrameSize {
		return f, connError{codeFrameSize, "frame-size"}
	}
	if err := in.need(frameHeaderLen + size); err != nil {
		return f, err
	}
	start := in.r + frameHeaderLen
	f.payload = in.buf[start : start+size]
	in.r = start + size
	return f, nil
}

// need reads until n bytes are buffered.
func (in *reader) need(n int) error {
	for in.end-in.r < n {
		if in.end > in.r && len(in.buf)-in.r < n {
			in.move(n)
		}
		if err := in.fill(); err != nil {
			return err
		}
	}
	return nil
}

// move moves what is buffered to the front, of a larger buffer if n bytes do
// not fit into this one.
func (in *reader) move(n int) {
	if n <= len(in.buf) {
		in.end = copy(in.buf, in.buf[in.r:in.end])
		in.r = 0
		return
	}
	next := in.c.pool.Get(n)
	in.end = copy(next.Bytes, in.buf[in.r:in.end])
	in.c.pool.Put(in.lent)
	in.lent, in.buf, in.r = next, next.Bytes, 0
}

// fill reads at least one byte more.
func (in *reader) fill() error {
	for {
		if err := in.c.ready(); err != nil {
			return err
		}
		n, err := in.read()
		if n > 0 {
			in.end += n
			in.big = in.end == len(in.buf)
			return nil
		}
		if err == nil {
			return io.ErrNoProgress
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		in.c.disarm()
	}
}

func (in *reader) read() (int, error) {
	if in.end > in.r {
		return in.c.nc.Read(in.buf[in.end:])
	}
	in.release()
	if in.raw == nil {
		in.take()
		return in.c.nc.Read(in.buf)
	}
	if err := in.raw.Read(in.first); err != nil {
		return 0, err
	}
	n, err := in.n, in.err
	in.err = nil
	if err == nil && n == 0 {
		err = io.EOF
	}
	return max(n, 0), err
}

// readFirst reads into a buffer from the pool, or leaves none where there is
// nothing to read.
func (in *reader) readFirst(fd uintptr) bool {
	in.take()
	for {
		in.n, in.err = syscall.Read(int(fd), in.buf)
		switch in.err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			in.release()
			in.err = nil
			return false
		}
		return true
	}
}
