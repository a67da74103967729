package upstream

import (
	"runtime"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/codec/h1"
	"penstock.dev/penstock/core/codec/h2"
	"penstock.dev/penstock/core/exchange"
)

// What a connection's exchange does, as the sweeper sees it.
const (
	working  = iota
	waiting  // for the response's head, since after the last sweep
	waited   // for a sweep already
	nudging  // the sweeper interrupts it
	nudged   // and has done so
	watching // it was told; leave it alone
)

// place is where one exchange at a time is sent: a connection of HTTP/1.1, or
// room for a stream on one of HTTP/2.
type place interface {
	Write(x *exchange.Exchange, reused bool) (rest bool, err error)
	WriteRest(x *exchange.Exchange) (peer bool, err error)
	Arm(now time.Time, d time.Duration)
	ReadHead(x *exchange.Exchange) error
	Settle()
	Interrupt()
	Received() bool
	Close()
}

// conn is one exchange's connection to an endpoint, alone or as one of those
// that share it.
type conn struct {
	endpoint *endpoint
	h        place
	link     *link // that it shares; nil: it is alone
	at       int   // in endpoint.conns
	reused   bool
	used     time.Time // when its last exchange began
	state    atomic.Int32
	gone     atomic.Bool // the client has disconnected
	up       *upload     // the request's body is being sent; nil: no
}

// sweep moves a waiting exchange on, and reports whether c has one; nudge is to
// be called then, if it says so, without a lock.
func (c *conn) sweep() (waits, nudges bool) {
	if c.state.CompareAndSwap(waiting, waited) {
		return true, false
	}
	nudges = c.state.CompareAndSwap(waited, nudging)
	return nudges, nudges
}

// nudge interrupts the exchange, which stays c's until then.
func (c *conn) nudge() {
	c.h.Interrupt()
	c.state.Store(nudged)
}

// Wait tells the sweeper that the exchange waits. It looks after no endpoint that
// is gone: there an exchange looks after itself at once.
func (c *conn) Wait() {
	c.state.Store(waiting)
	if c.endpoint.left.Load() {
		if c.state.CompareAndSwap(waiting, nudging) {
			c.nudge()
		}
		return
	}
	c.endpoint.group.set.sweeper.note()
}

// Proceed ends Wait; afterwards no interruption of the sweeper is under way.
// told reports whether there was one.
func (c *conn) Proceed() (told bool) {
	for {
		s := c.state.Load()
		if s == nudging {
			runtime.Gosched()
			continue
		}
		if c.state.CompareAndSwap(s, working) {
			return s == nudged
		}
	}
}

// Upload implements exchange.Owner.
func (c *conn) Upload() (running bool, err error) {
	u := c.up
	switch {
	case u == nil:
		return false, nil
	case u.failed.Load():
		return false, u.err
	}
	return !u.ended.Load(), nil
}

// Watch implements exchange.Owner. Over HTTP/1.1 whoever reads the request's
// body sees the client's end, and only behind what the client sent before it.
func (c *conn) Watch(x *exchange.Exchange, gone func()) (stop func()) {
	if _, ok := x.Client.(*h1.Conn); ok {
		if running, _ := c.Upload(); running {
			return func() {}
		}
	}
	return x.Client.Watch(gone)
}

// released is called by the codec when the connection's part in an exchange is
// over.
func (c *conn) released(reusable bool) {
	if c.up != nil && !c.up.end() {
		if reusable {
			c.h.Close()
		}
		reusable = false
	}
	c.up = nil
	if reusable {
		c.endpoint.put(c)
	} else {
		c.endpoint.drop(c)
	}
}

// uploadGrace is how long a body may take to end after the response did. An
// upstream usually answers when it has all of it.
const uploadGrace = 50 * time.Millisecond

// bodyStopper is an exchange.Client that can free a goroutine which reads the
// request's body.
type bodyStopper interface{ StopBody() }

// bodyWaiter is a request's body that may wait for something else than bytes.
type bodyWaiter interface{ Stop() }

// upload sends a request's body on its own goroutine.
type upload struct {
	c    *conn
	x    *exchange.Exchange
	done chan struct{}
	// Set before done is closed.
	peer   bool // err is the connection's
	err    error
	ended  atomic.Bool
	failed atomic.Bool
}

// start sends what place.Write left.
func (c *conn) start(x *exchange.Exchange) {
	u := &upload{c: c, x: x, done: make(chan struct{})}
	c.up = u
	go u.run()
}

func (u *upload) run() {
	defer close(u.done)
	u.peer, u.err = u.c.h.WriteRest(u.x)
	u.failed.Store(u.err != nil && !u.peer)
	u.ended.Store(true)
	u.c.h.Interrupt() // whoever reads the response looks
}

// end waits for the upload's goroutine; what it does not finish by itself soon
// is stopped. whole reports whether all was sent.
func (u *upload) end() (whole bool) {
	select {
	case <-u.done:
		return u.err == nil
	default:
	}
	if s, ok := u.c.h.(*h2.UpstreamStream); ok && !s.Sent() { // nothing is gained by waiting: only the stream is given up
		u.abort()
		return u.err == nil
	}
	grace := time.NewTimer(uploadGrace)
	defer grace.Stop()
	select {
	case <-u.done:
		return u.err == nil
	case <-grace.C:
	}
	u.abort()
	return u.err == nil
}

// abort stops the upload and waits for it.
func (u *upload) abort() {
	u.c.h.Close()
	select {
	case <-u.done:
		return
	default:
	}
	if s, ok := u.x.Client.(bodyStopper); ok {
		s.StopBody()
		if k, ok := u.x.Request.Body.(*kept); ok {
			defer func() { k.stopped = true }()
		}
	}
	if b, ok := u.x.Request.Body.(bodyWaiter); ok {
		b.Stop()
	}
	<-u.done
}
