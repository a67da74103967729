package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/certs"
	"penstock.dev/penstock/core/codec/h1"
	"penstock.dev/penstock/core/codec/h2"
	"penstock.dev/penstock/core/codec/h3"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// Binder makes a listening socket for an address: it binds one, or hands out
// one that was inherited or passed in.
type Binder interface {
	Bind(s config.Socket) (net.Listener, error)
}

// NetBinder binds TCP sockets, with SO_REUSEADDR.
type NetBinder struct{}

// Bind implements Binder.
func (NetBinder) Bind(s config.Socket) (net.Listener, error) {
	network := "tcp"
	if a := s.Address.Addr(); a.Is4() {
		network = "tcp4"
	}
	lc := net.ListenConfig{}
	return lc.Listen(context.Background(), network, s.Address.String())
}

// Listeners is the sockets of a proxy and their connections. Reconcile and
// Drain are for one goroutine at a time.
type Listeners struct {
	log      *zap.Logger
	http1    *h1.Server
	http2    *h2.Server
	http3    *h3.Server
	binder   Binder
	open     telemetry.Gauges
	accepted telemetry.Counters
	panics   telemetry.Counter
	headers  telemetry.Counters
	crowded  telemetry.Counters
	failures telemetry.Counters
	tickets  certs.Tickets
	ids      atomic.Uint64
	running  sync.WaitGroup // accept loops and connections

	mu       sync.Mutex
	draining bool
	sockets  map[string]*socket
	conns    map[*client]struct{}
	quics    map[netip.AddrPort]*quicSocket // those that are drained too

	clientsMu sync.Mutex
	clients   map[netip.Addr]int // connections of each client
}

// client is a connection and what serves it.
type client struct {
	nc   net.Conn    // nil: QUIC
	quic *quicSocket // nil: TCP
	// served is guarded by Listeners.mu; nil: no request can have come yet.
	served served
}

// served is how a codec serves a connection.
type served interface {
	// Serve serves it to its end and closes it.
	Serve()
	// Drain lets what is in flight finish; any goroutine may call it.
	Drain()
}

// New returns Listeners without a socket. Metrics: penstock_listener_connections
// and penstock_listener_accepted_total by socket,
// penstock_tls_handshake_failures_total by socket and reason, and
// penstock_listener_panics_total.
func New(log *zap.Logger, m *telemetry.Metrics, http1 *h1.Server, http2 *h2.Server, http3 *h3.Server, b Binder) *Listeners {
	return &Listeners{
		log:      log.Named("listener"),
		http1:    http1,
		http2:    http2,
		http3:    http3,
		binder:   b,
		open:     m.Gauges("penstock_listener_connections", "Open client connections.", "socket"),
		accepted: m.Counters("penstock_listener_accepted_total", "Client connections that were accepted.", "socket"),
		panics:   m.Counters("penstock_listener_panics_total", "Connections that ended in a panic.").With(),
		headers:  m.Counters("penstock_listener_proxy_protocol_failures_total", "Connections that did not begin with the PROXY protocol header that they must.", "socket"),
		crowded:  m.Counters("penstock_listener_per_client_refusals_total", "Connections that were closed because their client has as many as it may.", "socket"),
		failures: m.Counters("penstock_tls_handshake_failures_total", "Client connections that ended before TLS was agreed on.", "socket", "reason"),
		sockets:  map[string]*socket{},
		conns:    map[*client]struct{}{},
		quics:    map[netip.AddrPort]*quicSocket{},
		clients:  map[netip.Addr]int{},
	}
}

// socket is one listening socket.
type socket struct {
	key        string
	ln         net.Listener
	parameters atomic.Pointer[config.ProxyParameters]
	tls        atomic.Pointer[certs.Server] // nil: plain text
	altSvc     atomic.Pointer[[]byte]       // where HTTP/3 is; nil: nowhere
	quic       *quicSocket                  // guarded by Listeners.mu; nil: no HTTP/3
	retry      *time.Timer                  // tries again to serve HTTP/3; as quic
	open       telemetry.Gauge
	accepted   telemetry.Counter
}

// Reconcile makes the sockets be exactly these: new ones are bound, others
// closed. Connections that were accepted live on. An unchanged address is kept;
// its parameters and certificates hold for connections accepted from now on. The
// joined errors name each address that could not be bound and each certificate
// that cannot be used; the others serve all the same.
func (l *Listeners) Reconcile(wanted []config.Socket) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.draining {
		return nil
	}
	keep := make(map[string]bool, len(wanted))
	for _, s := range wanted {
		keep[s.Key()] = true
	}
	for key, s := range l.sockets {
		if !keep[key] {
			l.unbind(s)
		}
	}
	var errs []error
	for _, w := range wanted {
		if s := l.sockets[w.Key()]; s != nil {
			s.parameters.Store(w.Parameters)
			if err := l.certify(s, w); err != nil {
				errs = append(errs, err)
			}
			l.offer(s, w)
		} else if err := l.bind(w); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Addr returns the address that the socket of this key is bound to, which has
// a port even if 0 was wanted; nil if there is no such socket.
func (l *Listeners) Addr(key string) net.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sockets[key]; s != nil {
		return s.ln.Addr()
	}
	return nil
}

// bind opens a socket. l.mu is held.
func (l *Listeners) bind(w config.Socket) error {
	ln, err := l.binder.Bind(w)
	if err != nil {
		return bindError(w, err)
	}
	key := w.Key()
	s := &socket{key: key, ln: ln, open: l.open.With(key), accepted: l.accepted.With(key)}
	s.parameters.Store(w.Parameters)
	err = l.certify(s, w) // before the first connection
	l.offer(s, w)
	l.sockets[key] = s
	l.running.Go(func() { l.accept(s) })
	l.log.Info("listening", zap.String("socket", key), zap.Bool("tls", w.Names != nil))
	return err
}

// certify gives a socket its certificates, or plain text if it is to have none.
func (l *Listeners) certify(s *socket, w config.Socket) error {
	if w.Names == nil {
		s.tls.Store(nil)
		return nil
	}
	server := s.tls.Load()
	if server == nil {
		server = certs.NewServer(&l.tickets, s.key, alpn)
	}
	err := server.Set(w.Names)
	s.tls.Store(server)
	if err != nil {
		return fmt.Errorf("listen %s: %w", s.key, err)
	}
	return nil
}

// bindError is one clear line.
func bindError(w config.Socket, err error) error {
	var cause syscall.Errno
	if errors.As(err, &cause) {
		return fmt.Errorf("listen %s: %w", w.Key(), cause)
	}
	return fmt.Errorf("listen %s: %w", w.Key(), err)
}

// unbind closes a socket, not its connections. l.mu is held.
func (l *Listeners) unbind(s *socket) {
	delete(l.sockets, s.key)
	s.ln.Close()
	l.retract(s)
	l.log.Info("no longer listening", zap.String("socket", s.key))
}

// How long accepting pauses after an error such as too many open files.
const (
	pauseLeast = 5 * time.Millisecond
	pauseMost  = time.Second
)

func (l *Listeners) accept(s *socket) {
	pause := pauseLeast
	for {
		nc, err := s.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			l.log.Warn("accept", zap.String("socket", s.key), zap.Error(err))
			time.Sleep(pause)
			pause = min(pause*2, pauseMost)
			continue
		}
		pause = pauseLeast
		s.accepted.Inc()
		l.start(s, nc)
	}
}

// start serves a connection on its own goroutine.
func (l *Listeners) start(s *socket, nc net.Conn) {
	c := &client{nc: nc}
	l.mu.Lock()
	if l.draining {
		l.mu.Unlock()
		nc.Close()
		return
	}
	l.conns[c] = struct{}{}
	l.mu.Unlock()
	s.open.Add(1)
	l.running.Go(func() { l.serve(s, c) })
}

func (l *Listeners) serve(s *socket, c *client) {
	p := s.parameters.Load()
	conn := l.describe(s, c.nc)
	defer func() {
		if p := recover(); p != nil {
			l.panics.Inc()
			l.log.Error("panic", zap.Any("err", p), zap.Stringer("remote", conn.Remote), zap.ByteString("stack", debug.Stack()))
			c.nc.Close()
		}
		s.open.Add(-1)
		l.mu.Lock()
		delete(l.conns, c)
		l.mu.Unlock()
	}()
	if !l.identify(s, c.nc, conn, p) {
		c.nc.Close()
		return
	}
	if !l.admit(conn, p) {
		l.crowded.With(s.key).Inc()
		c.nc.Close()
		return
	}
	defer l.leave(conn)
	nc := c.nc
	if server := s.tls.Load(); server != nil {
		if nc = l.handshake(s, server, c.nc, conn, p); nc == nil {
			return
		}
	}
	codec := l.choose(nc, conn, p)
	l.adopt(c, codec)
	codec.Serve()
	if next := l.succeed(codec, nc, conn, p); next != nil {
		l.adopt(c, next)
		next.Serve()
	}
}

// adopt notes what serves a connection from now on.
func (l *Listeners) adopt(c *client, codec served) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.served = codec
	if l.draining {
		codec.Drain()
	}
}

// describe makes the facts that the socket tells about a connection.
func (l *Listeners) describe(s *socket, nc net.Conn) *exchange.Conn {
	c := &exchange.Conn{ID: l.ids.Add(1), Socket: s.key}
	if a, ok := nc.LocalAddr().(*net.TCPAddr); ok {
		c.Local = plain(a)
	}
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		c.Remote = plain(a)
	}
	return c
}

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
	ip := c.Remote.Addr()
	c.Trusted = within(ip, p.TrustedProxies)
	if ip.IsValid() {
		c.RemoteIP = []byte(ip.WithZone("").String())
	}
	c.LocalPort = strconv.AppendUint(nil, uint64(c.Local.Port()), 10)
	return true
}

// plain returns an IPv4 address as such, not mapped into IPv6.
func plain(a *net.TCPAddr) netip.AddrPort {
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Drain stops accepting and closes idle connections; busy ones finish their
// exchange. It returns nil when all have ended. When ctx ends first, the rest
// is closed, and ctx's error returned once their goroutines have ended.
func (l *Listeners) Drain(ctx context.Context) error {
	l.mu.Lock()
	l.draining = true
	for _, s := range l.sockets {
		l.unbind(s)
	}
	for c := range l.conns {
		if c.served != nil {
			c.served.Drain()
		} else { // it is shaking hands
			c.close()
		}
	}
	l.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		l.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	for c := range l.conns {
		c.close()
	}
	l.mu.Unlock()
	<-ended
	return ctx.Err()
}
