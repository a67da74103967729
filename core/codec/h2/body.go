package h2

import (
	"io"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/pace"
)

// requestBody is the exchange.Body of a request. Unlike others, its Close may be
// called while another goroutine reads: that Read then ends. All of it is
// guarded by the connection's mutex.
//
// One that was handed out is not used again for another request: whoever reads
// it too late finds it closed.
type requestBody struct {
	content
	stream *stream // not for use once the body is closed
	handed bool    // the exchange has it
	expect bool    // the client waits for a 100 that was not sent yet
	meter  pace.Meter
}

func newRequestBody(s *stream) *requestBody {
	b := &requestBody{stream: s}
	b.s = &s.flow
	s.in = &b.content
	return b
}

// Read implements exchange.Body. The first one sends the 100 (Continue) that
// the client waits for. Its errors are *exchange.Error.
func (b *requestBody) Read(p []byte) (int, error) {
	c := b.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !b.closed {
		b.proceed()
	}
	if !b.closed {
		b.idle = b.stream.x.BodyIdle(c.p.IdleTimeout)
	}
	n, err := b.measured(p)
	switch {
	case err == errWhole:
		return n, b.end()
	case err != nil:
		return n, bodyError(err)
	}
	return n, nil
}

// end hands the trailer out with the end of the body.
func (b *requestBody) end() error {
	to := &b.stream.x.Request.Trailer
	to.Reset()
	for _, f := range b.trailer.fields.Fields() {
		to.Add(f.Name, f.Value)
	}
	return io.EOF
}

// proceed sends the 100 (Continue) that the client waits for, unless it does
// not wait any more (RFC 9110, 10.1.1). c.mu is held.
func (b *requestBody) proceed() {
	c := b.c
	if !b.expect {
		return
	}
	b.expect = false
	if b.size == 0 && b.bytes == 0 && !b.whole && !b.s.gone && !c.ended {
		var store [16]byte
		c.queueHeaders(b.s.id, 0, appendStatus(store[:0], 100))
		c.flushLater()
	}
}

// Buffered implements exchange.Body.
func (b *requestBody) Buffered() int {
	c := b.c
	c.mu.Lock()
	defer c.mu.Unlock()
	return b.size
}

// Close implements exchange.Body.
func (b *requestBody) Close() {
	c := b.c
	c.mu.Lock()
	defer c.mu.Unlock()
	b.close()
	c.flushLater()
}

// bodyError says what a client did wrong while it sent a body.
func bodyError(err error) error {
	e := &exchange.Error{Phase: exchange.PhaseRequestBody, Side: exchange.SideClient, Status: 400, Reason: "request-body-cut", Err: err}
	switch err {
	case errTimeout:
		e.Status, e.Reason = 408, "request-body-timeout"
	case errSlow:
		e.Status, e.Reason = 408, reasonSlowRequest
	case errClosed:
		e.Reason = "request-body-closed"
	}
	return e
}

var _ exchange.Body = (*requestBody)(nil)
