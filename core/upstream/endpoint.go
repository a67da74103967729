package upstream

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/config"
)

// key tells the connections of one pool from those of another.
type key struct {
	endpoint config.Endpoint // address, identity and tunnel alone
}

func keyOf(ep config.Endpoint) key {
	return key{config.Endpoint{Address: ep.Address, Identity: ep.Identity, Tunnel: ep.Tunnel}}
}

// endpoint is one address of a group with its connections.
type endpoint struct {
	group  *Group
	config config.Endpoint
	text   string      // the address
	left   atomic.Bool // gone, for Link

	mu    sync.Mutex
	gone  bool    // not in the set any more: nothing is kept
	conns []*conn // all that are open
	idle  []*conn // the last one was used last
	slots int     // open connections and those being opened
	queue []*ticket
}

// ticket is an exchange that waits for a connection.
type ticket struct {
	ready chan *conn // capacity 1; nil: a slot to open one
}

// take returns an idle connection, or a slot to open one (both nil), or a
// ticket for the next of either. fresh asks for a slot only.
func (e *endpoint) take(fresh bool) (*conn, *ticket) {
	e.mu.Lock()
	defer e.mu.Unlock()
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
	if e.slots < e.group.config.Parameters.MaxConnections {
		e.slots++
		return nil, nil
	}
	t := &ticket{ready: make(chan *conn, 1)}
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
	if c := <-t.ready; c != nil {
		e.put(c)
	} else {
		e.freeSlot()
	}
}

// opened adds a connection that was opened for a slot.
func (e *endpoint) opened(c *conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conns = append(e.conns, c)
}

// put takes a connection back that may be used again.
func (e *endpoint) put(c *conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.gone:
	case len(e.queue) > 0:
		c.reused = true
		e.next().ready <- c
		return
	case len(e.idle) < e.group.config.Parameters.MaxIdle:
		e.idle = append(e.idle, c)
		return
	}
	c.h.Close()
	e.remove(c)
	e.handOn()
}

// drop forgets a connection that was closed.
func (e *endpoint) drop(c *conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.remove(c)
	e.handOn()
}

// freeSlot gives a slot back that no connection was opened for.
func (e *endpoint) freeSlot() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.handOn()
}

// handOn gives a slot to whoever waits longest, or frees it. e.mu is held.
func (e *endpoint) handOn() {
	if len(e.queue) > 0 {
		e.next().ready <- nil
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
	if i := slices.Index(e.conns, c); i >= 0 {
		last := len(e.conns) - 1
		e.conns[i], e.conns[last] = e.conns[last], nil
		e.conns = e.conns[:last]
	}
}

// leave closes the idle connections of an endpoint that is gone.
func (e *endpoint) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = true
	e.left.Store(true)
	e.closeIdle(len(e.idle))
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
