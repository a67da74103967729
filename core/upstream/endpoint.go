package upstream

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// key tells the connections of one pool from those of another.
type key struct {
	address, tunnel netip.AddrPort
	identity        string
}

func keyOf(ep config.Endpoint) key { return key{ep.Address, ep.Tunnel, ep.Identity} }

// endpoint is one address of a group with its connections.
type endpoint struct {
	group  *Group
	config config.Endpoint
	text   string      // the address
	left   atomic.Bool // as gone, for those who hold no lock
	tags   atomic.Pointer[tagged]

	mu    sync.Mutex
	gone  bool    // not in the set any more: nothing is kept
	conns []*conn // all that are open, or have an exchange on one that is shared
	idle  []*conn // not shared; the last one was used last
	slots int     // open connections and those being opened
	queue []*ticket
	shared
}

// ticket is an exchange that waits for a connection.
type ticket struct {
	ready chan turn // capacity 1
}

// turn is what a ticket gets: a connection, or why there is none, or, with
// neither, a slot to open one.
type turn struct {
	c   *conn
	err *exchange.Error
}

// take returns an idle connection, or a slot to open one (both nil), or a
// ticket for the next of either. fresh asks for a slot only.
func (e *endpoint) take(fresh bool) (*conn, *ticket) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.lease(); c != nil {
		return c, nil
	}
	if n := len(e.idle); n > 0 {
		c := e.idle[n-1]
		e.idle = e.idle[:n-1]
		if !fresh {
			c.reused = true
			return c, nil
		}
		if e.slots >= e.group.config.Parameters.MaxConnections {
			c.h.Close()
			e.remove(c)
			e.slots--
		} else {
			e.idle = e.idle[:n]
		}
	}
	if e.slots < e.group.config.Parameters.MaxConnections && !e.enough() {
		e.slots++
		e.opening++
		return nil, nil
	}
	t := &ticket{ready: make(chan turn, 1)}
	e.queue = append(e.queue, t)
	return nil, t
}

// cancel withdraws a ticket; what it was given meanwhile goes to the next.
func (e *endpoint) cancel(t *ticket) {
	e.mu.Lock()
	if i := slices.Index(e.queue, t); i >= 0 {
		e.queue = slices.Delete(e.queue, i, i+1)
		e.mu.Unlock()
		return
	}
	e.mu.Unlock()
	switch got := <-t.ready; {
	case got.c != nil:
		e.put(got.c)
	case got.err == nil:
		e.freeSlot()
	}
}

// opened adds a connection that was opened for a slot.
func (e *endpoint) opened(c *conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opening--
	e.several = false
	e.add(c)
}

// add puts c on the list of open connections. e.mu is held.
func (e *endpoint) add(c *conn) {
	if c.at = len(e.conns); c.at == 0 {
		e.group.set.sweeper.come(e)
	}
	e.conns = append(e.conns, c)
}

// put takes a connection back that may be used again.
func (e *endpoint) put(c *conn) {
	if c.link != nil {
		e.giveBack(c)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.gone:
	case len(e.queue) > 0:
		c.reused = true
		e.next().ready <- turn{c: c}
		return
	case len(e.idle) < e.group.config.Parameters.MaxIdle:
		e.idle = append(e.idle, c)
		return
	}
	c.h.Close()
	e.remove(c)
	e.handOn()
}

// drop forgets a connection that was closed, or gives one back that is shared.
func (e *endpoint) drop(c *conn) {
	if c.link != nil {
		e.giveBack(c)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.remove(c)
	e.handOn()
}

// freeSlot gives a slot back that no connection was opened for.
func (e *endpoint) freeSlot() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opening--
	e.handOn()
}

// handOn gives a slot to whoever waits longest, or frees it. e.mu is held.
func (e *endpoint) handOn() {
	if len(e.queue) > 0 && !e.enough() {
		e.opening++
		e.next().ready <- turn{}
		return
	}
	e.slots--
}

// next takes the first ticket. e.mu is held.
func (e *endpoint) next() *ticket {
	t := e.queue[0]
	e.queue = slices.Delete(e.queue, 0, 1)
	return t
}

// remove takes c off the list of open connections. e.mu is held.
func (e *endpoint) remove(c *conn) {
	last := len(e.conns) - 1
	e.conns[last].at = c.at
	e.conns[c.at], e.conns[last] = e.conns[last], nil
	e.conns = e.conns[:last]
}

// leave closes the idle connections of an endpoint that is gone; those that are
// shared once their exchanges have ended.
func (e *endpoint) leave() {
	e.left.Store(true)
	e.mu.Lock()
	e.gone = true
	e.closeIdle(len(e.idle))
	links := slices.Clone(e.links)
	var waits []*conn
	for _, c := range e.conns {
		if c.state.CompareAndSwap(waiting, nudging) || c.state.CompareAndSwap(waited, nudging) {
			waits = append(waits, c)
		}
	}
	e.mu.Unlock()
	for _, c := range waits { // nobody may sweep them any more
		c.nudge()
	}
	for _, l := range links {
		l.h.Drain()
	}
}

// expire closes connections that are idle since before.
func (e *endpoint) expire(before time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for n < len(e.idle) && e.idle[n].used.Before(before) {
		n++
	}
	e.closeIdle(n)
}

// closeIdle closes the n connections that are idle for longest. e.mu is held.
func (e *endpoint) closeIdle(n int) {
	for _, c := range e.idle[:n] {
		c.h.Close()
		e.remove(c)
		e.handOn()
	}
	e.idle = slices.Delete(e.idle, 0, n)
}
