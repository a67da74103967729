package h1

import (
	"errors"
	"io"
	"syscall"
	"time"
)

// ErrStale means that the upstream closed an idle connection, or sent
// something on it. Nothing was sent: the request may go on another connection.
var ErrStale = errors.New("idle connection is of no use any more")

// askStep is what an ask does next.
type askStep uint8

const (
	askNothing askStep = iota
	askCheck           // that neither bytes nor a FIN wait
	askWrite
	askFinish // write the rest, which the socket's buffer did not take
	askRead
)

// ask sends a small request and reads the first part of its response in one go.
// The look at an idle connection, which must find nothing, is at the same time
// the read that fails before the goroutine may sleep: one system call less.
type ask struct {
	step askStep
	out  []byte // to be written
	in   []byte // to read into
	n    int
	err  error
	try  func(fd uintptr) bool // made once
}

// start readies w to send out, which stays until the ask has ended.
func (w *wire) startAsk(out []byte, reused bool) {
	a := &w.ask
	a.step, a.out = askWrite, out
	if reused {
		a.step = askCheck
	}
	if a.try == nil {
		a.try = a.run
	}
}

// finishAsk goes on with the ask until at least one byte of the response is
// in p. After errInterrupted it is to be called again.
func (w *wire) finishAsk(p []byte, idle time.Duration) (int, error) {
	a := &w.ask
	a.in = p
	defer func() { a.in = nil }()
	if a.step != askFinish {
		if err := w.raw.Read(a.try); err != nil {
			return 0, w.readErr(err)
		}
	}
	if a.step == askFinish {
		if err := w.write(a.out, time.Now(), idle); err != nil {
			return 0, err
		}
		a.step = askNothing
		return w.read(p)
	}
	step, n, err := a.step, a.n, a.err
	a.n, a.err = 0, nil
	if err == nil && step == askRead {
		a.step, a.out = askNothing, nil
		if n == 0 {
			err = io.EOF
		}
	}
	return n, err
}

// run is called when the socket may be ready; false waits until it is.
func (a *ask) run(fd uintptr) bool {
	if a.step == askCheck {
		if _, err := peek(fd); err != syscall.EAGAIN {
			a.err = ErrStale
			return true
		}
		a.step = askWrite
	}
	if a.step == askWrite {
		n, err := again(syscall.Write, fd, a.out)
		if err != nil && err != syscall.EAGAIN {
			a.err = err
			return true
		}
		if n = max(n, 0); n < len(a.out) {
			a.step, a.out = askFinish, a.out[n:]
			return true
		}
		a.step = askRead
		return false
	}
	n, err := again(syscall.Read, fd, a.in)
	if err == syscall.EAGAIN {
		return false
	}
	a.n, a.err = max(n, 0), err
	return true
}

// again repeats a system call that a signal interrupted.
func again(call func(int, []byte) (int, error), fd uintptr, p []byte) (int, error) {
	for {
		n, err := call(int(fd), p)
		if err != syscall.EINTR {
			return n, err
		}
	}
}
