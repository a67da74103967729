package upstream

import (
	"context"
	"errors"
	"net"
	"sync"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// PacketDialer is a Dialer that opens sockets of datagrams too.
type PacketDialer interface {
	// DialPacket returns a socket that sends to and receives from the endpoint
	// alone; nothing was sent. ErrNotAllowed, or an error of the network.
	DialPacket(ep config.Endpoint) (*net.UDPConn, error)
}

// DialPacket implements PacketDialer.
func (d NetDialer) DialPacket(ep config.Endpoint) (*net.UDPConn, error) {
	if d.Allowed != nil && !d.Allowed(ep.Address) {
		return nil, ErrNotAllowed
	}
	return net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(ep.Address))
}

var _ PacketDialer = NetDialer{}

// Link is a raw connection to an endpoint, or a socket of datagrams.
type Link struct {
	net.Conn
	// Endpoint is its address as text; Tries is how many endpoints were tried.
	Endpoint string
	Tries    int

	endpoint *endpoint
	closed   sync.Once
	slot     bool
}

// Close closes the connection and gives its place back. It may be called more
// than once, by any goroutine.
func (l *Link) Close() error {
	err := l.Conn.Close()
	l.closed.Do(func() {
		if l.slot {
			l.endpoint.freeSlot()
		}
	})
	return err
}

// Stale reports whether the endpoint is no longer one of the upstream's: a flow
// that goes on is to choose another.
func (l *Link) Stale() bool { return l.endpoint.left.Load() }

// Dial opens a raw connection to the next endpoint, round robin; where one cannot
// be reached, or has as many connections as it may, to another, three in all. It
// gives up once ctx is done. After an error the Link names the last endpoint that was tried.
func (g *Group) Dial(ctx context.Context) (*Link, *exchange.Error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(g.set.ctx, stop)()
	return g.raw(func(e *endpoint) (*Link, error) {
		if !e.takeSlot() {
			return nil, errOverflow
		}
		nc, err := g.set.dial(ctx, g.config.Name, e.config, g.config.Parameters.ConnectTimeout)
		if err != nil {
			e.freeSlot()
			return nil, err
		}
		return &Link{Conn: nc, slot: true}, nil
	})
}

// DialPacket opens a socket of datagrams to the next endpoint, round robin. It does
// not wait, and nothing is sent.
func (g *Group) DialPacket() (*Link, *exchange.Error) {
	return g.raw(func(e *endpoint) (*Link, error) {
		d, ok := g.set.dialer.(PacketDialer)
		if !ok {
			return nil, ErrNotAllowed
		}
		if err := g.set.check(g.config.Name, e.config.Address); err != nil {
			return nil, err
		}
		nc, err := d.DialPacket(e.config)
		if err != nil {
			return nil, err
		}
		return &Link{Conn: nc}, nil
	})
}

// raw opens a link to the first endpoint of three with which that succeeds.
func (g *Group) raw(open func(*endpoint) (*Link, error)) (*Link, *exchange.Error) {
	var store [maxTries]*endpoint
	tried := store[:0]
	for {
		e := g.choose(tried, nil)
		if e == nil {
			return &Link{}, fault(exchange.SideUpstream, 503, "no-endpoint", errNoEndpoint)
		}
		tried = append(tried, e)
		l, err := open(e)
		if err == nil {
			l.Endpoint, l.Tries, l.endpoint = e.text, len(tried), e
			return l, nil
		}
		var cause *exchange.Error
		if errors.Is(err, errOverflow) {
			cause = fault(exchange.SideProxy, 503, "overflow", err)
		} else {
			g.failed()
			cause = dialFault(err)
		}
		if len(tried) >= maxTries || len(tried) >= len(g.current.Load().used) || errors.Is(err, context.Canceled) {
			return &Link{Endpoint: e.text, Tries: len(tried)}, cause
		}
	}
}

// takeSlot takes the place of one connection; false: there is none.
func (e *endpoint) takeSlot() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.slots >= e.group.config.Parameters.MaxConnections {
		if len(e.idle) == 0 {
			return false
		}
		e.closeIdle(1)
	}
	if e.slots >= e.group.config.Parameters.MaxConnections { // somebody waited for it
		return false
	}
	e.slots++
	return true
}

// Unwrap returns the connection itself.
func (l *Link) Unwrap() net.Conn { return l.Conn }

// Parameters returns the timeouts and limits of the group.
func (g *Group) Parameters() *config.ProxyParameters { return g.config.Parameters }
