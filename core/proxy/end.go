package proxy

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"penstock.dev/penstock/core/internal/bufpool"
	"penstock.dev/penstock/core/internal/pace"
)

// end is one side of a raw connection: TCP, or TLS over it. One goroutine reads and
// one writes at a time.
type end struct {
	nc  net.Conn
	tcp *net.TCPConn // nil: TLS
	raw syscall.RawConn

	readBy, writeBy time.Time // armed deadlines; zero: not known
	interrupted     atomic.Bool
	over            bool // it said that no more comes; of the goroutine that reads

	first bufpool.First
}

func newEnd(nc net.Conn) *end {
	e := &end{nc: nc}
	if tcp, ok := nc.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			e.tcp, e.raw = tcp, raw
		}
	}
	return e
}

// armRead makes reads fail at t, or at once if there is an interruption.
func (e *end) armRead(t time.Time) {
	e.readBy = t
	_ = e.nc.SetReadDeadline(t) // fails on a closed connection, as the read then does
	if e.interrupted.Load() {
		_ = e.nc.SetReadDeadline(time.Unix(1, 0)) // the same
	}
}

// interrupt makes the read that waits, or the next one, fail at its deadline. Any
// goroutine may call it.
func (e *end) interrupt() {
	e.interrupted.Store(true)
	_ = e.nc.SetReadDeadline(time.Unix(1, 0)) // fails on a closed connection: nobody waits
}

// armWrite makes writes fail d after now; an armed deadline that is near is left
// alone.
func (e *end) armWrite(now time.Time, d time.Duration) {
	if !pace.Near(e.writeBy, now, d) {
		e.writeBy = now.Add(d)
		_ = e.nc.SetWriteDeadline(e.writeBy) // fails on a closed connection, as the write then does
	}
}

// next waits for bytes and returns them in a buffer that is to be put back.
func (e *end) next(pool *bufpool.Pool) (*bufpool.Buffer, int, error) {
	if e.tcp == nil {
		return e.nextSecure(pool)
	}
	return e.first.Read(e.raw, pool)
}

// nextSecure waits for the first byte of a record. The rest of it is there then, and
// a read whose deadline has passed returns that and waits for nothing.
func (e *end) nextSecure(pool *bufpool.Pool) (*bufpool.Buffer, int, error) {
	var one [1]byte
	n, err := e.nc.Read(one[:])
	if n == 0 {
		if err == nil {
			err = io.ErrNoProgress
		}
		return nil, 0, err
	}
	b := pool.Get(bufpool.Medium)
	b.Bytes[0] = one[0]
	_ = e.nc.SetReadDeadline(time.Unix(1, 0)) // an error shows at the next read
	more, _ := e.nc.Read(b.Bytes[1:])         // an error comes again
	e.armRead(e.readBy)
	return b, 1 + more, nil
}

// write writes all of b, within d.
func (e *end) write(b []byte, d time.Duration) error {
	e.armWrite(time.Now(), d)
	_, err := e.nc.Write(b)
	return err
}

var errNoHalfClose = errors.New("the connection cannot be closed in one direction")

// closeWrite says that no more is to come: FIN, or TLS's close_notify (RFC 8446,
// 6.1).
func (e *end) closeWrite(d time.Duration) error {
	half, ok := e.nc.(interface{ CloseWrite() error })
	if !ok {
		return errNoHalfClose
	}
	e.armWrite(time.Now(), d)
	return half.CloseWrite()
}

// abort closes the connection at once, with a reset.
func (e *end) abort() {
	nc := e.nc
	if secure, ok := nc.(interface{ NetConn() net.Conn }); ok { // as tls.Conn has it
		nc = secure.NetConn()
	}
	if below, ok := nc.(interface{ SetLinger(int) error }); ok {
		_ = below.SetLinger(0) // fails on a closed connection
	}
	nc.Close()
}
