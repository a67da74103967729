package h2

import (
	"errors"
	"time"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bufpool"
)

// Send implements exchange.Client. Its errors are *exchange.Error: SideClient
// if the client is gone or does not read, else whose the body is. A response
// that HTTP/2 cannot carry, or whose body fails before anything was sent, is
// replaced by a plain 502; x.Response.Status says so.
func (s *stream) Send(x *exchange.Exchange) error {
	s.sent = true
	if b := x.Response.Body; b != nil {
		defer b.Close()
	}
	err := s.send(x)
	s.c.mu.Lock()
	x.RequestBytes = s.body.bytes
	s.c.mu.Unlock()
	x.ResponseBytes = s.total
	if err != nil {
		return s.broken(x, err)
	}
	return nil
}

func (s *stream) send(x *exchange.Exchange) (err error) {
	p := &x.Response
	if p.Tunnel != nil {
		return s.sendTunnel(x)
	}
	if err := fields.NoOpening(p, s.connect, s.key); err != nil {
		return err
	}
	s.fields, err = encoding.AppendResponse(s.fields[:0], p, s.head, &s.c.server.date)
	if err != nil {
		return err
	}
	if p.Body == nil || fields.Bodyless(s.head, p.Status) {
		return s.sendHead(x, true)
	}
	return s.sendBody(x)
}

// sendHead sends the head of the final response, or the trailer section, which
// is in s.fields.
func (s *stream) sendHead(x *exchange.Exchange, end bool) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	var flags uint8
	if end {
		flags = flagEndStream
	}
	if err := s.gatherHead(x, flags); err != nil {
		return err
	}
	if end {
		c.complete(s)
	}
	c.flush()
	return nil
}

// gatherHead is sendHead without a flush. c.mu is held.
func (s *stream) gatherHead(x *exchange.Exchange, flags uint8) error {
	s.body.expect = false
	if err := s.c.awaitRoom(&s.flow); err != nil {
		return err
	}
	s.started = true
	x.HeadersSent = true
	s.c.queueHeaders(s.id, flags, s.fields)
	return nil
}

// sendBody sends head and body; what the body gives without waiting goes with
// the head.
func (s *stream) sendBody(x *exchange.Exchange) error {
	p := &x.Response
	s.lend(s.c.pool, p.ContentLength)
	for {
		if !s.started && p.Body.Buffered() == 0 && p.ContentLength != 0 {
			if err := s.sendHead(x, false); err != nil {
				return err
			}
		}
		if s.keen && p.Body.Buffered() == 0 {
			s.rest()
		}
		part, last, err := s.next(p.Body, p.ContentLength)
		if err != nil {
			return err
		}
		trails := last && fields.Trails(&p.Trailer)
		began := time.Now()
		if err := s.sendData(x, part, last && !trails); err != nil || last && !trails {
			return err
		}
		if err := s.took(len(part), began); err != nil {
			return err
		}
		if trails {
			s.fields = encoding.AppendTrailer(s.fields[:0], &p.Trailer)
			return s.sendHead(x, true)
		}
	}
}

// rest lets less urgent streams send while this one waits for its body.
func (s *stream) rest() {
	s.c.mu.Lock()
	s.c.settle(&s.flow)
	s.keen = false
	s.c.mu.Unlock()
}

// sendData sends content, with the head if that was not sent yet; end says that
// it is the last.
func (s *stream) sendData(x *exchange.Exchange, p []byte, end bool) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.room(min(len(p)+len(s.fields)+16*frameHeaderLen, outMost+bufpool.Small))
	if !s.started {
		if err := s.gatherHead(x, 0); err != nil {
			return err
		}
	}
	if err := c.gatherData(&s.flow, p, end); err != nil {
		return err
	}
	s.keen = s.eager
	if end {
		c.complete(s)
	}
	c.flush()
	return nil
}

// broken ends a response that failed: with another one while nothing has left,
// else so that it does not look whole.
func (s *stream) broken(x *exchange.Exchange, err error) error {
	e := &exchange.Error{Phase: exchange.PhaseResponseBody, Side: exchange.SideUpstream, Status: 502, Reason: "response-body-cut", Err: err}
	reset := codeInternal
	switch err {
	case errStalled:
		e.Phase, e.Side, e.Status, e.Reason = exchange.PhaseEncode, exchange.SideClient, 408, "client-timeout"
		reset = codeEnhanceYourCalm
		s.c.count("window-stall")
	case errSlow:
		e.Phase, e.Side, e.Status, e.Reason = exchange.PhaseEncode, exchange.SideClient, 408, reasonSlowResponse
		reset = codeEnhanceYourCalm
		s.c.count(reasonSlowResponse)
	case errGone:
		e.Phase, e.Side, e.Status, e.Reason = exchange.PhaseEncode, exchange.SideClient, 499, "client-gone"
		reset = codeCancel
	case fields.ErrNoSwitch:
		e.Reason = "switching-protocols"
	case fields.ErrInvalidMessage:
		e.Phase, e.Side, e.Reason = exchange.PhaseEncode, exchange.SidePlugin, "invalid-message"
	default:
		var cause *exchange.Error
		if errors.As(err, &cause) {
			e = cause
		}
	}
	if !s.started && err != errGone {
		x.Response.Status = e.Status
		s.fields = encoding.AppendDate(appendStatus(s.fields[:0], e.Status), &s.c.server.date)
		s.fields = appendText(s.fields, "content-length", "0")
		_ = s.sendHead(x, true) // a client that is gone by now needs none
		return e
	}
	s.c.mu.Lock()
	s.c.reset(&s.flow, reset, errCut)
	s.c.flush()
	s.c.mu.Unlock()
	return e
}

// Inform implements exchange.Client. A 100 (Continue) is sent only to a client
// that waits for it.
func (s *stream) Inform(x *exchange.Exchange, status int, h *exchange.Header) error {
	c := s.c
	if status < 100 || status > 199 || status == 101 { // RFC 9113, 8.6
		return nil
	}
	if status == 100 {
		c.mu.Lock()
		defer c.mu.Unlock()
		s.body.proceed()
		return nil
	}
	b, _, ok := encoding.AppendFields(appendStatus(nil, status), h)
	if !ok {
		return fields.ErrInvalidMessage
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.awaitRoom(&s.flow); err != nil {
		return err
	}
	c.queueHeaders(s.id, 0, b)
	c.flush()
	return nil
}
