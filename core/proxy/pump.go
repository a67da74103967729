package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bufpool"
	"penstock.dev/penstock/core/snapshot"
)

// pump hands bytes on between two connections: one goroutine for each direction. A
// direction that has ended in an orderly way ends for the other side too, and the
// other one goes on (RFC 9293, 3.6). A connection that is cut is reset on both sides.
type pump struct {
	pool             *bufpool.Pool
	client, upstream *end
	counters         *snapshot.RawCounters
	idle             time.Duration // of both directions
	began            time.Time
	last             atomic.Int64 // when a byte moved, in nanoseconds since began
	// Each is written by one of the two goroutines.
	received, sent int64

	once  sync.Once
	fault *exchange.Error // why it ended before both sides had; set by once
}

var (
	errIdle    = errors.New("no byte came either way")
	errDrained = errors.New("the proxy ends")
)

// run returns when both directions are over.
func (p *pump) run() {
	p.touch()
	var wg sync.WaitGroup
	wg.Go(func() { p.move(p.upstream, p.client, &p.sent) })
	p.move(p.client, p.upstream, &p.received)
	wg.Wait()
}

// begin sends what goes before all else; own bytes of it are the client's.
func (p *pump) begin(b []byte, own int64) {
	if err := p.upstream.write(b, p.idle); err != nil {
		p.cut(err, p.upstream)
		return
	}
	p.received += own
	p.counters.Moved(own, 0)
}

// move hands on what src sends until it ends.
func (p *pump) move(src, dst *end, total *int64) {
	bulk := src.tcp != nil && dst.tcp != nil
	for {
		b, n, err := p.next(src)
		if err == nil {
			err = p.hand(dst, b.Bytes[:n], total)
			full := n == len(b.Bytes)
			p.pool.Put(b)
			if err != nil {
				p.cut(err, dst)
				return
			}
			if bulk && full {
				if err = p.splice(src, dst, total); err == nil {
					continue
				}
			}
		}
		if err == nil {
			continue
		}
		if err != io.EOF {
			p.cut(err, src)
		} else if err := dst.closeWrite(p.idle); err != nil {
			p.cut(err, dst)
		}
		return
	}
}

// next waits for bytes, without a buffer while it waits.
func (p *pump) next(src *end) (*bufpool.Buffer, int, error) {
	for {
		if src.readBy.IsZero() {
			src.armRead(p.began.Add(time.Duration(p.last.Load()) + p.idle))
		}
		b, n, err := src.next(p.pool)
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return b, n, err
		}
		src.readBy = time.Time{}
		if p.quiet() {
			return nil, 0, errIdle
		}
	}
}

// hand writes bytes and counts them.
func (p *pump) hand(dst *end, b []byte, total *int64) error {
	p.touch()
	if err := dst.write(b, p.idle); err != nil {
		return err
	}
	p.count(int64(len(b)), total)
	return nil
}

func (p *pump) count(n int64, total *int64) {
	*total += n
	if total == &p.received {
		p.counters.Moved(n, 0)
	} else {
		p.counters.Moved(0, n)
	}
}

// Bytes that are moved inside the kernel at once, and how long that may take: then
// it is no bulk any more.
const (
	spliceRound = 256 << 10
	spliceTime  = time.Second
)

// splice moves bytes from socket to socket as long as they come fast; nil: they no
// longer do. A read that ends at its deadline loses none.
func (p *pump) splice(src, dst *end, total *int64) error {
	for {
		now := time.Now()
		src.armRead(now.Add(min(spliceTime, p.idle)))
		dst.armWrite(now, p.idle)
		round := io.LimitedReader{R: src.tcp, N: spliceRound}
		n, err := dst.tcp.ReadFrom(&round)
		if n > 0 {
			p.touch()
			p.count(n, total)
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(dst.writeBy):
			src.readBy = time.Time{}
			return nil
		case err != nil:
			return err
		case round.N > 0:
			return io.EOF
		}
	}
}

func (p *pump) touch() { p.last.Store(int64(time.Since(p.began))) }

// quiet reports whether nothing moved for the idle time.
func (p *pump) quiet() bool { return time.Since(p.began)-time.Duration(p.last.Load()) >= p.idle }

// cut ends both directions because of an error of one end. What was cut must not
// look like an end.
func (p *pump) cut(err error, at *end) {
	p.once.Do(func() {
		side, reason := exchange.SideUpstream, "connection-cut"
		if at == p.client {
			side = exchange.SideClient
		}
		switch {
		case err == errIdle:
			side, reason = exchange.SideProxy, "idle"
		case errors.Is(err, os.ErrDeadlineExceeded): // it takes nothing
			reason = "idle"
		case errors.Is(err, net.ErrClosed):
			side, reason, err = exchange.SideProxy, "drained", errDrained
		}
		p.fault = &exchange.Error{Phase: exchange.PhaseResponseBody, Side: side, Status: 502, Reason: reason, Err: err}
	})
	p.client.abort()
	p.upstream.abort()
}
