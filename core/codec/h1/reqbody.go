package h1

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/pace"
)

// errBodyClosed is what reading a request body returns after it was closed.
var errBodyClosed = errors.New("request body is closed")

// requestBody is the exchange.Body of a request. Unlike others, its Close may
// be called while another goroutine reads: that Read then ends soon.
type requestBody struct {
	c      *Conn
	closed atomic.Bool
	bytes  atomic.Int64 // read so far

	answered atomic.Bool // a response has begun

	mu    sync.Mutex // held during Read; guards what follows
	meter pace.Meter
	content
}

// slowGrace is how long a client is waited for before its rate counts.
var slowGrace = pace.Grace

func (b *requestBody) start(f form, length int64, trailer *exchange.Header) {
	b.closed.Store(false)
	b.bytes.Store(0)
	b.answered.Store(false)
	b.meter = pace.Meter{}
	b.content.start(f, length, trailer)
}

// Read implements exchange.Body. The first one sends the 100 (Continue) that
// the client waits for. Its errors are *exchange.Error.
func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.closed.Load() {
		b.c.sendContinue()
		b.idle = b.c.x.BodyIdle(b.c.p.IdleTimeout)
		n, err := b.measured(p)
		b.bytes.Add(int64(n))
		switch {
		case n > 0 || err == nil || err == io.EOF:
			return n, err
		case err != errInterrupted:
			return 0, bodyError(err)
		}
	}
	return 0, bodyError(errBodyClosed)
}

// measured reads, and fails for a client that is too slow.
func (b *requestBody) measured(p []byte) (n int, err error) {
	if b.available() > 0 {
		n, err = b.content.read(p)
		b.meter.Add(int64(n), 0, 0, 0)
		return n, err
	}
	began := time.Now()
	n, err = b.content.read(p)
	c := b.c
	if !b.meter.Add(int64(n), time.Since(began), c.p.MinBytesPerSecond, slowGrace) && (err == nil || err == errInterrupted) &&
		!b.answered.Load() && c.x.BodyIdle(0) == 0 {
		c.server.refusals[errSlowRequest].Inc()
		b.err = errSlowRequest
		return 0, errSlowRequest
	}
	return n, err
}

// Buffered implements exchange.Body.
func (b *requestBody) Buffered() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.available()
}

// Close implements exchange.Body.
func (b *requestBody) Close() {
	if b.form == formNone || b.closed.Swap(true) {
		return
	}
	if !b.mu.TryLock() {
		b.c.w.interrupt()
		return
	}
	b.mu.Unlock()
}

// bodyError says what a client did wrong while it sent a body.
func bodyError(err error) error {
	e := &exchange.Error{Phase: exchange.PhaseRequestBody, Side: exchange.SideClient, Status: 400, Reason: "request-body-cut", Err: err}
	var refused *Refused
	switch {
	case err == errTimeout:
		e.Status, e.Reason = 408, "request-body-timeout"
	case err == errBodyClosed:
		e.Reason = "request-body-closed"
	case errors.As(err, &refused):
		e.Status, e.Reason = refused.Status, refused.Reason
	}
	return e
}

// How much of an unread body is read to keep its connection, and for how long.
const (
	discardBytes = 256 << 10
	discardTime  = 500 * time.Millisecond
)

// discard reads the rest of the body so that the next request can follow;
// false if that would be too much, or the body is broken. Closed before.
func (b *requestBody) discard() bool {
	b.mu.Lock() // waits for a Read in another goroutine, which Close ended
	defer b.mu.Unlock()
	if b.done() {
		return true
	}
	c := b.c
	c.linger = true
	if c.last || b.err != nil {
		return false
	}
	buf := c.server.pool.Get(discardBytes / 16)
	defer c.server.pool.Put(buf)
	until := time.Now().Add(discardTime)
	defer func(d time.Duration) { b.idle = d }(b.idle)
	for limit := b.total + discardBytes; b.total < limit; {
		if b.idle = time.Until(until); b.idle <= 0 {
			return false
		}
		_, err := b.content.read(buf.Bytes)
		if err == io.EOF {
			c.linger = false
			return true
		}
		if err != nil && err != errInterrupted {
			return false
		}
	}
	return false
}

// discardable reports whether discard can be expected to succeed, so that the
// response need not announce that the connection closes.
func (b *requestBody) discardable() bool {
	if b.form == formNone {
		return true
	}
	if !b.mu.TryLock() {
		return true // somebody is reading it
	}
	defer b.mu.Unlock()
	return b.done() || b.err == nil && (b.form == formChunked || b.left <= discardBytes)
}

var _ exchange.Body = (*requestBody)(nil)
