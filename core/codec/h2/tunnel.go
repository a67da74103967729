package h2

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bufpool"
)

// handshake makes of an extended CONNECT (RFC 8441) the handshake of RFC 6455.
// What the client sends is kept for the tunnel, up to its window.
func (s *stream) handshake() {
	s.key = fields.Handshake(&s.x)
	s.body.left, s.body.tunnel = -1, true
}

// sendTunnel answers what asked for the tunnel, and copies what follows both ways until both
// ends have closed or neither has sent anything for TunnelTimeout.
func (s *stream) sendTunnel(x *exchange.Exchange) error {
	p := &x.Response
	up := p.Tunnel
	defer up.Close()
	status, err := fields.Opening(p, s.connect, s.key)
	if err != nil {
		return err
	}
	b, dated, ok := encoding.AppendFields(appendStatus(s.fields[:0], status), &p.Header)
	if !ok {
		return fields.ErrInvalidMessage
	}
	if !dated {
		b = encoding.AppendDate(b, &s.c.server.date)
	}
	s.fields = b
	if err := s.sendHead(x, false); err != nil {
		return err
	}
	t := &relay{s: s, c: s.c, up: up, idle: s.c.p.TunnelTimeout, began: time.Now()}
	t.timer = time.AfterFunc(t.idle, t.watch)
	defer t.timer.Stop()
	t.begin()
	var wg sync.WaitGroup
	wg.Go(t.fromClient)
	t.fromUpstream()
	wg.Wait()
	return t.end()
}

// relay is the two ends of a tunnel.
type relay struct {
	s     *stream
	c     *Conn
	up    exchange.Tunnel
	idle  time.Duration
	timer *time.Timer
	began time.Time
	last  atomic.Int64 // when a byte came, in nanoseconds since the relay began

	// Guarded by the connection's mutex.
	frames  rfc9110.WebSocketFrames // to the client
	writing bool                    // something is being written to the client
	closing bool                    // the client is to be told that the proxy goes away
	closed  bool                    // it was told
	ended   bool                    // the upstream sends no more
	over    bool                    // the stream may be used again
	fault   error                   // why it ended before both ends had closed
}

// begin notes the tunnel, for Drain.
func (t *relay) begin() {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.s.relay = t
	if t.c.drain != drainNot {
		t.goAway()
		t.c.flushLater()
	}
}

// end returns why the tunnel ended early; nil: both ends have closed.
func (t *relay) end() error {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.s.relay, t.over = nil, true
	return t.fault
}

// goAway has a WebSocket client told that the proxy goes away, as soon as no frame
// is on its way to it. What the client answers ends the tunnel. c.mu is held; the
// caller flushes.
func (t *relay) goAway() {
	if t.s.connect { // who knows what it carries
		return
	}
	t.closing = true
	t.tryClose()
}

// tryClose gathers the close frame if it is time, and the windows allow it now; a
// client that gives no room is told later, or cut. c.mu is held.
func (t *relay) tryClose() {
	s, c := t.s, t.c
	if !t.closing || t.writing || t.closed || t.ended || !t.frames.Between() || s.gone || c.ended {
		return
	}
	if min(s.window, c.window, outMost-len(c.out)) >= len(rfc9110.WebSocketGoingAway) {
		c.gatherSome(&s.flow, rfc9110.WebSocketGoingAway, false)
		t.closed = true
	}
}

// toClient sends what the upstream sent. After the close nothing follows.
func (t *relay) toClient(p []byte) error {
	s, c := t.s, t.c
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.flush()
	if s.connect {
		err := c.gatherData(&s.flow, p, false)
		c.settle(&s.flow)
		return err
	}
	for len(p) > 0 {
		if t.tryClose(); t.closed {
			return nil
		}
		n := 0
		for n < len(p) && (n == 0 || !t.closing) {
			n += t.frames.Next(p[n:])
		}
		t.writing = true
		if err := c.gatherData(&s.flow, p[:n], false); err != nil {
			return err // within a frame, perhaps: nothing may follow
		}
		t.writing = false
		p = p[n:]
	}
	t.tryClose() // asked for meanwhile
	c.settle(&s.flow)
	return nil
}

// endClient ends the stream towards the client.
func (t *relay) endClient() error {
	c := t.c
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.flush()
	if err := c.gatherData(&t.s.flow, nil, true); err != nil {
		return err
	}
	t.ended = true
	t.complete()
	return nil
}

// complete ends the stream once both directions have. c.mu is held.
func (t *relay) complete() {
	if t.ended && t.s.body.whole && !t.s.finished {
		t.c.complete(t.s)
	}
}

// watch ends a tunnel on which nothing comes any more.
func (t *relay) watch() {
	if left := t.idle - (time.Since(t.began) - time.Duration(t.last.Load())); left > 0 {
		t.timer.Reset(left)
		return
	}
	t.fail(exchange.SideClient, "tunnel-timeout", errTimeout)
}

func (t *relay) touch() { t.last.Store(int64(time.Since(t.began))) }

// fail ends both directions; the first one says why.
func (t *relay) fail(side exchange.Side, reason string, err error) {
	c := t.c
	c.mu.Lock()
	if t.over { // watch came too late
		c.mu.Unlock()
		return
	}
	if t.fault == nil {
		t.fault = &exchange.Error{Phase: exchange.PhaseResponseBody, Side: side, Status: 502, Reason: reason, Err: err}
	}
	code := codeCancel // RFC 8441, 5
	if t.s.connect && side == exchange.SideUpstream {
		code = codeConnect // RFC 9113, 8.5
	}
	c.reset(&t.s.flow, code, errCut)
	c.flushLater()
	c.mu.Unlock()
	t.up.Close()
}

// fromClient copies what the client sends.
func (t *relay) fromClient() {
	pool := t.c.pool
	lent := pool.Get(bufpool.Small)
	defer pool.Put(lent)
	for {
		n, err := t.read(lent.Bytes)
		if n > 0 {
			t.touch()
			if _, err := t.up.Write(lent.Bytes[:n]); err != nil {
				t.fail(exchange.SideUpstream, "tunnel-cut", err)
				return
			}
		}
		if err == errWhole {
			if err = t.up.CloseWrite(); err == nil {
				return
			}
		}
		if err != nil {
			t.fail(exchange.SideClient, "tunnel-cut", err)
			return
		}
	}
}

func (t *relay) read(p []byte) (int, error) {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	n, err := t.s.body.read(p)
	if err == errWhole {
		t.complete()
	}
	return n, err
}

// fromUpstream copies what the upstream sends.
func (t *relay) fromUpstream() {
	s := t.s
	s.lend(t.c.pool, -1)
	for {
		n, err := t.up.Read(s.data.Bytes)
		if n > 0 {
			t.touch()
			if err := t.toClient(s.data.Bytes[:n]); err != nil {
				t.fail(exchange.SideClient, "tunnel-cut", err)
				return
			}
			s.total += int64(n)
		}
		if err == io.EOF {
			if err = t.endClient(); err == nil {
				return
			}
		}
		if err != nil {
			t.fail(exchange.SideUpstream, "tunnel-cut", err)
			return
		}
	}
}
