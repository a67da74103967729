package h2

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bucket"
	"penstock.dev/penstock/core/internal/bufpool"
	"penstock.dev/penstock/core/internal/workers"
	"penstock.dev/penstock/core/telemetry"
)

// Server serves client connections. It is made once and used by all of them;
// its methods are safe for use by several goroutines.
type Server struct {
	handler  exchange.Handler
	rejected func(conn *exchange.Conn, status int, reason string)
	refusals map[string]telemetry.Counter
	pool     bufpool.Pool
	streams  sync.Pool
	date     rfc9110.Date
	workers  workers.Pool // for streams
}

// NewServer returns a Server that hands exchanges to h. rejected, if it is not
// nil, is told of every request that the codec itself refused, with status 400
// if it was reset, and of every connection that it ended for what the client
// did, on the connection's goroutine. Both, and streams that were reset for a
// client's mistake, are counted in penstock_codec_rejected_total, by reason.
func NewServer(h exchange.Handler, m *telemetry.Metrics, rejected func(conn *exchange.Conn, status int, reason string)) *Server {
	s := &Server{handler: h, rejected: rejected, refusals: map[string]telemetry.Counter{}}
	c := m.Counters("penstock_codec_rejected_total", "Requests that the HTTP codec refused.", "reason")
	for _, r := range reasons() {
		s.refusals[r] = c.With(r)
	}
	s.streams.New = func() any { return newStream() }
	return s
}

// What a connection may have open, and what is advertised. One stream that
// nobody reads holds a 16th of the connection's window.
const (
	maxStreams   = 128
	maxServing   = 2 * maxStreams // handlers that run, of streams that were reset or have just ended too
	streamWindow = 128 << 10
	connWindow   = 2 << 20
)

// Conn is one client connection in service.
type Conn struct {
	mux
	server *Server
	conn   *exchange.Conn
	scheme []byte
	fresh  *stream // of the header block that is being read

	waiting []*stream // to be served; for the connection's own goroutine

	// Guarded by the connection's mutex.
	announced []announced

	serving  int       // handlers that run
	quiet    time.Time // since when no handler has run
	resets   bucket.Bucket
	drain    drainStage
	promised uint32    // last stream of the second GOAWAY
	drainBy  time.Time // the ping's answer is not waited for any longer
	started  bool      // our SETTINGS were sent
	panicked *panicked
}

// drainStage is how far Drain is.
type drainStage uint8

const (
	drainNot   drainStage = iota
	drainAsked            // first GOAWAY sent; streams that the client had sent before it saw it are served
	drainLast             // second GOAWAY sent
)

// NewConn readies nc, which conn describes, for Serve. p is for its whole life.
func (s *Server) NewConn(nc net.Conn, conn *exchange.Conn, p *config.ProxyParameters) *Conn {
	now := time.Now()
	c := &Conn{server: s, conn: conn, scheme: fields.SchemeHTTP, quiet: now, resets: bucket.New(resetBurst, resetPerSecond, now)}
	c.init(c, nc, p, &s.pool, connWindow)
	c.lim.Extended = true
	if conn.TLS != nil {
		c.scheme = fields.SchemeHTTPS
	}
	return c
}

// Preread gives c bytes that were read from the connection before; it copies
// them. To be called before Serve.
func (c *Conn) Preread(b []byte) { c.in.preread(b) }

// Serve serves exchanges until the client or Drain ends it, and closes the
// connection. It is called once, on the connection's own goroutine. It panics
// if a handler has panicked.
func (c *Conn) Serve() {
	err := c.serve()
	c.end(err)
	c.running.Wait()
	if c.panicked != nil {
		panic(c.panicked)
	}
}

// Drain tells the client to send no more requests (GOAWAY, twice), lets the
// streams that are there finish, and closes the connection then. It may be
// called by any goroutine, and does not wait.
func (c *Conn) Drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drain != drainNot {
		return
	}
	c.drain = drainAsked
	c.drainBy = time.Now().Add(drainTime)
	if c.started && !c.ended {
		c.out = appendGoAway(c.room(64), 1<<31-1, codeNo)
		c.out = appendPing(c.out, 0, drainPing)
		for _, s := range c.streams {
			if s.relay != nil {
				s.relay.goAway()
			}
		}
		c.flushLater()
	}
	c.poke()
}

// drainTime is how long the answer to drainPing is waited for: what the client
// sent before it saw the first GOAWAY has come by then.
const drainTime = time.Second

var drainPing = []byte("penstock")

// Abort closes the connection whatever it does. It may be called by any
// goroutine.
func (c *Conn) Abort() { c.nc.Close() }

// How Serve ends without a mistake of the client's.
var (
	errIdle    = errors.New("idle")
	errDrained = errors.New("drained")
)

func (c *Conn) serve() error {
	c.mu.Lock()
	b := appendFrame(c.room(128), frameSettings, 0, 0, 5*6)
	b = appendSetting(b, settingMaxConcurrentStreams, maxStreams)
	b = appendSetting(b, settingInitialWindowSize, streamWindow)
	b = appendSetting(b, settingMaxHeaderListSize, uint32(c.lim.Bytes))
	b = appendSetting(b, settingExtendedConnect, 1)
	b = appendSetting(b, settingNoPriorities, 1)
	c.out = appendWindowUpdate(b, 0, connWindow-defaultWindow)
	c.started = true
	c.mu.Unlock()
	if !secure(c.conn.TLS) {
		return connError{codeInadequateSecurity, "tls"}
	}
	if err := c.in.preface(); err != nil {
		return err
	}
	return c.read()
}

// secure reports whether HTTP/2 may be spoken over TLS of that kind (RFC 9113,
// 9.2): 1.3, or 1.2 with an ephemeral key and an AEAD.
func secure(s *tls.ConnectionState) bool {
	if s == nil || s.Version >= tls.VersionTLS13 {
		return true
	}
	switch s.CipherSuite {
	case tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
		return s.Version == tls.VersionTLS12
	}
	return false
}

// count counts a refusal.
func (c *Conn) count(reason string) { c.server.refusals[reason].Inc() }

// reject counts the refusal of a request or of the connection, and tells of it.
func (c *Conn) reject(status int, reason string) {
	c.count(reason)
	if c.server.rejected != nil {
		c.server.rejected(c.conn, status, reason)
	}
}
