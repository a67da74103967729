package h1

import (
	"errors"
	"strconv"
	"time"

	"penstock.dev/penstock/core/exchange"
)

// Send implements exchange.Client. Its errors are *exchange.Error: SideClient
// if writing failed, else whose the body is. A response that HTTP/1.1 cannot
// carry, or whose body fails before a byte was written, is replaced by a plain
// 502; x.Response.Status says so.
func (c *Conn) Send(x *exchange.Exchange) error {
	c.sent = true
	c.body.answered.Store(true)
	c.out.least = c.p.MinBytesPerSecond
	if x.BodyIdle(0) > 0 {
		c.out.least = 0
	}
	skipped := c.cancelContinue()
	p := &x.Response
	if p.Tunnel != nil {
		c.stopWatch()
		return c.sendTunnel(x)
	}
	if p.Body != nil {
		defer p.Body.Close()
	}
	x.RequestBytes = c.body.bytes.Load()
	f := c.responseForm(x)
	if skipped || c.draining.Load() || !c.body.discardable() || f == formClose {
		c.last = true
	}
	c.out.begin()
	err := c.encode(x, f)
	if err == nil {
		x.HeadersSent = true
		err = c.sendBody(x, f)
	}
	x.ResponseBytes = c.out.total
	x.RequestBytes = c.body.bytes.Load()
	if err == nil {
		c.out.release()
		return nil
	}
	return c.broken(x, err)
}

// responseForm returns how the response is framed (RFC 9112, 6.3).
func (c *Conn) responseForm(x *exchange.Exchange) form {
	p := &x.Response
	switch {
	case bodyless(p.Status) || c.head:
		return formNone
	case p.Body == nil || p.ContentLength >= 0:
		return formLength
	case x.Request.Version >= exchange.HTTP11:
		return formChunked
	}
	return formClose
}

// encode appends the response's head.
func (c *Conn) encode(x *exchange.Exchange, f form) error {
	p := &x.Response
	if x.Request.Connect() && p.Status/100 == 2 { // filters leave the method: it would read as the start of a tunnel
		return ErrInvalidMessage
	}
	if p.Status < 200 || p.Status > 599 || p.Body == nil && f == formLength && p.ContentLength > 0 {
		return ErrInvalidMessage
	}
	b := appendStatus(c.out.b, p.Status)
	b, dated, ok := appendFields(b, &p.Header, f == formChunked)
	if !ok {
		return ErrInvalidMessage
	}
	if !dated {
		b = c.server.appendDate(b, time.Now())
	}
	switch {
	case f != formNone:
		b = appendFraming(b, f, max(p.ContentLength, 0))
	case p.Status != 204 && p.ContentLength >= 0 && (p.ContentLength > 0 || p.Header.Count("Content-Length") > 0):
		b = appendFraming(b, formLength, p.ContentLength)
	}
	if c.last {
		b = append(b, "Connection: close\r\n"...)
	} else if x.Request.Version == exchange.HTTP10 {
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	c.out.b = append(b, '\r', '\n')
	return nil
}

// sendBody sends the head that is gathered and the body.
func (c *Conn) sendBody(x *exchange.Exchange, f form) error {
	p := &x.Response
	switch {
	case f == formNone || p.Body == nil:
		return c.out.flush()
	case f == formChunked:
		return c.out.sendChunked(p.Body, &p.Trailer)
	case f == formClose:
		return c.out.sendRaw(p.Body)
	}
	if src := spliceable(p.Body, &c.w, p.ContentLength); src != nil {
		return c.out.splice(src)
	}
	if b, ok := p.Body.(exchange.Slicer); ok && p.ContentLength >= sliceLeast {
		return c.out.sendSlices(b, p.ContentLength)
	}
	return c.out.sendLength(p.Body, p.ContentLength)
}

// broken ends a response that failed: with another one while nothing has left,
// else so that it does not look whole.
func (c *Conn) broken(x *exchange.Exchange, err error) error {
	c.last = true
	failed, started := c.out.failed, c.out.started
	e := &exchange.Error{Phase: exchange.PhaseResponseBody, Side: exchange.SideUpstream, Status: 502, Reason: "response-body-cut", Err: err}
	switch {
	case err == errSlowResponse:
		c.server.refusals[errSlowResponse].Inc()
		e.Phase, e.Side, e.Status, e.Reason = exchange.PhaseEncode, exchange.SideClient, 408, errSlowResponse.Reason
	case failed && err == errTimeout:
		e.Phase, e.Side, e.Status, e.Reason = exchange.PhaseEncode, exchange.SideClient, 408, "client-timeout"
	case failed:
		e.Phase, e.Side, e.Status, e.Reason = exchange.PhaseEncode, exchange.SideClient, 499, "client-gone"
	case err == ErrInvalidMessage:
		e.Phase, e.Side, e.Reason = exchange.PhaseEncode, exchange.SidePlugin, "invalid-message"
	default:
		var cause *exchange.Error
		if errors.As(err, &cause) {
			e = cause
		}
	}
	if started {
		c.reset = true
		return e
	}
	x.Response.Status = e.Status
	c.answer(e.Status)
	x.HeadersSent = true
	return e
}

// answer sends a response of the codec's own; the connection closes after it.
// The error does not matter: nobody is left to hear of it.
func (c *Conn) answer(status int) {
	c.last, c.linger = true, true
	c.out.begin()
	text := reason(status)
	b := appendStatus(c.out.b, status)
	b = c.server.appendDate(b, time.Now())
	b = append(b, "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(text)+1), 10)
	b = append(b, "\r\n\r\n"...)
	if !c.head {
		b = append(b, text...)
		b = append(b, '\n')
	}
	c.out.b = b
	_ = c.out.flush() // the connection is closed next, whether the client got it or not
	c.out.release()
}

// Inform implements exchange.Client. A 100 (Continue) is sent only to a client
// that waits for it. After an error the connection is of no use.
func (c *Conn) Inform(x *exchange.Exchange, status int, h *exchange.Header) error {
	if status == 100 {
		c.sendContinue()
		return nil
	}
	if x.Request.Version < exchange.HTTP11 || status < 100 || status > 199 || status == 101 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.begin()
	b, _, ok := appendFields(appendStatus(c.out.b, status), h, false)
	if !ok {
		return ErrInvalidMessage
	}
	c.out.b = append(b, '\r', '\n')
	err := c.out.flush()
	c.out.release()
	return err
}

// sendContinue sends the 100 (Continue) that the client waits for, once.
func (c *Conn) sendContinue() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expect {
		c.expect = false
		// If it fails the body does not come, and its read fails.
		_ = c.w.write([]byte("HTTP/1.1 100 Continue\r\n\r\n"), time.Now(), c.p.IdleTimeout)
	}
}

// cancelContinue makes sure that no 100 follows, since the final response
// does; it reports whether the client was left waiting for one.
func (c *Conn) cancelContinue() (waited bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	waited = c.expect
	c.expect = false
	return waited
}

var _ exchange.Client = (*Conn)(nil)
