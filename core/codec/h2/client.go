package h2

import (
	"errors"
	"net"
	"time"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/internal/bufpool"
	"penstock.dev/penstock/core/telemetry"
)

// Client makes connections to upstreams. It is made once and used by all of
// them; its methods are safe for use by several goroutines.
type Client struct {
	pool   bufpool.Pool
	faults map[string]telemetry.Counter
}

// NewClient returns a Client. Connections and responses that it refuses are
// counted in penstock_codec_upstream_rejected_total, by reason.
func NewClient(m *telemetry.Metrics) *Client {
	s := &Client{faults: map[string]telemetry.Counter{}}
	c := m.Counters("penstock_codec_upstream_rejected_total", "Connections and responses of HTTP/2 upstreams that the codec refused.", "reason")
	for _, r := range append(reasons(), faultReasons()...) {
		s.faults[r] = c.With(r)
	}
	return s
}

// upstreamWindow is what an upstream may send on one connection. Every stream
// may be full and unread, and what was taken of others untold, without holding
// one up: the exchanges of a connection are different clients'.
const upstreamWindow = 2 * maxStreams * streamWindow

// UpstreamConn is one connection to an upstream, for several exchanges at a
// time. Its methods may be called by any goroutine unless they say otherwise.
type UpstreamConn struct {
	mux
	client  *Client
	scheme  []byte
	changed func(streams int)
	head    section // for the connection's own goroutine: of a head that is being read

	// Guarded by the connection's mutex.
	most    int       // streams that may be open at a time
	known   bool      // the upstream's SETTINGS came
	leaving bool      // no stream is opened any more
	served  uint32    // last stream of the upstream's GOAWAY
	told    int       // to changed; -1: nothing yet
	quiet   time.Time // since when no stream is open
	heard   time.Time // when a frame came last that was no answer to our ping, or the first stream opened
	seen    uint      // frames up to then
	pings   int       // sent since then
	pongs   uint      // answers that came, ever
	pingBy  time.Time // the answer to one must have come; zero: none is due
}

// NewConn readies nc, which is a new connection, for Serve. tls says that it is
// encrypted. changed is told how many streams may be open at a time, when the
// upstream's SETTINGS came and whenever that changes; it is 1 before, and 0 says
// that none may be opened, now or any more. It is called with the connection locked, so that
// it may call none of its methods. p is for the connection's whole life.
func (cl *Client) NewConn(nc net.Conn, p *config.ProxyParameters, tls bool, changed func(streams int)) *UpstreamConn {
	now := time.Now()
	c := &UpstreamConn{client: cl, scheme: fields.SchemeHTTP, changed: changed, most: maxStreams, served: 1<<31 - 1, told: -1, quiet: now, heard: now}
	c.init(c, nc, p, &cl.pool, upstreamWindow)
	if tls {
		c.scheme = fields.SchemeHTTPS
	}
	b := append(c.room(128), Preface...)
	b = appendFrame(b, frameSettings, 0, 0, 3*6)
	b = appendSetting(b, settingEnablePush, 0)
	b = appendSetting(b, settingInitialWindowSize, streamWindow)
	b = appendSetting(b, settingMaxHeaderListSize, uint32(c.lim.Bytes))
	c.out = appendWindowUpdate(b, 0, upstreamWindow-defaultWindow)
	return c
}

// Serve reads the connection until either side ends it, and closes it; no stream
// is open then. It is called once, on the connection's own goroutine.
func (c *UpstreamConn) Serve() {
	err := c.read()
	var mistake connError
	code, cause := codeNo, error(errLost)
	switch {
	case errors.As(err, &mistake):
		c.client.faults[mistake.reason].Inc()
		code, cause = mistake.code, &BadResponse{mistake.reason}
	case err == errSilent:
		c.client.faults[reasonSilent].Inc()
		cause = errSilent
	}
	c.mu.Lock()
	if !c.ended && (mistake.reason != "" || err == errIdle || err == errDrained) {
		c.out = appendGoAway(c.room(64), 0, code)
	}
	c.leaving = true
	c.tell()
	c.mux.end(cause, code)
	c.running.Wait()
}

// Drain opens no more streams, and closes the connection once none is open.
func (c *UpstreamConn) Drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving = true
	c.tell()
	if len(c.streams) == 0 {
		c.poke()
	}
}

// Abort closes the connection whatever it does.
func (c *UpstreamConn) Abort() { c.nc.Close() }

// tell tells how many streams may be open, if that has changed. c.mu is held.
func (c *UpstreamConn) tell() {
	n := c.allowed()
	if n != c.told {
		c.told = n
		c.changed(n)
	}
}

// allowed returns how many streams may be open. c.mu is held.
func (c *UpstreamConn) allowed() int {
	switch {
	case c.leaving || c.ended || c.dead || c.last >= 1<<31-1:
		return 0
	case !c.known:
		return 1
	}
	return c.most
}

// How a connection ends without a mistake of the upstream's.
var (
	errLost   = errors.New("connection closed")
	errSilent = errors.New("no answer to a ping")
)

// await implements role: a connection that has streams and is silent is asked
// whether it lives. An upstream that counts pings (gRPC allows two in five
// minutes) gets them at growing distances.
func (c *UpstreamConn) await(now time.Time) error {
	if c.leaving && len(c.streams) == 0 {
		return errDrained
	}
	if n := c.frames - c.pongs; n != c.seen {
		c.seen, c.heard, c.pings, c.pingBy = n, now, 0, time.Time{}
	}
	if len(c.streams) > 0 && c.pingBy.IsZero() && c.known && !now.Before(c.pingAt()) {
		c.pings++
		c.pingBy = now.Add(c.p.IdleTimeout / 4)
		c.out = appendPing(c.room(32), 0, alivePing)
	}
	return nil
}

var alivePing = []byte("penstock")

// pingAt returns when to ask next.
func (c *UpstreamConn) pingAt() time.Time {
	return c.heard.Add(c.p.IdleTimeout / 2 << (2 * min(c.pings, 2)))
}

// due implements role.
func (c *UpstreamConn) due(now time.Time) (time.Time, error) {
	switch {
	case !c.greeted || c.block.open:
		return c.began.Add(c.p.HeaderTimeout), connError{codeEnhanceYourCalm, "header-timeout"}
	case len(c.streams) == 0:
		return c.quiet.Add(c.p.IdleTimeout), errIdle
	case !c.pingBy.IsZero():
		return c.pingBy, errSilent
	}
	return c.pingAt(), nil
}

// pong implements role.
func (c *UpstreamConn) pong([]byte) {
	c.pongs++
	c.heard, c.pingBy = time.Now(), time.Time{}
}

// setting implements role.
func (c *UpstreamConn) setting(id uint16, value uint32) error {
	switch id {
	case settingEnablePush:
		if value != 0 { // RFC 9113, 6.5.2
			return connError{codeProtocol, "settings"}
		}
	case settingMaxConcurrentStreams:
		c.most = int(min(value, maxStreams))
	}
	return nil
}

// settled implements role.
func (c *UpstreamConn) settled() {
	c.known = true
	c.tell()
}

// goAway implements role (RFC 9113, 6.8): streams above last were not touched.
func (c *UpstreamConn) goAway(last uint32, _ code) error {
	if last > c.served {
		return connError{codeProtocol, "goaway"}
	}
	c.served, c.leaving = last, true
	for id, s := range c.streams {
		if id > last {
			c.drop(s, ErrRefused)
		}
	}
	c.tell()
	return nil
}

// rst implements role.
func (c *UpstreamConn) rst(s *flow, code code) error {
	switch {
	case s.in.whole: // it needs no more of the request (RFC 9113, 8.1)
		c.drop(s, errGone)
	case code == codeRefusedStream: // RFC 9113, 8.7
		c.drop(s, ErrRefused)
	default:
		c.drop(s, resetError{code})
	}
	return nil
}

// prioritize implements role: it is not for servers to say (RFC 9218, 7.1).
func (c *UpstreamConn) prioritize(uint32, uint8) error {
	return connError{codeProtocol, "priority-update"}
}

// lost implements role: a response that is whole stays so.
func (c *UpstreamConn) lost(s *flow, err error) {
	s.up.err = err
	if s.in.whole {
		s.in.wait.wake()
		return
	}
	s.in.fail(err)
}

// mistake implements role.
func (c *UpstreamConn) mistake(e streamError) error {
	c.client.faults[e.reason].Inc()
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[e.id]; s != nil {
		c.reset(s, e.code, &BadResponse{e.reason})
		return nil
	}
	if !c.control.Take(1) {
		return connError{codeEnhanceYourCalm, "control-flood"}
	}
	c.ignored.add(e.id)
	c.out = appendRST(c.room(32), e.id, e.code)
	return nil
}

// opens implements role.
func (c *UpstreamConn) opens(b *block) error {
	s := c.streams[b.id]
	switch {
	case s == nil && b.id > c.last:
		return connError{codeProtocol, "idle-stream"}
	case s == nil:
		return c.opensNothing(b.id, true)
	case b.err != nil:
		return nil
	case s.up.headed:
		c.opensTrailer(b, s, true)
		return nil
	}
	c.hd.BeginResponse(&c.lim, &c.head.fields, &c.head.arena)
	b.wanted = true
	return nil
}

// section implements role: it is a response's head, interim or final.
func (c *UpstreamConn) section(b *block) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.streams[b.id]
	if f == nil {
		c.head.arena.Reset()
		return nil // reset while its block came
	}
	r := c.hd.FinishResponse()
	interim := c.hd.Status < 200
	if r == nil && interim && b.endStream {
		r = fields.ErrStatus // RFC 9113, 8.1
	}
	if r == nil && interim {
		r = f.up.takeInterim(c)
	}
	if r != nil {
		c.head.arena.Reset()
		return streamError{b.id, codeProtocol, r.Reason}
	}
	f.up.received = true
	if interim {
		f.in.wait.wake()
		return nil
	}
	return f.up.takeHead(c, b.endStream)
}

var _ role = (*UpstreamConn)(nil)
