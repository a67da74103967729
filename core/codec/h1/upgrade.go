package h1

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bufpool"
)

// switchable reports whether a connection may go on with this protocol: one
// token, with a version or without (RFC 9110, 7.8). What would be HTTP again is
// not: a request in it would pass no filter (h2c), or never be seen (TLS).
func switchable(protocol []byte) bool {
	name := protocol
	for i, c := range protocol {
		if c == '/' {
			name = protocol[:i]
			if !rfc9110.ValidToken(protocol[i+1:]) {
				return false
			}
			break
		}
	}
	if !rfc9110.ValidToken(name) {
		return false
	}
	for _, refused := range []string{"h2c", "h2", "http", "tls"} {
		if rfc9110.Fold(name, refused) {
			return false
		}
	}
	return true
}

func appendUpgrade(b, protocol []byte) []byte {
	b = append(b, "Connection: Upgrade\r\nUpgrade: "...)
	b = append(b, protocol...)
	return append(b, '\r', '\n')
}

// beginTunnel takes the upstream's 101: to the protocol that was asked for.
func (c *UpstreamConn) beginTunnel(x *exchange.Exchange) error {
	q, p, hd := &x.Request, &x.Response, &c.hd
	if len(q.Upgrade) == 0 || !hd.switches || hd.upgrades != 1 || !exchange.EqualFold(hd.upgrade, q.Upgrade) || hd.chunked || hd.length > 0 {
		return errSwitch
	}
	p.ContentLength, p.Body = 0, nil
	p.Upgrade, p.Tunnel = hd.upgrade, &tunnel{c: c}
	return nil
}

// connected takes a 2xx to a CONNECT: what follows its head is the tunnel's, whatever
// length it says (RFC 9110, 9.3.6).
func (c *UpstreamConn) connected(x *exchange.Exchange) {
	p := &x.Response
	p.Header.Del("Content-Length")
	p.ContentLength, p.Body = 0, nil
	p.Upgrade, p.Tunnel = nil, &tunnel{c: c}
}

// tunnel is the exchange.Tunnel of a connection to an upstream.
type tunnel struct {
	c         *UpstreamConn
	unbounded bool        // reads have no deadline
	ended     atomic.Bool // no more is written
	closed    atomic.Bool
}

// Read implements io.Reader. It waits without a bound: whoever copies watches the
// time, and ends it by Close.
func (t *tunnel) Read(p []byte) (int, error) {
	in := &t.c.in
	if in.r < in.end {
		n := copy(p, in.buffered())
		in.take(n)
		return n, nil
	}
	w := &t.c.w
	if !t.unbounded { // the response's head was waited for
		t.unbounded = true
		w.readBy = time.Time{}
		w.nc.SetReadDeadline(time.Time{})
	}
	return w.read(p)
}

// Write implements io.Writer.
func (t *tunnel) Write(p []byte) (int, error) {
	if err := t.c.w.write(p, time.Now(), t.c.p.IdleTimeout); err != nil {
		return 0, err
	}
	return len(p), nil
}

// CloseWrite implements exchange.Tunnel.
func (t *tunnel) CloseWrite() error {
	t.ended.Store(true)
	return closeWrite(t.c.w.nc)
}

// Close implements exchange.Tunnel.
func (t *tunnel) Close() {
	if t.closed.Swap(true) {
		return
	}
	if t.ended.Load() {
		t.c.Close()
	} else {
		t.c.w.reset()
	}
	t.c.free(false)
}

var errNoHalfClose = errors.New("the connection cannot be closed in one direction")

func closeWrite(nc net.Conn) error {
	if half, ok := nc.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errNoHalfClose
}

// appendOpening appends the head that a tunnel begins behind: a 101 with what was
// asked for, or a 2xx to a CONNECT, where nothing frames content (RFC 9110, 9.3.6).
// ok is false if the response is neither.
func (c *Conn) appendOpening(b []byte, x *exchange.Exchange) (_ []byte, ok bool) {
	p := &x.Response
	if x.Request.Connect() {
		b, dated, ok := appendFields(appendStatus(b, p.Status), &p.Header, false)
		if !dated {
			b = c.server.appendDate(b, time.Now())
		}
		return append(b, '\r', '\n'), ok && p.Status/100 == 2
	}
	b, _, ok = appendFields(append(b, "HTTP/1.1 101 Switching Protocols\r\n"...), &p.Header, false)
	ok = ok && p.Status == 101 && len(x.Request.Upgrade) > 0 && switchable(p.Upgrade)
	return append(appendUpgrade(b, p.Upgrade), '\r', '\n'), ok
}

// sendTunnel sends the head of a tunnel and what follows, both ways, until both ends
// have closed or neither has sent anything for TunnelTimeout.
func (c *Conn) sendTunnel(x *exchange.Exchange) error {
	p := &x.Response
	up := p.Tunnel
	defer up.Close()
	c.out.begin()
	b, ok := c.appendOpening(c.out.b, x)
	if !ok {
		return c.broken(x, ErrInvalidMessage)
	}
	c.out.b = b
	c.last, x.HeadersSent = true, true
	if err := c.out.flush(); err != nil {
		return c.broken(x, err)
	}
	c.out.release()
	t := &pair{c: c, up: up, idle: c.p.TunnelTimeout, websocket: rfc9110.Fold(p.Upgrade, "websocket")}
	if mine, ok := up.(*tunnel); ok {
		t.upstream = mine.c
	}
	t.touch()
	if t.upstream == nil { // its reads have no deadline
		t.watching.Store(time.AfterFunc(t.idle, t.watch)) // stored long before it runs
	}
	c.tunnel.Store(t) // for Abort
	defer c.tunnel.Store(nil)
	c.waiting.Store(true) // for Drain
	defer c.waiting.Store(false)
	if c.draining.Load() {
		t.goAway()
	}
	var wg sync.WaitGroup
	wg.Go(t.fromClient)
	t.fromUpstream()
	wg.Wait()
	t.stop()
	x.RequestBytes, x.ResponseBytes = t.sent, t.received
	if t.fault != nil {
		c.reset = true
		return t.fault
	}
	return nil
}

// pair is the two ends of a tunnel.
type pair struct {
	c        *Conn
	up       exchange.Tunnel
	upstream *UpstreamConn // nil: of another codec
	lent     *bufpool.Buffer
	idle     time.Duration
	last     atomic.Int64 // when a byte came, in nanoseconds since the pair began
	began    time.Time
	ended    atomic.Int32 // directions that are over
	// Each is written by one of the two goroutines.
	sent, received int64

	// mu is held while something is written to the client.
	mu        sync.Mutex
	websocket bool
	frames    rfc9110.WebSocketFrames // to the client
	closed    bool                    // the client was told that the proxy goes away

	closing atomic.Bool // the client is to be told

	late     atomic.Pointer[time.Timer] // ends a WebSocket that one side has left
	watching atomic.Pointer[time.Timer] // ends a tunnel to another codec on which nothing comes; nil: none
	once     sync.Once
	fault    *exchange.Error // why it ended before both ends had closed; set by once
}

func (t *pair) touch() {
	if t.began.IsZero() {
		t.began = time.Now()
	}
	t.last.Store(int64(time.Since(t.began)))
}

// quiet reports whether nothing came for the idle time.
func (t *pair) quiet() bool { return time.Since(t.began)-time.Duration(t.last.Load()) >= t.idle }

// fromClient copies what the client sends.
func (t *pair) fromClient() {
	in := &t.c.in
	for {
		if in.r == in.end {
			in.drop() // the head stays
			t.c.w.armRead(time.Now(), t.idle)
			err := in.next()
			if t.c.draining.Load() {
				t.goAway()
			}
			if err == errInterrupted || err == errTimeout && !t.quiet() {
				continue
			}
			if err != nil {
				t.end(err, exchange.SideClient, t.up.CloseWrite)
				return
			}
		}
		t.touch()
		n, err := t.up.Write(in.buffered())
		t.sent += int64(n)
		if err != nil {
			t.end(err, exchange.SideUpstream, nil)
			return
		}
		in.take(n)
	}
}

// fromUpstream copies what the upstream sends.
func (t *pair) fromUpstream() {
	for {
		b, err := t.next()
		if err == errInterrupted || err == errTimeout && !t.quiet() {
			continue
		}
		if err != nil {
			t.done()
			t.end(err, exchange.SideUpstream, func() error { return closeWrite(t.c.w.nc) })
			return
		}
		t.touch()
		err = t.toClient(b)
		t.done()
		if err != nil {
			t.end(err, exchange.SideClient, nil)
			return
		}
		t.received += int64(len(b))
	}
}

// next returns what the upstream has sent, which is there until done. Where it
// can, it waits without a buffer.
func (t *pair) next() ([]byte, error) {
	if t.upstream == nil {
		t.lent = t.c.server.pool.Get(bufpool.Medium)
		n, err := t.up.Read(t.lent.Bytes)
		if n > 0 {
			err = nil
		}
		return t.lent.Bytes[:n], err
	}
	in := &t.upstream.in
	if in.r == in.end {
		t.upstream.w.armRead(time.Now(), t.idle)
		if err := in.next(); err != nil {
			return nil, err
		}
	}
	return in.buffered(), nil
}

func (t *pair) done() {
	if t.upstream != nil {
		t.upstream.in.drop()
		return
	}
	t.c.server.pool.Put(t.lent)
	t.lent = nil
}

// end ends one direction. After an orderly end the other goes on, as long as bytes
// come and the half close could be handed on.
func (t *pair) end(err error, side exchange.Side, half func() error) {
	if err == io.EOF && half != nil && half() == nil {
		if t.ended.Add(1) == 2 {
			t.once.Do(func() {}) // what closing does to the other side is no fault
			t.up.Close()
		} else if t.websocket {
			t.late.Store(time.AfterFunc(afterHalf, t.abort))
		}
		return
	}
	t.once.Do(func() {
		reason := "tunnel-cut"
		if err == errTimeout {
			reason = "tunnel-timeout"
		}
		t.fault = &exchange.Error{Phase: exchange.PhaseResponseBody, Side: side, Status: 502, Reason: reason, Err: err}
	})
	t.abort()
}

// afterHalf is how long a WebSocket lives on that one side has closed: its protocol
// has an end of its own (RFC 6455, 7), and knows no half of one.
const afterHalf = 10 * time.Second

// stop ends what is timed; what comes too late changes nothing.
func (t *pair) stop() {
	t.once.Do(func() {})
	for _, timer := range []*time.Timer{t.late.Load(), t.watching.Load()} {
		if timer != nil {
			timer.Stop()
		}
	}
}

// watch ends a tunnel on which nothing comes any more.
func (t *pair) watch() {
	if left := t.idle - (time.Since(t.began) - time.Duration(t.last.Load())); left > 0 {
		t.watching.Load().Reset(left)
		return
	}
	t.end(errTimeout, exchange.SideUpstream, nil)
}

// abort ends both directions. Any goroutine may call it.
func (t *pair) abort() {
	t.up.Close()
	t.c.w.reset()
}
