package h3

import (
	"errors"
	"io"
	"os"
	"time"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bufpool"
)

// What can end a response early.
var (
	errBodyShort = errors.New("body is shorter than its length")
	errBodyLong  = errors.New("body is longer than its length")
	errStalled   = errors.New("the client took nothing within the idle timeout")
)

// Send implements exchange.Client. Its errors are *exchange.Error: SideClient
// if the client is gone or does not read, else whose the body is. A response
// that HTTP/3 cannot carry, or whose body fails before anything was sent, is
// replaced by a plain 502; x.Response.Status says so.
func (s *stream) Send(x *exchange.Exchange) error {
	s.sent = true
	if b := x.Response.Body; b != nil {
		defer b.Close()
	}
	err := s.send(x)
	x.RequestBytes = s.body.bytes.Load()
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
	s.fields, err = encoding.AppendResponse(appendSection(s.fields[:0]), p, s.head, &s.c.server.date)
	if err != nil {
		return err
	}
	s.fields = endSection(s.fields)
	if p.Body == nil || fields.Bodyless(s.head, p.Status) {
		return s.writeHead(x, s.fields, true)
	}
	return s.sendBody(x)
}

// writeHead writes b, which begins with the head of the final response.
func (s *stream) writeHead(x *exchange.Exchange, b []byte, end bool) error {
	s.mu.Lock()
	s.expect, s.started = false, true // no 100 after it
	s.mu.Unlock()
	x.HeadersSent = true
	return s.write(b, end)
}

// write writes frames, and the stream's end behind them.
func (s *stream) write(b []byte, end bool) error {
	began := time.Now()
	_ = s.qs.SetWriteDeadline(began.Add(s.c.p.IdleTimeout)) // never fails
	if _, err := s.qs.Write(b); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errStalled
		}
		return errGone
	}
	if s.key == nil && !s.connect && !end && s.x.BodyIdle(0) == 0 && !s.meter.Add(int64(len(b)), time.Since(began), s.c.p.MinBytesPerSecond, slowGrace) {
		return errSlow
	}
	if end {
		if s.qs.Close() != nil {
			return errGone
		}
		s.finished = true
	}
	return nil
}

// sendBody sends head and body; what the body gives without waiting goes with
// the head.
func (s *stream) sendBody(x *exchange.Exchange) error {
	p := &x.Response
	size := bufpool.Medium
	if p.ContentLength >= bufpool.Large {
		size = bufpool.Large
	}
	if s.data == nil {
		s.data = s.c.server.pool.Get(size)
	}
	buf := s.data.Bytes
	head := 0 // bytes of it before the DATA frame
	if len(s.fields) <= len(buf)/2 && (p.Body.Buffered() > 0 || p.ContentLength == 0) {
		head = copy(buf, s.fields)
	} else if err := s.writeHead(x, s.fields, false); err != nil {
		return err
	}
	for {
		n, err := s.gather(buf[head+frameHeaderLen:], p.Body, p.ContentLength)
		switch {
		case p.ContentLength >= 0 && s.total > p.ContentLength:
			return errBodyLong
		case err == io.EOF && s.total < p.ContentLength:
			return errBodyShort
		case err != nil && err != io.EOF:
			return err
		}
		out := buf[:head]
		if n > 0 {
			putFrame(buf[head:], frameData, n)
			out = buf[:head+frameHeaderLen+n]
		}
		last := err == io.EOF
		trails := last && fields.Trails(&p.Trailer)
		if err := s.writePart(x, out, head > 0, last && !trails); err != nil || last && !trails {
			return err
		}
		if trails {
			s.fields = endSection(encoding.AppendTrailer(appendSection(s.fields[:0]), &p.Trailer))
			return s.write(s.fields, true)
		}
		head = 0
	}
}

func (s *stream) writePart(x *exchange.Exchange, b []byte, head, end bool) error {
	if head {
		return s.writeHead(x, b, end)
	}
	return s.write(b, end)
}

// gather reads what the body gives without waiting, at least one byte. The last
// bytes of a body whose length is known come with its end.
func (s *stream) gather(buf []byte, body exchange.Body, length int64) (n int, err error) {
	for {
		k, err := body.Read(buf[n:])
		n += k
		s.total += int64(k)
		if err != nil || n == len(buf) || n > 0 && s.total != length && body.Buffered() == 0 {
			return n, err
		}
	}
}

// empty sends a response without content.
func (s *stream) empty(status int) {
	b := encoding.AppendDate(appendStatus(appendSection(s.fields[:0]), status), &s.c.server.date)
	s.fields = endSection(encoding.AppendLength(b, 0))
	s.mu.Lock()
	s.expect, s.started = false, true
	s.mu.Unlock()
	_ = s.write(s.fields, true) // a client that is gone by now needs none
}

// broken ends a response that failed: with another one while nothing has left,
// else so that it does not look whole.
func (s *stream) broken(x *exchange.Exchange, err error) error {
	e := &exchange.Error{Phase: exchange.PhaseResponseBody, Side: exchange.SideUpstream, Status: 502, Reason: "response-body-cut", Err: err}
	reset := codeInternal
	switch err {
	case errStalled:
		e.Phase, e.Side, e.Status, e.Reason = exchange.PhaseEncode, exchange.SideClient, 408, "client-timeout"
		reset = codeExcessiveLoad
		s.c.count("window-stall")
	case errSlow:
		e.Phase, e.Side, e.Status, e.Reason = exchange.PhaseEncode, exchange.SideClient, 408, reasonSlowResponse
		reset = codeExcessiveLoad
		s.c.count(reasonSlowResponse)
	case errGone:
		e.Phase, e.Side, e.Status, e.Reason = exchange.PhaseEncode, exchange.SideClient, 499, "client-gone"
		reset, s.blamed = codeRequestCancelled, true
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
		x.HeadersSent = true
		s.empty(e.Status)
		return e
	}
	s.reset(reset)
	return e
}

// informed is room for an interim response.
const informed = 128

// Inform implements exchange.Client. A 100 (Continue) is sent only to a client
// that waits for it.
func (s *stream) Inform(_ *exchange.Exchange, status int, h *exchange.Header) error {
	if status < 100 || status > 199 || status == 101 { // RFC 9114, 4.5
		return nil
	}
	if status == 100 {
		s.proceed()
		return nil
	}
	b, _, ok := encoding.AppendFields(appendStatus(appendSection(make([]byte, 0, informed)), status), h)
	if !ok {
		return fields.ErrInvalidMessage
	}
	return s.write(endSection(b), false)
}

// proceed sends the 100 (Continue) that the client waits for. Any goroutine may
// call it.
func (s *stream) proceed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.expect || s.started {
		return
	}
	s.expect = false
	var store [16]byte
	b := append(store[:0], frameHeaders, 4, 0, 0, 0xff, 0)
	_ = s.qs.TryWriteAll(b) // a client that gives no room for it may wait
}
