package listener

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/quic-go/quic-go"
	"go.uber.org/zap"

	"penstock.dev/penstock/core/certs"
	"penstock.dev/penstock/core/codec/h3"
	"penstock.dev/penstock/core/config"
)

// attempt is a QUIC connection whose handshake is under way. It travels in the
// context that QUIC gives to TLS and to the connection.
type attempt struct {
	q          *quicSocket
	socket     *socket
	parameters *config.ProxyParameters // of the connection, for its whole life
	unwatch    func() bool

	mu      sync.Mutex
	refusal certs.Refusal
	chosen  config.ServerName
}

// attemptKey is where a context has its attempt.
type attemptKey struct{}

// attemptContext is a context with an attempt.
type attemptContext struct {
	context.Context
	a *attempt
}

// Value implements context.Context.
func (c attemptContext) Value(key any) any {
	switch key.(type) {
	case attemptKey, certs.RefusableKey:
		return c.a
	}
	return c.Context.Value(key)
}

// What refuses a connection before its handshake.
var (
	errBusy     = errors.New("too many handshakes are under way")
	errCrowded  = errors.New("the client has as many connections as it may")
	errNoHeader = errors.New("the peer must speak PROXY protocol")
)

// attempt begins a connection; after an error it is refused. It is called by QUIC,
// which it may not keep waiting.
func (l *Listeners) attempt(q *quicSocket, ctx context.Context, about *quic.ClientInfo) (context.Context, error) {
	s := q.socket.Load()
	a := &attempt{q: q, socket: s, parameters: s.parameters.Load()}
	remote := udp(about.RemoteAddr).Addr()
	switch {
	case q.handshakes.Load() >= mostHandshakes:
		l.failures.With(q.key, "busy").Inc()
		return nil, errBusy
	case within(remote, a.parameters.ProxyProtocol):
		l.headers.With(q.key).Inc()
		return nil, errNoHeader
	case l.crowds(remote, a.parameters):
		l.crowded.With(q.key).Inc()
		return nil, errCrowded
	}
	q.handshakes.Add(1)
	a.unwatch = context.AfterFunc(ctx, func() { l.failed(a, about.RemoteAddr, context.Cause(ctx)) })
	return attemptContext{ctx, a}, nil
}

// configure returns the settings of a new connection.
func (q *quicSocket) configure(*quic.ClientInfo) (*quic.Config, error) {
	return h3.Config(q.socket.Load().parameters.Load()), nil
}

// succeed ends the attempt well.
func (a *attempt) succeed() {
	if a.unwatch() {
		a.q.handshakes.Add(-1)
	}
}

// failed ends it badly.
func (l *Listeners) failed(a *attempt, remote net.Addr, err error) {
	a.q.handshakes.Add(-1)
	reason := a.failure(err)
	l.failures.With(a.q.key, reason).Inc()
	l.log.Debug("handshake", zap.String("socket", a.q.key), zap.Stringer("remote", remote), zap.String("reason", reason), zap.Error(err))
}

// Refuse implements certs.Refusable.
func (a *attempt) Refuse(why certs.Refusal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refusal = why
}

// Choose implements certs.Choosable.
func (a *attempt) Choose(n config.ServerName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.chosen = n
}

// owner is the Gateway whose listener ends TLS.
func (a *attempt) owner() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.chosen.Owner
}

// failure names why a handshake failed, for metrics, as with TCP.
func (a *attempt) failure(err error) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var transport *quic.TransportError
	var application *quic.ApplicationError
	var slow *quic.HandshakeTimeoutError
	var idle *quic.IdleTimeoutError
	switch {
	case a.refusal != "":
		return string(a.refusal)
	case errors.As(err, &slow), errors.As(err, &idle):
		return "timeout"
	case errors.As(err, &transport) && transport.Remote && transport.ErrorCode.IsCryptoError():
		return "client_alert"
	case errors.As(err, &transport) && transport.Remote, errors.As(err, &application) && application.Remote:
		return "client_gone"
	case certs.ClientRefusal(err) != "":
		return string(certs.ClientRefusal(err))
	}
	return "other"
}
