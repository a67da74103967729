package h1

import (
	"errors"
	"io"
	"sync/atomic"

	"penstock.dev/penstock/core/exchange"
)

// responseBody is the exchange.Body of a response. It belongs to the exchange,
// not to the connection, which another exchange has once this one ended.
type responseBody struct {
	c *UpstreamConn // nil: ended
	x *exchange.Exchange
	content

	waits   bool        // the owner was told
	early   bool        // the client is watched since before the upload's end
	unwatch func()      // nil: the client is not watched
	gone    atomic.Bool // and has gone
}

// newBody returns a body for x's response; the one that its client connection
// keeps for the purpose if it is free.
func (c *UpstreamConn) newBody(x *exchange.Exchange) *responseBody {
	if client, ok := x.Client.(*Conn); ok && x == &client.x && client.response.c == nil {
		return &client.response
	}
	return &responseBody{}
}

// setBody gives x's response its body.
func (c *UpstreamConn) setBody(x *exchange.Exchange, f form) {
	b, p := c.newBody(x), &x.Response
	b.c, b.x, c.body = c, x, b
	b.in, b.idle, b.lim, b.trusted = &c.in, c.p.IdleTimeout, &c.lim, true
	b.gone.Store(false)
	b.start(f, p.ContentLength, &p.Trailer)
	p.Body = nil
	if f != formNone {
		p.Body = b
	}
}

// Read implements exchange.Body. Its errors are *exchange.Error.
func (b *responseBody) Read(p []byte) (int, error) {
	for {
		if b.c != nil {
			b.idle = b.x.BodyIdle(b.c.p.IdleTimeout)
		}
		b.wait()
		n, err := b.content.read(p)
		silent := b.proceed()
		switch {
		case n > 0 && err == nil:
			return n, nil
		case err == nil || err == errInterrupted:
			if n > 0 || len(p) == 0 {
				return n, nil
			}
			if err := b.look(silent); err != nil {
				return 0, b.giveUp(err)
			}
		case err == io.EOF:
			b.finish(true)
			return n, err
		default:
			b.finish(false)
			return n, responseError(err)
		}
	}
}

// Buffered implements exchange.Body.
func (b *responseBody) Buffered() int {
	if b.c == nil {
		return 0
	}
	return b.available()
}

// Close implements exchange.Body.
func (b *responseBody) Close() { b.finish(b.done()) }

func (b *responseBody) finish(whole bool) {
	c := b.c
	if c == nil {
		return
	}
	b.stopWatch()
	h := b.trailer
	for i, f := range h.Fields() {
		h.SetAt(i, exchange.Field{Name: b.x.Arena.Copy(f.Name), Value: b.x.Arena.Copy(f.Value)})
	}
	b.c, b.x, c.body = nil, nil, nil
	if !whole && b.err == nil {
		b.err = io.ErrClosedPipe
	}
	c.end(whole)
}

// responseError says what an upstream did wrong while it sent a body.
func responseError(err error) error {
	if known := clientError(err); known != nil {
		return known
	}
	e := &exchange.Error{Phase: exchange.PhaseResponseBody, Side: exchange.SideUpstream, Status: 502, Reason: "response-body-cut", Err: err}
	var refused *Refused
	switch {
	case err == errTimeout:
		e.Status, e.Reason = 504, "response-body-timeout"
	case errors.As(err, &refused):
		e.Reason = "bad-response"
	}
	return e
}

var _ exchange.Body = (*responseBody)(nil)
