package upstream

import (
	"errors"
	"net"
	"slices"

	"penstock.dev/penstock/core/codec/h2"
	"penstock.dev/penstock/core/exchange"
)

// shared is what an endpoint has for connections that several exchanges share.
// The endpoint's mutex guards it. No connection's method is called with it held:
// they call here with theirs.
type shared struct {
	several bool // what was opened last is shared, or is going to be
	links   []*link
	opening int // connections that are being opened, or have not said yet how many exchanges they take
	perLink int // exchanges that the last one took; 0: not known
}

// link is a connection that exchanges share.
type link struct {
	endpoint *endpoint
	h        *h2.UpstreamConn

	// Guarded by the endpoint's mutex.
	busy    int  // exchanges that have a place
	most    int  // that may have one
	settled bool // it has said how many
	used    bool
	spare   []*conn
}

// guess is how many exchanges a connection is expected to take before one has
// said so. RFC 9113, 6.5.2, recommends at least that.
const guess = 100

var errSetClosed = errors.New("the proxy is going away")

// enough reports whether the connections that are being opened will do for those
// that wait, and one more. e.mu is held.
func (e *endpoint) enough() bool {
	if !e.several {
		return false
	}
	each := e.perLink
	if each == 0 {
		each = guess
	}
	return len(e.queue) < e.opening*each
}

// lease returns a place on the first shared connection that has one. e.mu is held.
func (e *endpoint) lease() *conn {
	for _, l := range e.links {
		if l.busy < l.most {
			return l.lease()
		}
	}
	return nil
}

func (l *link) lease() *conn {
	var c *conn
	if last := len(l.spare) - 1; last >= 0 {
		c, l.spare = l.spare[last], l.spare[:last]
	} else {
		c = &conn{endpoint: l.endpoint, link: l}
		s := l.h.NewStream(c.released)
		s.SetOwner(c)
		c.h = s
	}
	c.reused, l.used = l.used, true
	l.busy++
	l.endpoint.add(c)
	return c
}

// openShared makes nc, which was opened for a slot, a shared connection, and
// returns a place on it.
func (e *endpoint) openShared(nc net.Conn, tls bool) (*conn, *exchange.Error) {
	l := &link{endpoint: e, most: 1}
	l.h = e.group.set.client.NewConn(nc, e.group.config.Parameters, tls, l.changed)
	e.mu.Lock()
	e.several = true
	e.links = append(e.links, l)
	c := l.lease()
	e.mu.Unlock()
	if e.group.set.serve(l.run) {
		return c, nil
	}
	l.h.Abort()
	e.giveBack(c)
	l.forget()
	return nil, fault(exchange.SideProxy, 503, "no-endpoint", errSetClosed)
}

func (l *link) run() {
	l.h.Serve()
	l.forget()
}

// changed is told how many exchanges may have a place.
func (l *link) changed(most int) {
	e := l.endpoint
	e.mu.Lock()
	defer e.mu.Unlock()
	l.most = most
	l.settle()
	if most > 0 {
		e.perLink = most
	}
	e.handOut()
}

// settle ends the opening of l. e.mu is held.
func (l *link) settle() {
	if !l.settled {
		l.settled = true
		l.endpoint.opening--
	}
}

// handOut gives places to those that wait; who gets none, and for whom no
// connection is being opened, may open one. e.mu is held.
func (e *endpoint) handOut() {
	for len(e.queue) > 0 {
		c := e.lease()
		if c == nil {
			break
		}
		e.next().ready <- turn{c: c}
	}
	for len(e.queue) > 0 && e.slots < e.group.config.Parameters.MaxConnections && !e.enough() {
		e.slots++
		e.opening++
		e.next().ready <- turn{}
	}
}

// giveBack takes a place back. A connection that nobody needs any more is closed.
func (e *endpoint) giveBack(c *conn) {
	l := c.link
	more := c.h.(*h2.UpstreamStream).Recycle()
	e.mu.Lock()
	e.remove(c)
	l.spare = append(l.spare, c)
	l.busy--
	if !more { // it may not have said so yet
		l.most = 0
	}
	e.handOut()
	surplus := l.busy == 0 && (e.gone || e.idleLinks() > e.group.config.Parameters.MaxIdle)
	e.mu.Unlock()
	if surplus {
		l.h.Drain()
	}
}

// idleLinks counts shared connections without an exchange. e.mu is held.
func (e *endpoint) idleLinks() (n int) {
	for _, l := range e.links {
		if l.busy == 0 {
			n++
		}
	}
	return n
}

// forget drops a shared connection that was closed.
func (l *link) forget() {
	e := l.endpoint
	e.mu.Lock()
	defer e.mu.Unlock()
	l.most = 0
	l.settle()
	if i := slices.Index(e.links, l); i >= 0 {
		e.links = slices.Delete(e.links, i, i+1)
	}
	e.slots--
	e.handOut()
}

// failed gives a slot back for which no connection could be opened. Where they
// would be shared, and none is there, those that wait for it have failed too.
func (e *endpoint) failed(err *exchange.Error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opening--
	if !e.several || len(e.links) > 0 || e.opening > 0 {
		e.handOn()
		return
	}
	e.slots--
	for len(e.queue) > 0 {
		own := *err
		e.next().ready <- turn{err: &own}
	}
}
