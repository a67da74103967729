package h1

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"penstock.dev/penstock/core/internal/bufpool"
	"penstock.dev/penstock/core/internal/pace"
)

// errInterrupted is what a read returns after interrupt: whoever waits looks
// at what changed and reads again or gives up.
var errInterrupted = errors.New("read interrupted")

// errTimeout is what a read or write returns once its deadline has passed.
var errTimeout = errors.New("i/o timeout")

// wire is a connection with deadlines that are armed lazily: an armed one that
// is near enough is left alone, since arming costs more than parsing. One
// goroutine reads and one writes at a time; interrupt may be called by any.
type wire struct {
	nc  net.Conn
	tcp *net.TCPConn    // nil: something else
	raw syscall.RawConn // nil unless tcp
	// below is tcp, or the connection that carries TLS; nil: something else.
	below transport
	probe syscall.RawConn // of below: to look at, not to read
	one   [1]byte         // what first reads without a buffer

	readBy, writeBy time.Time // armed deadlines; zero: not known
	interrupted     atomic.Bool
	pool            *bufpool.Pool
	start           bufpool.First
	look            look
	ask             ask
}

// transport is a TCP connection, or stands for one.
type transport interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
	SetLinger(seconds int) error
}

// look is what the callback of quiet found, which is made once, so that it costs no
// allocation per call.
type look struct {
	peek func(fd uintptr)
	err  error
}

func (w *wire) init(nc net.Conn, pool *bufpool.Pool) {
	w.nc = nc
	w.pool = pool
	w.tcp, _ = nc.(*net.TCPConn)
	if secure, ok := nc.(interface{ NetConn() net.Conn }); ok { // as tls.Conn has it
		nc = secure.NetConn()
	}
	below, ok := nc.(transport)
	if !ok {
		return
	}
	raw, err := below.SyscallConn()
	if err != nil {
		w.tcp = nil
		return
	}
	w.below, w.probe = below, raw
	if w.tcp != nil {
		w.raw = raw
	}
}

// secure reports whether nc enciphers what below carries.
func (w *wire) secure() bool { return w.below != nil && w.tcp == nil }

// abort closes the connection at once: nothing is written any more, not even
// TLS's word that all was sent (RFC 8446, 6.1).
func (w *wire) abort() {
	if w.below != nil {
		w.below.Close()
		return
	}
	w.nc.Close()
}

// reset closes the connection at once with a reset, where it has one: what was cut
// must not look like an end.
func (w *wire) reset() {
	if w.below != nil {
		_ = w.below.SetLinger(0) // fails on a closed connection
	}
	w.abort()
}

// armRead makes reads fail d after now.
func (w *wire) armRead(now time.Time, d time.Duration) {
	if !pace.Near(w.readBy, now, d) {
		w.readBy = now.Add(d)
		w.rearm()
	}
}

// rearm sets the read deadline, unless an interruption is to be noticed first.
func (w *wire) rearm() {
	w.nc.SetReadDeadline(w.readBy)
	if w.interrupted.Load() {
		w.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// armWrite makes writes fail d after now.
func (w *wire) armWrite(now time.Time, d time.Duration) {
	if !pace.Near(w.writeBy, now, d) {
		w.writeBy = now.Add(d)
		w.nc.SetWriteDeadline(w.writeBy)
	}
}

// interrupt makes the read that waits, or the next one, return errInterrupted.
// It may be called by any goroutine.
func (w *wire) interrupt() {
	w.interrupted.Store(true)
	w.nc.SetReadDeadline(time.Unix(1, 0))
}

// readErr sorts out why a read failed. A deadline that is not due was set by
// interrupt: it is armed again.
func (w *wire) readErr(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if w.interrupted.Swap(false) || time.Now().Before(w.readBy) {
		w.rearm()
		return errInterrupted
	}
	w.readBy = time.Time{}
	return errTimeout
}

// wasInterrupted reports whether a read outside of read failed because of
// interrupt; the deadline is armed again then.
func (w *wire) wasInterrupted(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && w.readErr(err) == errInterrupted
}

// read reads at least one byte; the deadline is the armed one.
func (w *wire) read(p []byte) (int, error) {
	n, err := w.nc.Read(p)
	if n > 0 {
		return n, nil
	}
	if err == nil {
		return 0, io.ErrNoProgress
	}
	return 0, w.readErr(err)
}

// more reads what TLS has deciphered, or can without the socket: a read whose deadline
// has passed waits for nothing. What goes wrong shows at the next read.
func (w *wire) more(p []byte) int {
	_ = w.nc.SetReadDeadline(time.Unix(1, 0)) // fails on a closed connection, as the read then does
	n, _ := w.nc.Read(p)
	w.rearm()
	return n
}

// write writes all of p; the deadline is armed for d after now.
func (w *wire) write(p []byte, now time.Time, d time.Duration) error {
	w.armWrite(now, d)
	_, err := w.nc.Write(p)
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return errTimeout
	}
	return err
}

// first waits for bytes without holding a buffer and reads them into one from
// the pool: that is what an idle connection does.
func (w *wire) first() (*bufpool.Buffer, int, error) {
	if w.raw == nil { // TLS may hold bytes that the socket does not show
		n, err := w.read(w.one[:])
		if err != nil {
			return nil, 0, err
		}
		b := w.pool.Get(bufpool.Medium)
		return b, copy(b.Bytes, w.one[:n]), nil
	}
	b, n, err := w.start.Read(w.raw, w.pool)
	if err != nil {
		return nil, 0, w.readErr(err)
	}
	return b, n, nil
}

// quiet reports whether neither bytes nor a FIN nor an error wait on the
// connection: it may carry another request. It does not wait. Over TLS bytes may
// be of TLS itself, and a connection that is not TCP is taken to be quiet.
func (w *wire) quiet() bool {
	if w.raw == nil {
		return w.probe == nil || !w.closed()
	}
	l := &w.look
	if l.peek == nil {
		l.peek = func(fd uintptr) { _, l.err = peek(fd) }
	}
	return w.raw.Control(l.peek) == nil && l.err == syscall.EAGAIN
}

// closed reports whether the peer has closed the connection, whatever it sent
// before. It does not wait.
func (w *wire) closed() bool {
	ended := false
	err := w.probe.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: peerClosed}}
		n, err := unix.Poll(p, 0)
		ended = err == nil && n > 0 && p[0].Revents&(peerClosed|unix.POLLHUP|unix.POLLERR) != 0
	})
	return ended || err != nil
}

// peek looks at the next byte of a socket without taking it or waiting.
func peek(fd uintptr) (int, error) {
	var b [1]byte
	for {
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		if err != syscall.EINTR {
			return n, err
		}
	}
}
