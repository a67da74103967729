package proxy

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bufpool"
	"penstock.dev/penstock/core/snapshot"
)

// flow is the datagrams of one client, and the socket to the endpoint that they go
// to. Send is called by one goroutine at a time, Serve by another one.
type flow struct {
	h        *Raw
	up       link
	raw      syscall.RawConn
	reply    func([]byte) error
	idle     time.Duration
	counters *snapshot.RawCounters
	record   exchange.Raw
	last     atomic.Int64 // when a datagram came either way, in nanoseconds since Start
	closed   atomic.Bool
	draining atomic.Bool
	received atomic.Int64

	// Of Send: the callback is made once, so that a datagram costs no allocation.
	send    func(fd uintptr) bool
	out     []byte
	sendErr error
	// Of Serve.
	receive func(fd uintptr) bool
	buf     *bufpool.Buffer
	n       int
	err     error
}

var _ exchange.Flow = (*flow)(nil)

// OpenFlow implements listener.FlowHandler: the first datagram chooses the backend
// and the endpoint for those that follow.
func (h *Raw) OpenFlow(about *exchange.Conn, reply func([]byte) error) exchange.Flow {
	f := &flow{h: h, reply: reply, record: exchange.Raw{Conn: about, Protocol: "udp", Start: time.Now()}}
	c, err := h.choose(about, &f.record)
	if err == nil && len(c.chains) > 0 {
		err = fault(exchange.PhaseRequest, exchange.SidePlugin, 503, "plugins-not-applicable", errDatagrams)
	}
	if err == nil {
		err = f.dial(c.backend)
	}
	if err != nil { // no log line: whoever can send datagrams could fill the disk
		c.counters.Refused()
		return nil
	}
	f.counters, f.idle = c.backend.Counters, c.backend.Upstream.Parameters().UDPIdleTimeout
	f.send, f.receive = f.sendOne, f.receiveOne
	f.touch()
	return f
}

func (f *flow) dial(b *snapshot.RawBackend) *exchange.Error {
	up, err := b.Upstream.DialPacket()
	f.record.Endpoint, f.record.Attempts = up.Endpoint, up.Tries
	if err != nil {
		return err
	}
	socket, ok := tcpOf(up).(*net.UDPConn)
	if !ok {
		panic("BUG: a flow that is no UDP socket")
	}
	raw, failed := socket.SyscallConn()
	if failed != nil {
		_ = up.Close() // nothing was sent
		return fault(exchange.PhaseSend, exchange.SideProxy, 502, "connect-failed", failed)
	}
	f.up, f.raw = up, raw
	return nil
}

// Send implements exchange.Flow.
func (f *flow) Send(b []byte) (sent, over bool) {
	if f.closed.Load() || f.up.Stale() {
		return false, true
	}
	f.touch()
	f.out = b
	err := f.raw.Write(f.send)
	f.out = nil
	if err == nil {
		err = f.sendErr
	}
	switch {
	case err == nil:
		f.received.Add(int64(len(b)))
		f.counters.Moved(int64(len(b)), 0)
		return true, false
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, net.ErrClosed):
		return false, true
	}
	return false, false // full, or too large: lost, as in the network
}

func (f *flow) sendOne(fd uintptr) bool {
	for {
		_, f.sendErr = unix.SendmsgN(int(fd), f.out, nil, nil, unix.MSG_DONTWAIT)
		if f.sendErr != unix.EINTR {
			return true
		}
	}
}

// Serve implements exchange.Flow.
func (f *flow) Serve() {
	f.counters.Open()
	err := f.replies()
	result := snapshot.RawClosed
	if err != nil {
		result = snapshot.RawCut
		side, reason := exchange.SideUpstream, "connection-cut"
		if errors.Is(err, net.ErrClosed) {
			side, reason, err = exchange.SideProxy, "drained", errDrained
			if f.up.Stale() {
				reason, err = "endpoint-gone", errEndpointGone
			}
		}
		f.record.Err = fault(exchange.PhaseResponseBody, side, 502, reason, err)
	}
	f.closed.Store(true)
	f.record.ReceivedBytes = f.received.Load()
	f.counters.Ended(result, time.Since(f.record.Start))
	f.h.done(&f.record)
}

var errEndpointGone = errors.New("the endpoint is no longer one of the Service's")

// replies hands datagrams of the endpoint on until the flow was idle, which is nil,
// or failed.
func (f *flow) replies() error {
	f.arm()
	for {
		err := f.raw.Read(f.receive)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if time.Since(f.record.Start)-time.Duration(f.last.Load()) >= f.patience() {
				return nil
			}
			f.arm()
			continue
		}
		if err == nil {
			err = f.err
		}
		if err != nil {
			return err
		}
		f.touch()
		if err := f.reply(f.buf.Bytes[:f.n]); err == nil {
			f.record.SentBytes += int64(f.n)
			f.counters.Moved(0, int64(f.n))
		}
		f.h.pool.Put(f.buf)
		f.buf = nil
	}
}

// drainIdle is how long a flow that is to end waits for the next datagram.
const drainIdle = 2 * time.Second

func (f *flow) patience() time.Duration {
	if f.draining.Load() {
		return min(f.idle, drainIdle)
	}
	return f.idle
}

// arm makes replies stop waiting once the flow is idle: one timer for many
// datagrams.
func (f *flow) arm() {
	for {
		patience := f.patience()
		_ = f.up.SetReadDeadline(f.record.Start.Add(time.Duration(f.last.Load()) + patience)) // fails on a closed socket, as the read then does
		if f.patience() == patience {
			return
		}
	}
}

// Drain implements exchange.Flow.
func (f *flow) Drain() {
	f.draining.Store(true)
	_ = f.up.SetReadDeadline(time.Unix(1, 0)) // fails on a closed socket: it has ended
}

func (f *flow) receiveOne(fd uintptr) bool {
	b := f.h.pool.Get(bufpool.Large)
	for {
		n, err := syscall.Read(int(fd), b.Bytes)
		switch err {
		case syscall.EINTR:
			continue
		case nil:
			f.buf, f.n, f.err = b, n, nil
			return true
		}
		f.h.pool.Put(b)
		f.err = err
		return err != syscall.EAGAIN
	}
}

// Close implements exchange.Flow.
func (f *flow) Close() {
	f.closed.Store(true)
	f.up.Close()
}

func (f *flow) touch() { f.last.Store(int64(time.Since(f.record.Start))) }
