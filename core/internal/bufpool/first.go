package bufpool

import (
	"io"
	"syscall"
)

// First waits for a socket's next bytes without holding a buffer. The zero value is
// ready; it is for one goroutine at a time, and allocates once.
type First struct {
	// What the callback finds, and what it needs.
	call func(fd uintptr) bool
	pool *Pool
	buf  *Buffer
	n    int
	err  error
}

// Read returns the first n bytes that come in a Medium buffer of p, which is the
// caller's to put back. An error is raw's, as that of a deadline, the system's, or
// io.EOF.
func (f *First) Read(raw syscall.RawConn, p *Pool) (b *Buffer, n int, err error) {
	f.pool = p
	if f.call == nil {
		f.call = f.try
	}
	if err := raw.Read(f.call); err != nil {
		return nil, 0, err
	}
	b, n, err = f.buf, f.n, f.err
	f.buf, f.err = nil, nil
	if err == nil && n > 0 {
		return b, n, nil
	}
	p.Put(b)
	if err == nil {
		err = io.EOF
	}
	return nil, 0, err
}

// try is called when the socket may be ready; false waits until it is.
func (f *First) try(fd uintptr) bool {
	b := f.pool.Get(Medium)
	for {
		n, err := syscall.Read(int(fd), b.Bytes)
		switch err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			f.pool.Put(b)
			return false
		}
		f.buf, f.n, f.err = b, n, err
		return true
	}
}
