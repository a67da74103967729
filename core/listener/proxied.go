package listener

import (
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// identify finds out who the client is; false: the connection does not begin as it
// must.
func (l *Listeners) identify(s *socket, nc net.Conn, c *exchange.Conn, p *config.ProxyParameters) bool {
	// Nobody else's header is read: a client could call itself what it likes.
	if within(c.Remote.Addr(), p.ProxyProtocol) {
		h, err := readProxyHeader(nc, p.HeaderTimeout)
		if err != nil {
			l.headers.With(s.key).Inc()
			l.log.Debug("PROXY protocol", zap.String("socket", s.key), zap.Stringer("remote", c.Remote), zap.Error(err))
			return false
		}
		if h.source.IsValid() {
			c.Remote, c.Local = h.source, h.destination
		}
	}
	complete(c, p)
	return true
}

// complete fills in what follows from a connection's addresses.
func complete(c *exchange.Conn, p *config.ProxyParameters) {
	ip := c.Remote.Addr()
	c.Trusted = within(ip, p.TrustedProxies)
	if ip.IsValid() {
		c.RemoteIP = []byte(ip.WithZone("").String())
	}
	c.LocalPort = strconv.AppendUint(nil, uint64(c.Local.Port()), 10)
}

// within reports whether one of the prefixes has the address.
func within(a netip.Addr, prefixes []netip.Prefix) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// readProxyHeader reads the header that a connection must begin with, and not a
// byte more: the codec wants the socket as it is.
func readProxyHeader(nc net.Conn, timeout time.Duration) (proxyHeader, error) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return proxyHeader{}, errProxyHeader
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return proxyHeader{}, err
	}
	_ = tcp.SetReadDeadline(time.Now().Add(timeout)) // fails on a closed connection, as the read then does
	b := make([]byte, 0, 512)
	for {
		if cap(b)-len(b) < 256 {
			b = append(make([]byte, 0, 2*cap(b)), b...)
		}
		var n int
		var peekErr error
		err := raw.Read(func(fd uintptr) bool {
			n, _, peekErr = unix.Recvfrom(int(fd), b[len(b):cap(b)], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			return peekErr != unix.EAGAIN && peekErr != unix.EINTR
		})
		if err == nil {
			err = peekErr
		}
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return proxyHeader{}, err
		}
		h, size, err := parseProxyHeader(b[:len(b)+n])
		if err != nil {
			return proxyHeader{}, err
		}
		take := n // all of it is the header's
		if size > 0 {
			take = size - len(b)
		}
		if _, err := io.ReadFull(tcp, b[len(b):len(b)+take]); err != nil {
			return proxyHeader{}, err
		}
		if b = b[:len(b)+take]; size > 0 {
			return h, tcp.SetReadDeadline(time.Time{})
		}
	}
}
