package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
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
	"penstock.dev/penstock/core/internal/workers"
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
	ends     telemetry.Gauges
	ending   map[string]bool // Secrets that ends has; guarded by mu
	tickets  certs.Tickets
	ids      atomic.Uint64
	running  sync.WaitGroup // accept loops and connections
	workers  workers.Pool   // for connections

	raw        ConnHandler // nil: no raw connections
	datagrams  FlowHandler // nil: no datagrams
	packets    packetMetrics
	removedFor time.Duration
	ctx        context.Context // ended when what still runs is cut short
	cut        context.CancelFunc

	mu       sync.Mutex
	draining bool
	sockets  map[string]*socket
	conns    map[*client]struct{}
	flows    map[string]*flowSocket
	quics    map[netip.AddrPort]*quicSocket // those that are drained too

	clientsMu sync.Mutex
	clients   map[netip.Addr]int // connections of each client
}

// client is a connection and what serves it.
type client struct {
	nc     net.Conn    // nil: QUIC
	quic   *quicSocket // nil: TCP
	socket *socket     // nil: QUIC
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
	l := &Listeners{
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
		ends:     m.Gauges("penstock_tls_certificate_expiry_timestamp_seconds", "When the certificate of a Secret ends, in seconds of Unix time.", "secret"),
		sockets:  map[string]*socket{},
		conns:    map[*client]struct{}{},
		quics:    map[netip.AddrPort]*quicSocket{},
		clients:  map[netip.Addr]int{},
		flows:    map[string]*flowSocket{},

		packets:    newPacketMetrics(m),
		removedFor: removedFor,
	}
	l.ctx, l.cut = context.WithCancel(context.Background())
	return l
}

// socket is one listening socket.
type socket struct {
	key        string
	ln         net.Listener
	parameters atomic.Pointer[config.ProxyParameters]
	port       atomic.Uint32                // as config.Socket.Port
	tls        atomic.Pointer[certs.Server] // nil: plain text
	raw        atomic.Bool                  // plain connections are raw
	passes     atomic.Bool                  // TLS may be passed through
	ends       atomic.Bool                  // TLS may be ended here
	names      []config.ServerName          // guarded by Listeners.mu
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
			l.retire(s)
		}
	}
	l.expiry(wanted)
	errs := l.reconcileFlows(wanted)
	for _, w := range wanted {
		if w.UDP {
			continue
		}
		if s := l.sockets[w.Key()]; s != nil {
			s.parameters.Store(w.Parameters)
			s.port.Store(uint32(w.Port))
			if s.raw.Load() != w.Raw || !slices.Equal(s.names, w.Names) {
				l.retire(s)
			}
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
	s.port.Store(uint32(w.Port))
	err = l.certify(s, w) // before the first connection
	l.offer(s, w)
	l.sockets[key] = s
	l.running.Go(func() { l.accept(s) })
	l.log.Info("listening", zap.String("socket", key), zap.Bool("tls", w.Names != nil))
	return err
}

// certify gives a socket its certificates, or plain text if it is to have none.
func (l *Listeners) certify(s *socket, w config.Socket) error {
	s.names = w.Names
	s.raw.Store(w.Raw)
	s.passes.Store(passesAny(w.Names))
	s.ends.Store(slices.ContainsFunc(w.Names, func(n config.ServerName) bool { return n.TLS != nil }))
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

// handshakeWait is how long a connection may take to begin, once Drain was called:
// TLS, and the PROXY protocol before it.
const handshakeWait = 2 * time.Second

// start serves a connection on a goroutine of its own.
func (l *Listeners) start(s *socket, nc net.Conn) {
	c := &client{nc: nc, socket: s}
	l.mu.Lock()
	if l.draining { // it was accepted: its first request is served
		_ = nc.SetReadDeadline(time.Now().Add(handshakeWait)) // fails on a closed connection
	}
	l.conns[c] = struct{}{}
	l.mu.Unlock()
	s.open.Add(1)
	l.running.Add(1)
	l.workers.Go(func() {
		defer l.running.Done()
		l.serve(s, c)
	})
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
		passed, head, ok := l.passed(s, server, c.nc, conn, p)
		if !ok {
			c.nc.Close()
			return
		}
		if passed != nil {
			l.adopt(c, passed)
			passed.Serve()
			return
		}
		if nc = l.handshake(s, server, c.nc, head, conn, p); nc == nil {
			return
		}
	}
	codec := l.rawOf(s, nc, conn)
	if codec == nil {
		codec = l.choose(nc, conn, p)
	}
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
		c.Local = seen(a.AddrPort(), &s.port)
	}
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		c.Remote = unmap(a.AddrPort())
	}
	return c
}

// seen returns a local address with the port that clients connect to.
func seen(local netip.AddrPort, port *atomic.Uint32) netip.AddrPort {
	return config.Socket{Port: uint16(port.Load())}.Seen(unmap(local))
}

// Drain stops accepting and closes idle connections; busy ones finish their
// exchange, raw ones and flows go on as long as their ends want. It returns nil when all have ended. When ctx ends first, the rest
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
			_ = c.nc.SetReadDeadline(time.Now().Add(handshakeWait)) // fails on a closed connection
		}
	}
	l.drainFlows()
	l.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		l.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		l.cut()
		return nil
	case <-ctx.Done():
	}
	l.cut()
	l.mu.Lock()
	for c := range l.conns {
		c.cut()
	}
	l.closeFlows()
	l.mu.Unlock()
	<-ended
	return ctx.Err()
}
