package listener

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/certs"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/listener/sniff"
)

// ConnHandler serves raw connections. Implemented by proxy.
type ConnHandler interface {
	// ServeConn serves one to its end and closes it. nc is TCP, or TLS that was
	// agreed on; head is what was read of it already: what a client whose TLS is
	// passed through said first. It resets both sides once ctx is done.
	ServeConn(ctx context.Context, nc net.Conn, head []byte, about *exchange.Conn)
}

// removedFor is how long raw connections live on after their listener is gone: as
// long as exchanges may keep a chain that was replaced.
const removedFor = 5 * time.Minute

// ServeRaw makes h serve raw connections, and f flows of datagrams. To be called
// before the first Reconcile.
func (l *Listeners) ServeRaw(h ConnHandler, f FlowHandler) { l.raw, l.datagrams = h, f }

// rawConn is a raw connection that is served.
type rawConn struct {
	l     *Listeners
	nc    net.Conn
	head  []byte
	about *exchange.Conn
	ctx   context.Context
	end   context.CancelFunc
}

func (l *Listeners) newRaw(nc net.Conn, head []byte, about *exchange.Conn) *rawConn {
	c := &rawConn{l: l, nc: nc, head: head, about: about}
	c.ctx, c.end = context.WithCancel(l.ctx)
	return c
}

var _ served = (*rawConn)(nil)

// Serve implements served.
func (c *rawConn) Serve() {
	defer c.end()
	c.l.raw.ServeConn(c.ctx, c.nc, c.head, c.about)
}

// Drain implements served: only both ends know when a raw connection is over. It
// lives until the drain's deadline.
func (c *rawConn) Drain() {}

// rawOf returns what serves nc as a raw connection; nil if it is none.
func (l *Listeners) rawOf(s *socket, nc net.Conn, about *exchange.Conn) served {
	if l.raw == nil || !s.serves(about) {
		return nil
	}
	return l.newRaw(nc, nil, about)
}

// passed looks at what the client of a socket with TLS says first, where that may
// be passed through. It returns what serves it then. Else TLS is to be agreed on,
// with head as its beginning; with neither the connection is closed.
func (l *Listeners) passed(s *socket, server *certs.Server, nc net.Conn, about *exchange.Conn, p *config.ProxyParameters) (passed served, head []byte, ok bool) {
	if !s.passes.Load() || l.raw == nil {
		return nil, nil, true
	}
	head, hello, err := readHello(nc, p.HeaderTimeout)
	switch {
	case errors.Is(err, sniff.ErrNotTLS), errors.Is(err, sniff.ErrHello):
		return nil, head, true // the handshake says what is wrong with it
	case err != nil:
		reason := "client_gone"
		if errors.Is(err, os.ErrDeadlineExceeded) {
			reason = "timeout"
		}
		l.failures.With(s.key, reason).Inc()
		l.log.Debug("handshake", zap.String("socket", s.key), zap.Stringer("remote", about.Remote), zap.String("reason", reason), zap.Error(err))
		return nil, nil, false
	}
	name := strings.ToLower(string(hello.ServerName))
	switch chosen, known := server.Choose(name); {
	case !known && !s.ends.Load(): // whoever does not speak TLS sends no alert
		l.failures.With(s.key, string(certs.UnknownName)).Inc()
		if below, ok := nc.(interface{ SetLinger(int) error }); ok {
			_ = below.SetLinger(0) // fails on a closed connection
		}
		return nil, nil, false
	case !known || chosen.TLS != nil:
		return nil, head, true
	}
	about.ServerName = name
	return l.newRaw(nc, head, about), nil, true
}

// helloRoom is what a ClientHello is read into first: most fit.
const helloRoom = 2 << 10

// readHello reads until the ClientHello is whole, or something else. head is all
// that was read.
func readHello(nc net.Conn, timeout time.Duration) (head []byte, h sniff.Hello, err error) {
	_ = nc.SetReadDeadline(time.Now().Add(timeout)) // fails on a closed connection, as the read then does
	b := make([]byte, 0, helloRoom)
	for {
		h, need, err := sniff.ClientHello(b)
		if err != nil || need == 0 {
			return b, h, err
		}
		if need > cap(b) {
			b = append(make([]byte, 0, min(max(need, 2*cap(b)), sniff.MaxHello)), b...)
		}
		n, err := io.ReadAtLeast(nc, b[len(b):cap(b)], need-len(b))
		b = b[:len(b)+n]
		if err != nil {
			// What came may be no TLS at all, which the handshake answers.
			if _, _, no := sniff.ClientHello(b); no != nil {
				err = no
			}
			return b, h, err
		}
	}
}

// retire ends, some time later, the raw connections that a socket would not serve as
// such any more: it is gone, or the listener that they came to is. l.mu is held.
func (l *Listeners) retire(s *socket) {
	time.AfterFunc(l.removedFor, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for c := range l.conns {
			if raw, ok := c.served.(*rawConn); ok && c.socket == s && (l.sockets[s.key] != s || !s.serves(raw.about)) {
				c.cut()
			}
		}
	})
}

// serves reports whether what was said of a connection makes it a raw one.
func (s *socket) serves(about *exchange.Conn) bool {
	server := s.tls.Load()
	if server == nil {
		return s.raw.Load()
	}
	name := about.ServerName
	if about.TLS != nil {
		name = about.TLS.ServerName
	}
	chosen, known := server.Choose(name)
	return known && chosen.Raw
}

// cut closes a connection that is still served, a raw one with a reset: its end
// must not look like that of what was sent. l.mu is held.
func (c *client) cut() {
	raw, ok := c.served.(*rawConn)
	if ok {
		raw.end()
	}
	if tcp, is := c.nc.(*net.TCPConn); ok && is {
		_ = tcp.SetLinger(0) // fails on a closed connection
	}
	c.close()
}

// passesAny reports whether the TLS of one of the names is passed through.
func passesAny(names []config.ServerName) bool {
	for _, n := range names {
		if n.TLS == nil {
			return true
		}
	}
	return false
}
