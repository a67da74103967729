package h3

import (
	"sync"

	"github.com/quic-go/quic-go"

	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
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
// did. Both, and streams that were reset for a client's mistake, are counted in
// penstock_codec_rejected_total, by reason.
func NewServer(h exchange.Handler, m *telemetry.Metrics, rejected func(conn *exchange.Conn, status int, reason string)) *Server {
	s := &Server{handler: h, rejected: rejected, refusals: map[string]telemetry.Counter{}}
	c := m.Counters("penstock_codec_rejected_total", "Requests that the HTTP codec refused.", "reason")
	for _, r := range reasons() {
		s.refusals[r] = c.With(r)
	}
	s.streams.New = func() any { return newStream() }
	return s
}

// What a connection may have open. A request's handler counts until it has ended,
// whatever became of its stream.
const (
	maxStreams    = 128
	maxUniStreams = 16 // three have a use; they count until they have ended
	streamWindow  = 128 << 10
	connWindow    = 512 << 10
	// Windows grow up to these while a client sends faster than they allow.
	mostStreamWindow = 512 << 10
	mostConnWindow   = 2 << 20
)

// Config returns how QUIC connections are to be made that are served with p:
// their limits and timeouts (RFC 9000, 18.2). There is no 0-RTT.
func Config(p *config.ProxyParameters) *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:           p.HeaderTimeout / 2, // the whole handshake may take twice as long
		MaxIdleTimeout:                 p.IdleTimeout,
		InitialStreamReceiveWindow:     streamWindow,
		MaxStreamReceiveWindow:         mostStreamWindow,
		InitialConnectionReceiveWindow: connWindow,
		MaxConnectionReceiveWindow:     mostConnWindow,
		MaxIncomingStreams:             maxStreams,
		MaxIncomingUniStreams:          maxUniStreams,
		RequireStreamCreditRelease:     true,
	}
}
