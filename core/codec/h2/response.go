package h2

import (
	"errors"
	"io"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/exchange"
)

// takeInterim keeps an interim response, which was read to c.head, for the
// exchange's goroutine: together no more than one head may be. c.mu is held.
func (s *UpstreamStream) takeInterim(c *UpstreamConn) *fields.Refused {
	size := c.hd.Size
	if s.informed++; s.informed > maxInterim || s.held+size > c.lim.Bytes {
		return errInterim
	}
	s.held += size
	s.interims = append(s.interims, interim{c.hd.Status, size, c.head})
	c.head = section{}
	return nil
}

// takeHead keeps the final head, which was read to c.head; end says that no
// content follows. c.mu is held.
func (s *UpstreamStream) takeHead(c *UpstreamConn, end bool) error {
	s.final, c.head = c.head, s.final
	s.status, s.length = c.hd.Status, c.hd.Length
	b := s.in
	b.left = s.length
	switch {
	case s.tunnels():
		b.left, b.tunnel = -1, true
	case s.bodyless():
		b.left = 0
	}
	if end {
		if err := b.receive(nil, 0, true); err != nil {
			return err
		}
	}
	s.headed = true
	b.wait.wake()
	return nil
}

// bodyless reports whether the response has no content (RFC 9110, 6.4.1).
func (s *UpstreamStream) bodyless() bool {
	return s.asked || (s.status == 204 || s.status == 304) && !s.tunnels()
}

// ReadHead reads the response's head into x.Response. Interim responses are
// handed to x.Client.Inform. The bytes are copied to x.Arena. Body is set if
// there is one to read. An error is ErrInterrupted, ErrTimeout, ErrRefused,
// *BadResponse, the client's, or the connection's. Call Settle after success.
//
// The first call of an exchange sets no timer: whoever wants the deadline kept
// calls Interrupt if it takes long, and ReadHead again.
func (s *UpstreamStream) ReadHead(x *exchange.Exchange) error {
	for {
		one, err := s.awaitHead()
		if err != nil {
			s.hurry = true
			return err
		}
		p := &x.Response
		if one == nil {
			s.deliver(x)
			return nil
		}
		copyFields(x, &p.Header, &one.fields)
		p.Status, p.Version = one.status, exchange.HTTP2
		if err := x.Client.Inform(x, p.Status, &p.Header); err != nil && !errors.Is(err, ErrInvalidMessage) {
			return err
		}
	}
}

// awaitHead waits for a head: an interim one, or the final, which is nil. The
// final head of a response without content is there once the stream has ended.
func (s *UpstreamStream) awaitHead() (*interim, error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case len(s.interims) > 0:
			one := s.interims[0]
			s.interims = s.interims[1:]
			s.held -= one.size
			return &one, nil
		case s.headed && (s.in.whole || !s.bodyless()):
			return nil, nil
		case s.in.whole:
			c.client.faults[reasonNoHead].Inc()
			return nil, &BadResponse{reasonNoHead}
		case s.err != nil && !s.broke:
			return nil, s.err
		case s.interrupted:
			s.interrupted = false
			return nil, ErrInterrupted
		case !s.hurry || s.by.IsZero():
			s.in.wait.cond.Wait()
		case !s.in.wait.wait(s.by):
			return nil, ErrTimeout
		}
	}
}

func copyFields(x *exchange.Exchange, to, from *exchange.Header) {
	to.Reset()
	for _, f := range from.Fields() {
		to.Add(x.Arena.Copy(f.Name), x.Arena.Copy(f.Value))
	}
}

// deliver fills x.Response with the final head.
func (s *UpstreamStream) deliver(x *exchange.Exchange) {
	p := &x.Response
	copyFields(x, &p.Header, &s.final.fields) // complete: trailers go elsewhere
	p.Status, p.Version, p.ContentLength, p.Body = s.status, exchange.HTTP2, s.length, nil
	if s.tunnels() {
		p.Header.Del("Content-Length")
		p.ContentLength, p.Upgrade, p.Tunnel = 0, nil, &upstreamTunnel{s: s}
		s.away = true
		return
	}
	c := s.c
	c.mu.Lock()
	if s.connect {
		s.refused()
	}
	empty := s.in.whole && s.in.size == 0 && s.in.trailer.fields.Len() == 0
	c.mu.Unlock()
	switch {
	case s.bodyless():
		if s.status == 204 {
			p.ContentLength = 0
		}
	case empty:
		p.ContentLength = 0
	default:
		s.handed = s.newBody(x)
		p.Body = s.handed
	}
}

// Settle frees the stream if the response has no content to read, and is no tunnel. s
// is not to be used afterwards but through the response's Body or Tunnel.
func (s *UpstreamStream) Settle() {
	if s.handed == nil && !s.away {
		s.free(true)
	}
}

// responseBody is the exchange.Body of a response. It belongs to the exchange,
// not to the stream, whose place another exchange has once this one ended.
type responseBody struct {
	s      *UpstreamStream // nil: ended
	x      *exchange.Exchange
	client *stream // that is tied to s; nil: none
	err    error   // of Read, once it has ended

	unwatch func() // nil: the client is not watched
	early   bool   // it is watched since before the upload's end
}

// newBody returns a body for x's response: the one that its client stream keeps
// for the purpose if it is free. A client stream is tied, so that what waits for
// the upstream ends with it.
func (s *UpstreamStream) newBody(x *exchange.Exchange) *responseBody {
	client, ok := x.Client.(*stream)
	if !ok || x != &client.x || client.response.s != nil {
		return &responseBody{s: s, x: x}
	}
	b := &client.response
	*b = responseBody{s: s, x: x, client: client}
	client.tie(s)
	return b
}

// Read implements exchange.Body. Its errors are *exchange.Error.
func (b *responseBody) Read(p []byte) (int, error) {
	s := b.s
	if s == nil {
		return 0, b.err
	}
	c := s.c
	c.mu.Lock()
	if b.waits() {
		c.mu.Unlock()
		b.await()
		c.mu.Lock()
	}
	s.in.idle = b.x.BodyIdle(c.p.IdleTimeout)
	n, err := s.in.read(p)
	c.mu.Unlock()
	switch err {
	case nil:
		return n, nil
	case errWhole:
		copyFields(b.x, &b.x.Response.Trailer, &s.in.trailer.fields)
		err = io.EOF
	default:
		err = responseError(err)
	}
	b.finish(err)
	return n, err
}

// Buffered implements exchange.Body.
func (b *responseBody) Buffered() int {
	if b.s == nil {
		return 0
	}
	c := b.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	return b.s.in.size
}

// Stopper returns what ends a Read that waits, and the stream. Any goroutine may call
// it, also after the body has ended: then it does nothing.
func (b *responseBody) Stopper() func() {
	s := b.s
	if s == nil {
		return func() {}
	}
	c, id := s.c, s.id
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if s.id == id && s.opened && (!s.sent || !s.in.whole) { // else another exchange has its place
			c.reset(&s.flow, codeCancel, errGone)
			c.flushLater()
		}
	}
}

// Close implements exchange.Body.
func (b *responseBody) Close() { b.finish(io.ErrClosedPipe) }

func (b *responseBody) finish(err error) {
	s := b.s
	if s == nil {
		return
	}
	if b.client != nil {
		b.client.tie(nil)
	}
	b.stopWatch()
	b.s, b.x, b.client, b.err = nil, nil, nil, err
	s.free(true)
}

// responseError says what an upstream did wrong while it sent a body.
func responseError(err error) error {
	var known *exchange.Error
	if errors.As(err, &known) { // the request's body, which was sent at the same time
		return known
	}
	e := &exchange.Error{Phase: exchange.PhaseResponseBody, Side: exchange.SideUpstream, Status: 502, Reason: "response-body-cut", Err: err}
	var bad *BadResponse
	switch {
	case err == errTimeout, err == ErrTimeout:
		e.Status, e.Reason = 504, "response-body-timeout"
	case err == errClientGone:
		e.Side, e.Status, e.Reason = exchange.SideClient, 499, "client-gone"
	case errors.As(err, &bad):
		e.Reason = "bad-response"
	}
	return e
}

var _ exchange.Body = (*responseBody)(nil)
