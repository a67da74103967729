package h2

import (
	"penstock.dev/penstock/core/exchange"
)

// writeConnect opens the stream of a CONNECT (RFC 9113, 8.5), whose head is in
// s.fields. It stays open: what follows is the tunnel's.
func (s *UpstreamStream) writeConnect() error {
	if err := s.open(false); err != nil {
		return err
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.flush()
	return nil
}

// tunnels reports whether the response opens a tunnel: whatever its status and
// length say, it has no content (RFC 9110, 9.3.6).
func (s *UpstreamStream) tunnels() bool { return s.connect && s.status/100 == 2 }

// refused ends the request of a CONNECT that was answered otherwise. c.mu is held.
func (s *UpstreamStream) refused() {
	if !s.gone && !s.sent {
		s.c.gatherSome(&s.flow, nil, true)
		s.sent = true
		s.c.flush()
	}
}

// upstreamTunnel is the exchange.Tunnel of a CONNECT. It belongs to the exchange, not
// to the stream, whose place another exchange has once this one has let go of it.
type upstreamTunnel struct {
	s *UpstreamStream

	// Guarded by the connection's mutex.
	using  int // calls that are under way
	closed bool
}

// enter begins a call; false: the tunnel is closed. c.mu is held, until leave.
func (t *upstreamTunnel) enter() bool {
	t.s.c.mu.Lock()
	if t.closed {
		t.s.c.mu.Unlock()
		return false
	}
	t.using++
	return true
}

// leave ends a call. The last one after Close gives the stream back.
func (t *upstreamTunnel) leave() {
	t.using--
	over := t.closed && t.using == 0
	t.s.c.mu.Unlock()
	if over {
		t.s.free(true)
	}
}

// Read implements io.Reader. It waits without a bound, as an HTTP/1.1 upstream's does.
func (t *upstreamTunnel) Read(p []byte) (int, error) {
	if !t.enter() {
		return 0, errClosed
	}
	defer t.leave()
	return t.s.in.read(p)
}

// Write implements io.Writer.
func (t *upstreamTunnel) Write(p []byte) (int, error) {
	if !t.enter() {
		return 0, errClosed
	}
	defer t.leave()
	s, c := t.s, t.s.c
	err := c.gatherData(&s.flow, p, false)
	c.settle(&s.flow)
	c.flush()
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// CloseWrite implements exchange.Tunnel. An upstream that has ended its direction, and
// then the stream, is told nothing.
func (t *upstreamTunnel) CloseWrite() error {
	if !t.enter() {
		return errClosed
	}
	defer t.leave()
	s, c := t.s, t.s.c
	if s.gone && s.in.whole {
		return nil
	}
	err := c.gatherData(&s.flow, nil, true)
	s.sent = s.sent || err == nil
	c.flush()
	return err
}

// Close implements exchange.Tunnel.
func (t *upstreamTunnel) Close() {
	if !t.enter() {
		return
	}
	defer t.leave()
	t.closed = true
	if s, c := t.s, t.s.c; !s.sent || !s.in.whole {
		c.reset(&s.flow, codeCancel, errGone)
		c.flushLater()
	}
}

var _ exchange.Tunnel = (*upstreamTunnel)(nil)
