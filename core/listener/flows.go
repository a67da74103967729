package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// FlowHandler serves flows of datagrams. Implemented by proxy.
type FlowHandler interface {
	// OpenFlow returns where the datagrams of a client go; it does not wait. reply
	// sends one to the client; it may be called by any goroutine. nil: they go
	// nowhere.
	OpenFlow(about *exchange.Conn, reply func([]byte) error) exchange.Flow
}

// PacketBinder is a Binder of sockets for datagrams.
type PacketBinder interface {
	BindPacket(s config.Socket) (net.PacketConn, error)
}

// BindPacket implements PacketBinder.
func (NetBinder) BindPacket(s config.Socket) (net.PacketConn, error) {
	network := "udp"
	if s.Address.Addr().Is4() {
		network = "udp4"
	}
	lc := net.ListenConfig{}
	return lc.ListenPacket(context.Background(), network, s.Address.String())
}

var _ PacketBinder = NetBinder{}

// maxDatagram is the size of a UDP datagram's content at most, and a little more.
const maxDatagram = 64 << 10

// Why datagrams are dropped.
const (
	dropFlows       = iota // the socket has as many flows as it may
	dropClientFlows        // the client has
	dropRefused            // they go nowhere: no route, endpoint, or a chain that refuses
	dropDraining           // no new flow begins
	dropSend               // the endpoint's socket did not take it
	dropReply              // the client's did not
)

var dropReasons = [...]string{"flows", "client_flows", "refused", "draining", "send", "reply"}

type packetMetrics struct {
	open    telemetry.Gauges
	dropped telemetry.Counters
}

func newPacketMetrics(m *telemetry.Metrics) packetMetrics {
	return packetMetrics{
		open:    m.Gauges("penstock_listener_flows", "Flows of datagrams.", "socket"),
		dropped: m.Counters("penstock_listener_datagrams_dropped_total", "Datagrams that were not handed on.", "socket", "reason"),
	}
}

// flowKey tells flows apart. local is the address that the client reached, where
// that is not the socket's own.
type flowKey struct {
	remote netip.AddrPort
	local  netip.Addr
}

// flowSocket is one socket for datagrams and its flows. One goroutine receives and
// opens flows; each flow has one that replies.
type flowSocket struct {
	l          *Listeners
	key        string
	pc         *net.UDPConn
	parameters atomic.Pointer[config.ProxyParameters]
	port       atomic.Uint32 // as config.Socket.Port
	open       telemetry.Gauge
	drops      [len(dropReasons)]telemetry.Counter

	mu       sync.Mutex
	draining bool
	flows    map[flowKey]exchange.Flow
	clients  map[netip.Addr]int // flows of each client
}

// reconcileFlows makes the sockets for datagrams be those that are wanted. l.mu is held.
func (l *Listeners) reconcileFlows(wanted []config.Socket) (errs []error) {
	keep := map[string]bool{}
	for _, w := range wanted {
		if !w.UDP {
			continue
		}
		key := w.Key()
		keep[key] = true
		if s := l.flows[key]; s != nil {
			s.parameters.Store(w.Parameters)
			s.port.Store(uint32(w.Port))
		} else if err := l.bindFlows(w); err != nil {
			errs = append(errs, bindError(w, err))
		}
	}
	for key, s := range l.flows {
		if !keep[key] { // without a socket a flow cannot go on
			delete(l.flows, key)
			s.close()
			l.log.Info("no longer listening", zap.String("socket", key))
		}
	}
	return errs
}

// bindFlows opens a socket. l.mu is held.
func (l *Listeners) bindFlows(w config.Socket) error {
	b, ok := l.binder.(PacketBinder)
	if !ok || l.datagrams == nil {
		return errors.New("no datagrams here")
	}
	l.released(w.Address)
	pc, err := b.BindPacket(w)
	if err != nil {
		return err
	}
	udp, ok := pc.(*net.UDPConn)
	if !ok {
		pc.Close()
		return fmt.Errorf("%T is no UDP socket", pc)
	}
	key := w.Key()
	s := &flowSocket{l: l, key: key, pc: udp, open: l.packets.open.With(key), flows: map[flowKey]exchange.Flow{}, clients: map[netip.Addr]int{}}
	for i, reason := range dropReasons {
		s.drops[i] = l.packets.dropped.With(key, reason)
	}
	s.parameters.Store(w.Parameters)
	s.port.Store(uint32(w.Port))
	if w.Address.Addr().IsUnspecified() {
		if err := tellLocal(udp); err != nil {
			l.log.Warn("replies may come from another address than the one that was asked", zap.String("socket", key), zap.Error(err))
		}
	}
	l.flows[key] = s
	l.running.Go(s.receive)
	l.log.Info("listening", zap.String("socket", key))
	return nil
}

// receive hands datagrams to their flows until the socket is closed.
func (s *flowSocket) receive() {
	b, control := make([]byte, maxDatagram), make([]byte, controlRoom)
	pause := pauseLeast
	for {
		n, m, _, from, err := s.pc.ReadMsgUDPAddrPort(b, control)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.l.log.Warn("receive", zap.String("socket", s.key), zap.Error(err))
			time.Sleep(pause)
			pause = min(pause*2, pauseMost)
			continue
		}
		pause = pauseLeast
		s.datagram(b[:n], control[:m], from)
	}
}

// datagram hands one on, to a flow that it may begin.
func (s *flowSocket) datagram(b, control []byte, from netip.AddrPort) {
	defer func() {
		if p := recover(); p != nil {
			s.l.panics.Inc()
			s.l.log.Error("panic", zap.Any("err", p), zap.Stringer("remote", from), zap.ByteString("stack", debug.Stack()))
		}
	}()
	key := flowKey{remote: from, local: localOf(control)}
	for range 2 {
		s.mu.Lock()
		f := s.flows[key]
		s.mu.Unlock()
		if f == nil {
			if f = s.begin(key, control); f == nil {
				return
			}
		}
		sent, over := f.Send(b)
		if !over {
			if !sent {
				s.drops[dropSend].Inc()
			}
			return
		}
		f.Close()
		s.forget(key, f)
	}
	s.drops[dropRefused].Inc()
}

// begin opens a flow; nil: there is none for the datagram, which is counted.
func (s *flowSocket) begin(key flowKey, control []byte) exchange.Flow {
	p := s.parameters.Load()
	about := s.describe(key, p)
	client := clientOf(about.Remote.Addr())
	if reason, ok := s.admits(client, about.Trusted, p); !ok {
		s.drops[reason].Inc()
		return nil
	}
	source := replyControl(control)
	f := s.l.datagrams.OpenFlow(about, func(b []byte) error {
		_, _, err := s.pc.WriteMsgUDPAddrPort(b, source, key.remote)
		if err != nil {
			s.drops[dropReply].Inc()
		}
		return err
	})
	if f == nil {
		s.drops[dropRefused].Inc()
		return nil
	}
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		f.Close()
		s.drops[dropDraining].Inc()
		return nil
	}
	s.flows[key] = f
	s.clients[client]++
	s.mu.Unlock()
	s.open.Add(1)
	s.l.running.Go(func() { s.serve(key, client, f) })
	return f
}

// serve lets a flow reply until it ends.
func (s *flowSocket) serve(key flowKey, client netip.Addr, f exchange.Flow) {
	defer func() {
		if p := recover(); p != nil {
			s.l.panics.Inc()
			s.l.log.Error("panic", zap.Any("err", p), zap.Stringer("remote", key.remote), zap.ByteString("stack", debug.Stack()))
		}
		f.Close()
		s.forget(key, f)
		s.open.Add(-1)
		s.mu.Lock()
		if s.clients[client]--; s.clients[client] == 0 {
			delete(s.clients, client)
		}
		last := s.draining && len(s.flows) == 0
		s.mu.Unlock()
		if last {
			s.pc.Close()
		}
	}()
	f.Serve()
}

// forget takes a flow off the list, unless another one has its place.
func (s *flowSocket) forget(key flowKey, f exchange.Flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flows[key] == f {
		delete(s.flows, key)
	}
}

// admits reports whether a client may begin a flow.
func (s *flowSocket) admits(client netip.Addr, trusted bool, p *config.ProxyParameters) (reason int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return dropDraining, false
	case len(s.flows) >= p.MaxFlows:
		return dropFlows, false
	case p.MaxFlowsPerClient > 0 && !trusted && s.clients[client] >= p.MaxFlowsPerClient:
		return dropClientFlows, false
	}
	return 0, true
}

// describe makes the facts of a flow.
func (s *flowSocket) describe(key flowKey, p *config.ProxyParameters) *exchange.Conn {
	local := s.pc.LocalAddr().(*net.UDPAddr).AddrPort()
	if key.local.IsValid() {
		local = netip.AddrPortFrom(key.local, local.Port())
	}
	c := &exchange.Conn{ID: s.l.ids.Add(1), Socket: s.key, Local: seen(local, &s.port), Remote: unmap(key.remote)}
	complete(c, p)
	return c
}

// unmap returns an IPv4 address as such, not mapped into IPv6.
func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// drain lets no flow begin any more; the last one to end closes the socket.
func (s *flowSocket) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	for _, f := range s.flows {
		f.Drain()
	}
	if len(s.flows) == 0 {
		s.pc.Close()
	}
}

// close ends all flows.
func (s *flowSocket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	for _, f := range s.flows {
		f.Close()
	}
	s.pc.Close()
}

// drainFlows and closeFlows do so with every socket. l.mu is held.
func (l *Listeners) drainFlows() {
	for _, s := range l.flows {
		s.drain()
	}
}

func (l *Listeners) closeFlows() {
	for _, s := range l.flows {
		s.close()
	}
}
