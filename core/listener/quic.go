package listener

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// quicSocket is the UDP side of a socket. It outlives it: its connections are
// drained.
type quicSocket struct {
	address    netip.AddrPort
	key        string // of the socket, in metrics
	pc         net.PacketConn
	transport  *quic.Transport
	handshakes atomic.Int64 // under way
	closed     chan struct{}
	open       telemetry.Gauge
	accepted   telemetry.Counter
	failures   telemetry.Counters

	// socket is what its connections belong to: read by QUIC's callbacks, which
	// may not wait for Listeners.mu.
	socket atomic.Pointer[socket]

	// Guarded by Listeners.mu.
	ln    *quic.Listener // nil: no connections are accepted
	conns int
}

// How many handshakes of one socket may be under way: from the first bound on,
// clients must show that they are where they say (Retry; RFC 9000, 8.1.2), from the
// second on connections are refused.
const (
	mostUnverified = 256
	mostHandshakes = 4096
)

// altSvcAge is how long clients may remember where HTTP/3 is (RFC 7838, 3.1).
const altSvcAge = 24 * 60 * 60

// retryUDP is how long it takes until a UDP port that could not be bound is tried
// again: a process that this one replaces may drain connections on it.
const retryUDP = 5 * time.Second

// offer makes s serve HTTP/3, or stop to, as w says. A UDP port that cannot be
// bound is logged, and tried again: TCP serves all the same. l.mu is held.
func (l *Listeners) offer(s *socket, w config.Socket) {
	if w.Names == nil || !w.Parameters.HTTP3 {
		l.retract(s)
		return
	}
	port := cmp.Or(w.Port, w.Address.Port())
	if s.quic != nil {
		s.advertise(port)
		return
	}
	if s.retry != nil {
		return
	}
	if err := l.openQUIC(s, port); err != nil {
		l.log.Error("no HTTP/3 until its UDP port can be used", zap.String("socket", s.key), zap.Error(err))
		l.offerLater(s, port)
	}
}

// offerLater tries again until it works, or nobody wants it any more. l.mu is held.
func (l *Listeners) offerLater(s *socket, port uint16) {
	s.retry = time.AfterFunc(retryUDP, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if s.retry == nil { // retracted
			return
		}
		s.retry = nil
		if l.openQUIC(s, port) != nil {
			l.offerLater(s, port)
		}
	})
}

// advertise says where HTTP/3 is: port is that of the configuration, which is what
// clients know.
func (s *socket) advertise(port uint16) {
	if port == 0 {
		port = s.quic.address.Port()
	}
	svc := fmt.Appendf(nil, `h3=":%d"; ma=%d`, port, altSvcAge)
	s.altSvc.Store(&svc)
}

// openQUIC makes s serve HTTP/3. port is that of the configuration. l.mu is held.
func (l *Listeners) openQUIC(s *socket, port uint16) error {
	q, err := l.bindQUIC(s)
	if err != nil {
		return err
	}
	s.quic = q
	s.advertise(port)
	ln := q.ln // to be read under l.mu
	l.running.Go(func() { l.acceptQUIC(q, ln) })
	l.log.Info("listening for HTTP/3", zap.String("socket", s.key), zap.Int("receiveBufferBytes", receiveBuffer(q.pc)))
	return nil
}

// receiveBuffer returns how much the kernel holds for a UDP socket until it is
// read: fast uploads need some MiB (sysctl net.core.rmem_max). 0: not known.
func receiveBuffer(pc net.PacketConn) (sizeBytes int) {
	conn, ok := pc.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	err = raw.Control(func(fd uintptr) {
		sizeBytes, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
	})
	if err != nil {
		return 0
	}
	return sizeBytes
}

// retract makes s stop to serve HTTP/3: its connections finish what they do, while
// the UDP port stays open for them. l.mu is held.
func (l *Listeners) retract(s *socket) {
	if s.retry != nil {
		s.retry.Stop()
		s.retry = nil
	}
	q := s.quic
	if q == nil {
		return
	}
	s.quic = nil
	s.altSvc.Store(nil)
	_ = q.ln.Close() // never fails
	q.ln = nil
	for c := range l.conns {
		if c.quic == q {
			c.served.Drain()
		}
	}
	if q.conns == 0 {
		l.release(q)
	}
}

// released waits for the UDP port of an address that HTTP/3 has left. l.mu is held.
func (l *Listeners) released(address netip.AddrPort) {
	if q := l.quics[unmap(address)]; q != nil && q.conns == 0 && q.ln == nil {
		<-q.closed // which does not wait for l.mu before
	}
}

// release closes the UDP port. l.mu is held.
func (l *Listeners) release(q *quicSocket) {
	l.running.Go(func() {
		q.close()
		close(q.closed)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.quics[q.address] == q {
			delete(l.quics, q.address)
		}
	})
}

// close closes the UDP port. What comes of it, nobody could do anything about.
func (q *quicSocket) close() {
	_ = q.transport.Close()
	_ = q.pc.Close()
}

// bindQUIC opens the UDP port of s, or takes it over from connections that drain.
// l.mu is held.
func (l *Listeners) bindQUIC(s *socket) (*quicSocket, error) {
	address := unmap(s.ln.Addr().(*net.TCPAddr).AddrPort())
	q := l.quics[address]
	if q != nil && q.conns == 0 {
		<-q.closed // it was released, and does not wait for l.mu before
		q = nil
	}
	if q == nil {
		var err error
		if q, err = l.newQUIC(s, address); err != nil {
			return nil, err
		}
	}
	q.socket.Store(s)
	ln, err := q.transport.Listen(s.tls.Load().QUIC(), &quic.Config{GetConfigForClient: q.configure})
	if err != nil {
		if q.conns == 0 {
			q.close()
		}
		return nil, err
	}
	q.ln = ln
	l.quics[address] = q
	return q, nil
}

func (l *Listeners) newQUIC(s *socket, address netip.AddrPort) (*quicSocket, error) {
	binder, ok := l.binder.(PacketBinder)
	if !ok { // it has TCP alone
		binder = NetBinder{}
	}
	pc, err := binder.BindPacket(config.Socket{Address: address, UDP: true})
	if err != nil {
		return nil, err
	}
	key := s.key + "/udp"
	q := &quicSocket{
		address: address, key: key, pc: pc, closed: make(chan struct{}),
		open: l.open.With(key), accepted: l.accepted.With(key), failures: l.failures,
	}
	var reset quic.StatelessResetKey
	_, _ = rand.Read(reset[:]) // never fails
	q.transport = &quic.Transport{
		Conn:                pc,
		StatelessResetKey:   &reset,
		VerifySourceAddress: func(net.Addr) bool { return q.handshakes.Load() >= mostUnverified },
		ConnContext: func(ctx context.Context, about *quic.ClientInfo) (context.Context, error) {
			return l.attempt(q, ctx, about)
		},
	}
	return q, nil
}

// acceptQUIC accepts connections until ln is closed.
func (l *Listeners) acceptQUIC(q *quicSocket, ln *quic.Listener) {
	for {
		qc, err := ln.Accept(context.Background())
		if err != nil {
			return
		}
		q.accepted.Inc()
		l.startQUIC(q, qc)
	}
}

// startQUIC serves a connection on its own goroutine.
func (l *Listeners) startQUIC(q *quicSocket, qc *quic.Conn) {
	a := qc.Context().Value(attemptKey{}).(*attempt)
	a.succeed()
	conn := l.describeQUIC(a, qc)
	if !l.admit(conn, a.parameters) {
		l.crowded.With(q.key).Inc()
		refuseQUIC(qc)
		return
	}
	codec := l.http3.NewConn(qc, conn, a.parameters)
	c := &client{quic: q, served: codec}
	l.mu.Lock()
	if l.draining || q.ln == nil {
		codec.Drain()
	}
	l.conns[c] = struct{}{}
	q.conns++
	l.mu.Unlock()
	q.open.Add(1)
	l.running.Go(func() { l.serveQUIC(q, c, conn) })
}

// excessiveLoad is H3_EXCESSIVE_LOAD (RFC 9114, 8.1).
const excessiveLoad = 0x107

func refuseQUIC(qc *quic.Conn) {
	_ = qc.CloseWithError(excessiveLoad, "too many connections") // always nil
}

func (l *Listeners) serveQUIC(q *quicSocket, c *client, conn *exchange.Conn) {
	defer func() {
		if p := recover(); p != nil {
			l.panics.Inc()
			l.log.Error("panic", zap.Any("err", p), zap.Stringer("remote", conn.Remote), zap.ByteString("stack", debug.Stack()))
		}
		q.open.Add(-1)
		l.leave(conn)
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.conns, c)
		if q.conns--; q.conns == 0 && q.ln == nil {
			l.release(q)
		}
	}()
	c.served.Serve()
}

// describeQUIC makes the facts about a connection. An address to which the client
// migrates later is not looked at: rights and logs go by the one that it began with.
func (l *Listeners) describeQUIC(a *attempt, qc *quic.Conn) *exchange.Conn {
	c := &exchange.Conn{ID: l.ids.Add(1), Socket: a.socket.key, Local: seen(udp(qc.LocalAddr()), &a.socket.port), Remote: udp(qc.RemoteAddr())}
	complete(c, a.parameters)
	secured(c, qc.ConnectionState().TLS, a.owner())
	return c
}

// udp returns an IPv4 address as such, not mapped into IPv6.
func udp(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := u.AddrPort()
	return unmap(ap)
}

// alternative returns where a client of tcp can have HTTP/3; nil: nowhere. What is
// in front of the proxy and speaks PROXY protocol cannot pass QUIC on.
func (s *socket) alternative(tcp *net.TCPConn, p *config.ProxyParameters) []byte {
	svc := s.altSvc.Load()
	peer, ok := tcp.RemoteAddr().(*net.TCPAddr)
	if svc == nil || !ok || within(peer.AddrPort().Addr().Unmap(), p.ProxyProtocol) {
		return nil
	}
	return *svc
}

// close closes a connection whatever it does.
func (c *client) close() {
	if codec, ok := c.served.(interface{ Abort() }); ok {
		codec.Abort()
		return
	}
	c.nc.Close()
}
