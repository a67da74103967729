package upstream

import (
	"context"
	"errors"
	"net"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/certs"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// alpn is what is asked for over TLS: what is spoken to the group (RFC 7301).
func alpn(protocol string) []string {
	if protocol == config.ProtocolH2C {
		return []string{"h2"}
	}
	return []string{"http/1.1"}
}

// open connects to an endpoint, and agrees on TLS if the group has it, all within
// limit. No byte of a request was sent when it fails.
func (g *Group) open(e *endpoint, limit time.Duration) (nc net.Conn, agreed string, _ *exchange.Error) {
	nc, err := g.set.dial(g.set.ctx, g.config.Name, e.config, limit)
	if err != nil {
		g.failed()
		return nil, "", dialFault(err)
	}
	if g.tls == nil {
		return nc, "", nil
	}
	ctx, cancel := context.WithTimeout(g.set.ctx, limit)
	defer cancel()
	nc, agreed, err = g.tls.Handshake(ctx, nc, g.config.Parameters.IdleTimeout)
	if err != nil {
		g.failed()
		g.notSecured(e, err)
		return nil, "", handshakeFault(err)
	}
	return nc, agreed, nil
}

// notSecured counts a handshake that failed, and logs why now and then.
func (g *Group) notSecured(e *endpoint, err error) {
	g.set.insecure.With(g.config.Name).Inc()
	if g.set.ctx.Err() == nil && g.told.due() {
		g.set.log.Warn("TLS with an upstream fails, and nothing is sent to it",
			zap.String("upstream", g.config.Name), zap.String("endpoint", e.text), zap.Error(err))
	}
}

// handshakeFault says why an endpoint could not be spoken to.
func handshakeFault(err error) *exchange.Error {
	e := fault(exchange.SideUpstream, 502, "tls-handshake", err)
	e.Retry = true
	switch {
	case errors.Is(err, certs.ErrFault):
		return fault(exchange.SideProxy, 500, "tls-config", err)
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		e.Status, e.Reason = 504, "connect-timeout"
	}
	return e
}
