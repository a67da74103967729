package certs

import (
	"net"
	"sync/atomic"
	"time"
)

// Carrier is a connection below TLS. crypto/tls also writes by itself, to answer a
// KeyUpdate for one (RFC 8446, 4.6.3); a write that begins after the deadline of the
// last message has passed gets a deadline of its own, since a write that fails is the
// last one that TLS tries.
type Carrier struct {
	*net.TCPConn
	idle    time.Duration
	writeBy atomic.Int64 // the armed deadline, in nanoseconds of Unix time
}

// NewCarrier returns a Carrier over tcp. idle is what such a write may take.
func NewCarrier(tcp *net.TCPConn, idle time.Duration) *Carrier {
	return &Carrier{TCPConn: tcp, idle: idle}
}

// SetWriteDeadline implements net.Conn.
func (c *Carrier) SetWriteDeadline(t time.Time) error {
	c.writeBy.Store(t.UnixNano())
	return c.TCPConn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *Carrier) SetDeadline(t time.Time) error {
	c.writeBy.Store(t.UnixNano())
	return c.TCPConn.SetDeadline(t)
}

// Write implements net.Conn.
func (c *Carrier) Write(p []byte) (int, error) {
	if now := time.Now(); now.UnixNano() > c.writeBy.Load() {
		_ = c.SetWriteDeadline(now.Add(c.idle)) // fails on a closed connection, as the write then does
	}
	return c.TCPConn.Write(p)
}

var _ net.Conn = (*Carrier)(nil)
