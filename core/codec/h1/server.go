package h1

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bufpool"
	"penstock.dev/penstock/core/telemetry"
)

// Server serves client connections. It is made once and used by all of them;
// its methods are safe for use by several goroutines.
type Server struct {
	handler  exchange.Handler
	rejected func(conn *exchange.Conn, status int, reason string)
	refusals map[*Refused]telemetry.Counter
	pool     bufpool.Pool
	date     rfc9110.Date
	lookout  lookout
}

// NewServer returns a Server that hands exchanges to h. rejected, if it is not
// nil, is told of every request that the codec itself refused, on the
// connection's goroutine. Refusals are counted in
// penstock_codec_rejected_total, by reason.
func NewServer(h exchange.Handler, m *telemetry.Metrics, rejected func(conn *exchange.Conn, status int, reason string)) *Server {
	s := &Server{handler: h, rejected: rejected, refusals: map[*Refused]telemetry.Counter{}}
	c := m.Counters("penstock_codec_rejected_total", "Requests that the HTTP codec refused.", "reason")
	for _, r := range refusals() {
		s.refusals[r] = c.With(r.Reason)
	}
	return s
}

// Conn is one client connection in service. It is the exchange.Client of its
// exchanges.
type Conn struct {
	server *Server
	w      wire
	in     reader
	p      *config.ProxyParameters
	lim    limits
	hd     head
	x      exchange.Exchange
	body   requestBody
	// response is for the codec of upstreams: one allocation less per exchange.
	response responseBody
	out      sender

	draining atomic.Bool
	tunnel   atomic.Pointer[pair] // that the connection has become; nil: none
	waiting  atomic.Bool          // between exchanges, or in a tunnel

	last    bool // no exchange follows this one
	linger  bool // the client may still send: close in two steps
	reset   bool // a response was cut short
	sent    bool // Send was called
	head    bool // the client sent HEAD, whatever a filter makes of it
	watcher *watcher

	lucky   uint8  // how often others were served before the next request was looked for
	served  bool   // there was a request
	prior   bool   // prior knowledge of HTTP/2 is accepted
	preface []byte // what was read of its preface, and behind it

	// 100 (Continue) is sent by whoever reads the body, the final response by
	// the exchange's goroutine.
	mu     sync.Mutex
	expect bool // the client waits for a 100 that was not sent yet
}

// NewConn readies nc, which conn describes, for Serve. p is for its whole life.
func (s *Server) NewConn(nc net.Conn, conn *exchange.Conn, p *config.ProxyParameters) *Conn {
	c := &Conn{server: s, p: p, lim: limits{line: p.RequestLineBytes, bytes: p.HeaderBytes, fields: p.HeaderFields}}
	c.w.init(nc, &s.pool)
	c.in = reader{w: &c.w, pool: &s.pool}
	c.out = sender{w: &c.w, pool: &s.pool, idle: p.IdleTimeout}
	c.x.Conn, c.x.Client = conn, c
	c.body.c = c
	c.body.content = content{in: &c.in, idle: p.IdleTimeout, lim: &c.lim, trusted: conn.Trusted}
	return c
}

// Serve serves exchanges until the client or Drain ends it, and closes the
// connection. It is called once, on the connection's own goroutine.
func (c *Conn) Serve() {
	defer c.close()
	for c.next() {
		c.prior, c.served = false, true
		c.server.handler.Serve(&c.x)
		if !c.finish() {
			return
		}
	}
}

// AcceptPriorKnowledge makes Serve return with the connection left open if the
// client begins with HTTP/2's preface (RFC 9113, 3.3). To be called before Serve.
func (c *Conn) AcceptPriorKnowledge() { c.prior = true }

// PriorKnowledge returns, once Serve has returned, all that was read from a
// client that speaks HTTP/2: the connection is the caller's then. nil: it does
// not, and the connection is closed.
func (c *Conn) PriorKnowledge() (read []byte) { return c.preface }

// handOver keeps what was read if it is the beginning of HTTP/2's preface.
func (c *Conn) handOver() bool {
	if !c.prior || !bytes.HasPrefix(c.in.buffered(), []byte("PRI * HTTP/2.0\r\n")) {
		return false
	}
	c.preface = bytes.Clone(c.in.buffered())
	c.in.release()
	return true
}

// Drain lets the exchange in flight finish and closes the connection then; at
// once if there is none, but for a new connection, whose first request is served. A WebSocket client is told to go (1001). It may be called
// by any goroutine.
func (c *Conn) Drain() {
	c.draining.Store(true)
	if t := c.tunnel.Load(); t != nil {
		t.closing.Store(true) // what comes from now on is not passed on; goAway does the rest
	}
	if c.waiting.Load() {
		c.w.interrupt()
	}
}

// Abort closes the connection whatever it does, a tunnel at both ends. It may be
// called by any goroutine.
func (c *Conn) Abort() {
	if t := c.tunnel.Load(); t != nil {
		t.abort()
		return
	}
	c.w.abort()
}

// next reads the next request head; false ends the connection.
func (c *Conn) next() bool {
	c.x.Reset()
	c.sent, c.last = false, false
	if c.in.r == c.in.end && !c.await() {
		return false
	}
	c.x.Start = time.Now()
	err := c.readHead()
	c.head = isHead(&c.x)
	if err != nil {
		var refused *Refused
		if errors.As(err, &refused) && (refused != errVersion || !c.handOver()) {
			c.refuse(refused)
		}
		return false
	}
	return true
}

// await waits for a request's first byte; it holds no buffer while it does.
func (c *Conn) await() bool {
	c.in.release()
	c.x.Arena.Release()
	c.w.armRead(time.Now(), c.p.IdleTimeout)
	// The next request is not here yet; serve others before looking for it. That it is
	// there then, without a wait, saves two system calls; but while all that run are so
	// lucky the runtime does not look for connections that wait, so that luck is bounded.
	if c.lucky++; c.lucky%luckMost != 0 {
		runtime.Gosched()
	}
	c.waiting.Store(true)
	defer c.waiting.Store(false)
	for {
		if c.draining.Load() {
			if c.served {
				return false
			}
			c.w.armRead(time.Now(), firstWait)
		}
		err := c.in.first()
		if err != errInterrupted {
			return err == nil
		}
	}
}

// luckMost is how many requests in a row are served without a wait for each.
const luckMost = 16

// firstWait is how long a draining connection that has carried nothing yet waits
// for its first request: a client sends one as soon as it is connected, and cannot
// know that it came too late.
const firstWait = time.Second

// readHead reads and parses a head; what is buffered comes first.
func (c *Conn) readHead() error {
	fresh := 0 // where bytes begin that were not looked at
	for seen := 0; ; {
		b := c.in.buffered()
		if newline(b[fresh:]) || len(b) >= 2*seen {
			n, refused := parseRequest(b, &c.lim, &c.hd, &c.x)
			if refused != nil {
				return refused
			}
			if n > 0 {
				c.in.take(n)
				c.in.pin()
				c.begin()
				return nil
			}
			seen = len(b)
		}
		fresh = len(b)
		// The timeout runs from the first byte, however often bytes come.
		left := c.p.HeaderTimeout - time.Since(c.x.Start)
		if left <= 0 {
			return errHeaderTimeout
		}
		switch err := c.in.fill(left); err {
		case nil, errInterrupted:
		case errTimeout:
			return errHeaderTimeout
		default:
			return err
		}
	}
}

func newline(b []byte) bool {
	for _, c := range b {
		if c == '\n' {
			return true
		}
	}
	return false
}

// begin sets the request's body up from its head.
func (c *Conn) begin() {
	q, hd := &c.x.Request, &c.hd
	// What follows a CONNECT is for a tunnel, never another request.
	c.last = hd.close || q.Version == exchange.HTTP10 && !hd.keepAlive || q.Connect()
	if hd.upgrades == 1 && hd.switches && !q.Connect() && q.Version >= exchange.HTTP11 && hd.length <= 0 && !hd.chunked && switchable(hd.upgrade) {
		q.Upgrade = hd.upgrade
	}
	switch {
	case hd.chunked:
		c.body.start(formChunked, -1, &q.Trailer)
		q.Body, q.ContentLength = &c.body, -1
	case hd.length > 0:
		c.body.start(formLength, hd.length, &q.Trailer)
		q.Body, q.ContentLength = &c.body, hd.length
	default:
		c.body.start(formNone, 0, &q.Trailer)
		q.Body, q.ContentLength = nil, 0
		c.expect = false
		return
	}
	// A client that began to send the body does not wait (RFC 9110, 10.1.1).
	c.expect = hd.expect && q.Version >= exchange.HTTP11 && c.in.r == c.in.end
}

// finish ends an exchange; false if the connection ends with it.
func (c *Conn) finish() bool {
	c.stopWatch()
	c.body.Close()
	if !c.sent || c.reset {
		return false
	}
	if !c.body.discard() || c.last {
		return false
	}
	c.in.unpin()
	return true
}

// refuse answers a request that is not accepted, and closes.
func (c *Conn) refuse(r *Refused) {
	c.server.refusals[r].Inc()
	if c.server.rejected != nil {
		c.server.rejected(c.x.Conn, r.Status, r.Reason)
	}
	c.answer(r.Status)
	c.linger = true
}

// How a connection is closed that the client may still be sending on. A client
// on a fast network sends many MiB before it looks at the answer; time is the
// bound that counts.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 256 << 20
)

// close closes the connection. Where the client may be sending, reading on for
// a moment keeps its unread bytes from destroying our answer (RFC 9112, 9.6).
func (c *Conn) close() {
	if c.preface != nil {
		return
	}
	c.stopWatch()
	c.x.Response.Abandon() // the handler gave up, or panicked
	if c.in.r < c.in.end || c.draining.Load() && c.sent {
		c.linger = true
	}
	c.in.release()
	c.x.Arena.Release()
	c.out.release()
	if c.reset {
		c.w.reset()
	} else if half, ok := c.w.nc.(interface{ CloseWrite() error }); ok && c.linger && half.CloseWrite() == nil {
		c.readOn()
	}
	c.w.nc.Close()
}

// readOn reads what the client still sends, for a moment.
func (c *Conn) readOn() {
	from := c.w.nc
	if c.w.secure() { // it need not be deciphered
		_ = c.w.below.CloseWrite() // if it fails nothing is to be read either
		from = c.w.below
	}
	b := c.server.pool.Get(bufpool.Small)
	from.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyBuffer(discard{}, io.LimitReader(readOnly{from}, lingerBytes), b.Bytes)
	c.server.pool.Put(b)
}

// readOnly and discard hide methods that io.CopyBuffer would use in place of
// its buffer.
type readOnly struct{ io.Reader }

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
