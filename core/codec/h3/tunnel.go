package h3

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

// handshake makes of an extended CONNECT (RFC 9220) the handshake of RFC 6455.
func (s *stream) handshake() {
	s.key = fields.Handshake(&s.x)
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
	b, dated, ok := encoding.AppendFields(appendStatus(appendSection(s.fields[:0]), status), &p.Header)
	if !ok {
		return fields.ErrInvalidMessage
	}
	if !dated {
		b = encoding.AppendDate(b, &s.c.server.date)
	}
	s.fields = endSection(b)
	if err := s.writeHead(x, s.fields, false); err != nil {
		return err
	}
	t := &relay{s: s, up: up, idle: s.c.p.TunnelTimeout, began: time.Now()}
	t.timer = time.AfterFunc(t.idle, t.watch)
	defer t.stop()
	s.c.relayed(t)
	defer s.c.unrelayed(t)
	var wg sync.WaitGroup
	wg.Go(t.fromClient)
	t.fromUpstream()
	wg.Wait()
	s.body.bytes.Store(t.sent)
	s.total = t.received
	s.finished = t.fault == nil
	return t.fault
}

// relay is the two ends of a tunnel.
type relay struct {
	s     *stream
	up    exchange.Tunnel
	idle  time.Duration
	timer *time.Timer
	began time.Time
	last  atomic.Int64 // when a byte came, in nanoseconds since the relay began
	// Each is written by one of the two goroutines.
	left           uint64 // of the client's DATA frame
	sent, received int64

	closing atomic.Bool // the client is to be told that the proxy goes away
	// mu is held while something is written to the client; guards what follows.
	mu     sync.Mutex
	frames rfc9110.WebSocketFrames // to the client
	closed bool                    // it was told

	watching sync.Mutex // held while watch runs
	over     bool       // guarded by watching

	once  sync.Once
	fault error // why it ended before both ends had closed; set by once
}

// relayed notes a tunnel, for Drain.
func (c *Conn) relayed(t *relay) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.relays == nil {
		c.relays = map[*relay]struct{}{}
	}
	c.relays[t] = struct{}{}
	if c.drain != drainNot {
		t.goAway()
	}
}

func (c *Conn) unrelayed(t *relay) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.relays, t)
}

// goAway has a WebSocket client told that the proxy goes away, as soon as no frame is on
// its way to it. What the client answers ends the connection. It does not wait: whoever
// writes meanwhile tells it.
func (t *relay) goAway() {
	if t.s.connect { // who knows what it carries
		return
	}
	t.closing.Store(true)
	t.tryClose()
}

// tryClose sends the close frame if it is time, and nobody else is writing.
func (t *relay) tryClose() {
	if !t.closing.Load() || !t.mu.TryLock() {
		return
	}
	defer t.mu.Unlock()
	if !t.closed && t.frames.Between() {
		t.close()
	}
}

// close sends the close frame; a client that gives no room for it is told later, or
// cut. mu is held.
func (t *relay) close() {
	t.closed = t.s.qs.TryWriteAll(appendFrame(nil, frameData, rfc9110.WebSocketGoingAway)) == nil
}

// toClient writes what the upstream sent: b is that behind room for a frame's
// header. After the close nothing follows.
func (t *relay) toClient(b []byte) error {
	defer t.tryClose() // asked for when mu was held
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.s.connect {
		putFrame(b, frameData, len(b)-frameHeaderLen)
		return t.s.write(b, false)
	}
	for content := b[frameHeaderLen:]; len(content) > 0 && !t.closed; {
		if t.closing.Load() && t.frames.Between() {
			if t.close(); t.closed {
				break
			}
		}
		n := 0
		for n < len(content) && (n == 0 || !t.closing.Load()) {
			n += t.frames.Next(content[n:])
		}
		putFrame(b, frameData, n)
		if err := t.s.write(b[:frameHeaderLen+n], false); err != nil {
			return err
		}
		// What follows moves behind the header.
		content = content[:copy(b[frameHeaderLen:], content[n:])]
	}
	return nil
}

// stop ends watch, which may be under way: the stream is another exchange's soon.
func (t *relay) stop() {
	t.timer.Stop()
	t.watching.Lock()
	defer t.watching.Unlock()
	t.over = true
}

// watch ends a tunnel on which nothing comes any more.
func (t *relay) watch() {
	t.watching.Lock()
	defer t.watching.Unlock()
	if t.over {
		return
	}
	if left := t.idle - (time.Since(t.began) - time.Duration(t.last.Load())); left > 0 {
		t.timer.Reset(left)
		return
	}
	t.fail(exchange.SideClient, "tunnel-timeout", errTimeout)
}

func (t *relay) touch() { t.last.Store(int64(time.Since(t.began))) }

// fail ends both directions; the first one says why.
func (t *relay) fail(side exchange.Side, reason string, err error) {
	t.once.Do(func() {
		t.fault = &exchange.Error{Phase: exchange.PhaseResponseBody, Side: side, Status: 502, Reason: reason, Err: err}
	})
	code := codeRequestCancelled // RFC 9220, 3
	if t.s.connect && side == exchange.SideUpstream {
		code = codeConnect // RFC 9114, 4.4
	}
	t.s.reset(code)
	t.up.Close()
}

// fromClient copies what the client sends.
func (t *relay) fromClient() {
	pool := &t.s.c.server.pool
	lent := pool.Get(bufpool.Small)
	defer pool.Put(lent)
	_ = t.s.qs.SetReadDeadline(time.Time{}) // never fails; watch is for that
	for {
		n, err := t.read(lent.Bytes)
		if n > 0 {
			t.touch()
			t.sent += int64(n)
			if _, err := t.up.Write(lent.Bytes[:n]); err != nil {
				t.fail(exchange.SideUpstream, "tunnel-cut", err)
				return
			}
		}
		if err == io.EOF {
			t.s.whole = true
			err = t.up.CloseWrite()
			if err == nil {
				return
			}
		}
		if err != nil {
			t.s.c.fail(misread(err))
			t.fail(exchange.SideClient, "tunnel-cut", err)
			return
		}
	}
}

// read reads what DATA frames carry: no other known ones may come (RFC 9114, 4.4).
func (t *relay) read(p []byte) (int, error) {
	for t.left == 0 {
		kind, size, err := t.s.frame()
		if err != nil {
			return 0, err
		}
		if kind != frameData {
			return 0, connError{codeFrameUnexpected, "frame-unexpected"}
		}
		if size == 0 {
			if err := t.s.c.control(1); err != nil {
				return 0, err
			}
		}
		t.left = size
	}
	n, err := t.s.in.payload(p, t.left)
	t.left -= uint64(n)
	return n, err
}

// fromUpstream copies what the upstream sends.
func (t *relay) fromUpstream() {
	s := t.s
	s.data = s.c.server.pool.Get(bufpool.Medium)
	buf := s.data.Bytes
	for {
		n, err := t.up.Read(buf[frameHeaderLen:])
		if n > 0 {
			t.touch()
			if err := t.toClient(buf[:frameHeaderLen+n]); err != nil {
				t.fail(exchange.SideClient, "tunnel-cut", err)
				return
			}
			t.received += int64(n)
		}
		if err == io.EOF {
			if s.qs.Close() == nil {
				return
			}
		}
		if err != nil {
			t.fail(exchange.SideUpstream, "tunnel-cut", err)
			return
		}
	}
}
