package listener

import (
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

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
