package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/internal/bufpool"
	"penstock.dev/penstock/core/snapshot"
)

// pump hands bytes on between two connections: one goroutine for each direction. A
// direction that has ended in an orderly way ends for the other side too, and the
// other one goes on (RFC 9293, 3.6). A connection that is cut is reset on both sides.
type pump struct {
	pool             *bufpool.Pool
	client, upstream *end
	filters          *filter.RawRun // nil: none
	counters         *snapshot.RawCounters
	idle             time.Duration // of both directions
	began            time.Time
	last             atomic.Int64 // when a byte moved, in nanoseconds since began
	// Each is written by one of the two goroutines.
	received, sent int64

	running atomic.Bool
	over    atomic.Bool // it was cut
	once    sync.Once
	fault   *exchange.Error // why it ended before both sides had; set by once
}

var (
	errIdle    = errors.New("no byte came either way")
	errDrained = errors.New("the proxy ends")
	// errReplaced: filters end for good some time after their chain was replaced.
	errReplaced = errors.New("the chain was replaced, and its time is over")
	// errInterrupted: a filter has signalled something.
	errInterrupted = errors.New("read interrupted")
)

// run sends what the upstream is told first, which is the proxy's own, then head,
// and then what comes. It returns when both directions are over.
func (p *pump) run(own, head []byte) {
	p.touch()
	if p.filters == nil { // one write for both
		own = append(own, head...)
		p.count(int64(len(head)), &p.received)
		head = nil
	}
	if len(own) > 0 {
		if err := p.upstream.write(own, p.idle); err != nil {
			p.cut(err, p.upstream)
			return
		}
	}
	move := p.move
	if p.filters != nil {
		move = p.filtered
		p.running.Store(true)
		p.interrupt() // for what was signalled until now
	}
	var wg sync.WaitGroup
	wg.Go(func() { move(p.upstream, p.client, nil, &p.sent) })
	move(p.client, p.upstream, head, &p.received)
	wg.Wait()
}

// move hands on what src sends until it ends.
func (p *pump) move(src, dst *end, _ []byte, total *int64) {
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
		} else {
			p.finish(src, dst)
		}
		return
	}
}

// finish ends a direction in an orderly way.
func (p *pump) finish(src, dst *end) {
	src.over = true
	if err := dst.closeWrite(p.idle); err != nil {
		p.cut(err, dst)
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
		if src.interrupted.Swap(false) {
			return nil, 0, errInterrupted
		}
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
		case err == errReplaced:
			side, reason = exchange.SideProxy, "chain-replaced"
		case err == errDrained, errors.Is(err, net.ErrClosed):
			side, reason, err = exchange.SideProxy, "drained", errDrained
		}
		p.fault = &exchange.Error{Phase: exchange.PhaseResponseBody, Side: side, Status: 502, Reason: reason, Err: err}
	})
	p.end()
}

// ending is what cuts a connection from outside, and why.
type ending struct {
	ctx context.Context
	err error
}

// cutWhen cuts the connection when one of these is done, until stop returned.
func (p *pump) cutWhen(all ...ending) (stop func()) {
	var running sync.WaitGroup
	var stops []func() bool
	for _, e := range all {
		running.Add(1)
		stops = append(stops, context.AfterFunc(e.ctx, func() {
			defer running.Done()
			p.cut(e.err, p.client)
		}))
	}
	return func() {
		for _, stopped := range stops {
			if stopped() {
				running.Done()
			}
		}
		running.Wait()
	}
}

// end closes both sides at once.
func (p *pump) end() {
	p.over.Store(true)
	p.client.abort()
	p.upstream.abort()
	if p.filters != nil {
		p.filters.Wake()
	}
}
