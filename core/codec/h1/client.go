package h1

import (
	"bytes"
	"errors"
	"net"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bufpool"
)

// Buffers is memory that connections to upstreams share while they are busy.
// The zero value is ready.
type Buffers struct{ pool bufpool.Pool }

// UpstreamConn is one connection to an upstream. It carries one exchange after
// another: Write, ReadHead, then the response's Body to its end. It belongs to
// the exchange's goroutine but for the methods that say otherwise.
type UpstreamConn struct {
	w    wire
	in   reader
	out  sender
	hd   head
	lim  limits
	body *responseBody // of the exchange in flight
	p    *config.ProxyParameters
	free func(reusable bool)

	owner    exchange.Owner // nil: none
	duplex   bool           // WriteRest sends the body while the response is read
	received bool           // bytes of the response came
	keep     bool           // what was read so far allows another exchange
}

// Errors of ReadHead that a caller branches on.
var (
	// ErrInterrupted means that Interrupt was called: ReadHead may be called again.
	ErrInterrupted = errInterrupted
	// ErrTimeout means that the deadline passed.
	ErrTimeout = errTimeout
)

// NewUpstreamConn readies nc. free is called when the connection's part in an
// exchange is over, after ReadHead returned a head: reusable is false if it was
// closed. It is called on the goroutine that reads the response's body, before
// that Read returns.
func NewUpstreamConn(nc net.Conn, b *Buffers, p *config.ProxyParameters, free func(reusable bool)) *UpstreamConn {
	c := &UpstreamConn{p: p, free: free, lim: limits{line: p.RequestLineBytes, bytes: p.HeaderBytes, fields: p.HeaderFields}}
	c.w.init(nc, &b.pool)
	c.in = reader{w: &c.w, pool: &b.pool}
	c.out = sender{w: &c.w, pool: &b.pool, idle: p.IdleTimeout}
	return c
}

// Close closes the connection; whoever reads or writes gets an error. It may be
// called by any goroutine.
func (c *UpstreamConn) Close() { c.w.nc.Close() }

// Interrupt makes ReadHead, now or when it is next called, return
// ErrInterrupted. It may be called by any goroutine.
func (c *UpstreamConn) Interrupt() { c.w.interrupt() }

// Received reports whether any byte of the response came.
func (c *UpstreamConn) Received() bool { return c.received }

// inlineBytes is how much of a body is sent in one write with the head.
const inlineBytes = 8 << 10

// Write sends the head of x's request and as much of its body as is there
// without waiting; rest reports whether WriteRest has to send more. A request
// without a body is only readied: ReadHead sends it. reused is for a
// connection that was idle: it is looked at before a byte is sent. An error is
// ErrStale, ErrInvalidMessage, an *exchange.Error of the body, or of the
// connection.
func (c *UpstreamConn) Write(x *exchange.Exchange, reused bool) (rest bool, err error) {
	c.received, c.keep, c.duplex, c.body = false, true, false, nil
	q := &x.Request
	f := requestForm(q)
	c.out.begin()
	if c.out.b, err = appendRequest(c.out.b, x, f); err != nil {
		c.out.release()
		return false, err
	}
	whole := q.Body == nil || f == formNone
	if whole && c.w.raw != nil {
		c.w.startAsk(c.out.b, reused)
		return false, nil
	}
	if reused && !c.w.quiet() {
		c.out.release()
		return false, ErrStale
	}
	if whole {
		err = c.out.flush()
		c.out.release()
		return false, err
	}
	if f == formLength && q.ContentLength <= inlineBytes && int64(q.Body.Buffered()) >= q.ContentLength {
		err = c.out.sendLength(q.Body, q.ContentLength)
		c.out.release()
		return false, err
	}
	c.duplex = true
	return true, nil
}

// WriteRest sends what Write left. It may run on another goroutine than
// ReadHead and the reading of the response. peer reports whether an error is
// the connection's, not the body's.
func (c *UpstreamConn) WriteRest(x *exchange.Exchange) (peer bool, err error) {
	q := &x.Request
	if q.ContentLength < 0 {
		err = c.out.sendChunked(q.Body, &q.Trailer)
	} else {
		err = c.out.sendLength(q.Body, q.ContentLength)
	}
	peer = c.out.failed
	c.out.release()
	return peer, err
}

// Arm makes reads fail d after now. An upload in another goroutine arms it when
// it has ended; d is 0 for no deadline.
func (c *UpstreamConn) Arm(now time.Time, d time.Duration) {
	if d == 0 {
		d = 365 * 24 * time.Hour
	}
	c.w.armRead(now, d)
}

// maxInterim bounds the interim responses to one request.
const maxInterim = 64

// ReadHead reads the response's head into x.Response. Interim responses are
// handed to x.Client.Inform. The bytes are copied to x.Arena. Body is set if
// there is one to read. An error is ErrInterrupted, ErrTimeout, *Refused for
// garbage, or the connection's. Call Settle after success.
func (c *UpstreamConn) ReadHead(x *exchange.Exchange) error {
	for interim := 0; ; interim++ {
		if err := c.readHead(x); err != nil {
			return err
		}
		p := &x.Response
		switch {
		case p.Status/100 == 2 && x.Request.Connect():
			c.connected(x)
			return nil
		case p.Status >= 200:
			c.begin(x)
			return nil
		case p.Status == 101:
			return c.beginTunnel(x)
		}
		if interim == maxInterim {
			return errManyInterim
		}
		if err := x.Client.Inform(x, p.Status, &p.Header); err != nil && !errors.Is(err, ErrInvalidMessage) {
			return err
		}
	}
}

// Settle frees the connection if the response has no content to read. The
// connection is not to be used afterwards but through the response's Body.
func (c *UpstreamConn) Settle() {
	if c.body != nil && c.body.form == formNone {
		c.body.finish(true)
	}
}

// readHead reads one head, final or interim.
func (c *UpstreamConn) readHead(x *exchange.Exchange) error {
	fresh := 0
	for seen := 0; ; {
		b := c.in.buffered()
		if end := bytes.Index(b[max(0, fresh-3):], endOfHead); end >= 0 {
			end += max(0, fresh-3) + len(endOfHead)
			c.in.take(end)
			// The connection goes back to its pool before the exchange is done.
			_, refused := parseResponse(x.Arena.Copy(b[:end]), &c.lim, &c.hd, &x.Response)
			return orNil(refused)
		}
		if len(b) > fresh && (newline(b[fresh:]) || len(b) >= 2*seen) {
			if _, refused := parseResponse(b, &c.lim, &c.hd, &x.Response); refused != nil {
				return refused
			}
			seen = len(b)
		}
		fresh = len(b)
		if len(c.in.buf)-c.in.end < minRoom {
			c.in.makeRoom()
		}
		n, err := c.readMore(c.in.buf[c.in.end:])
		if err != nil {
			return cut(err)
		}
		c.received = true
		c.in.end += n
	}
}

// readMore reads what follows; before the first bytes a readied request is sent.
func (c *UpstreamConn) readMore(p []byte) (int, error) {
	if c.w.ask.step == askNothing {
		return c.w.read(p)
	}
	n, err := c.w.finishAsk(p, c.p.IdleTimeout)
	if c.w.ask.step == askNothing {
		c.out.release()
	}
	return n, err
}

var endOfHead = []byte("\r\n\r\n")

// orNil keeps a nil *Refused from becoming an error that is not nil.
func orNil(r *Refused) error {
	if r == nil {
		return nil
	}
	return r
}

// begin sets the response's body up from its head.
func (c *UpstreamConn) begin(x *exchange.Exchange) {
	p, hd := &x.Response, &c.hd
	if hd.close || p.Version == exchange.HTTP10 && !hd.keepAlive {
		c.keep = false
	}
	f := formNone
	switch {
	case bodyless(p.Status) || isHead(x):
		p.ContentLength = hd.length
		if p.Status == 204 {
			p.ContentLength = 0
		}
		if hd.chunked && !isHead(x) || p.Status == 204 && hd.length > 0 {
			c.keep = false // content that must not be there may follow
		}
	case hd.chunked:
		f, p.ContentLength = formChunked, -1
	case hd.length >= 0:
		p.ContentLength = hd.length
		if hd.length > 0 {
			f = formLength
		}
	default:
		f, p.ContentLength = formClose, -1
		c.keep = false
	}
	c.setBody(x, f)
}

// end ends the connection's part in the exchange.
func (c *UpstreamConn) end(whole bool) {
	reusable := whole && c.keep && c.in.r == c.in.end
	c.in.release()
	if !reusable {
		c.Close()
	}
	c.free(reusable)
}
