package h1

import (
	"sync/atomic"
	"time"
)

// watcher is a goroutine that waits for the client's end while nobody reads.
type watcher struct {
	stop atomic.Bool
	quit chan struct{} // closed to end one that only looks; nil: it reads
	done chan struct{}
}

// Watch implements exchange.Client. A half close counts as a disconnect. While
// another goroutine reads the request's body nothing is noticed: it sees the
// end. Bytes of a next request are kept; they end the watch.
func (c *Conn) Watch(gone func()) (stop func()) {
	c.stopWatch()
	if !c.body.mu.TryLock() {
		return func() {}
	}
	whole := c.body.done()
	c.body.mu.Unlock()
	w := &watcher{done: make(chan struct{})}
	switch {
	case whole:
		go c.watch(w, gone)
	case c.w.probe == nil:
		return func() {}
	default: // unread bytes of the body hide the end from a read
		w.quit = make(chan struct{})
		go c.look(w, gone)
	}
	c.watcher = w
	return func() {
		if c.watcher == w {
			c.stopWatch()
		}
	}
}

func (c *Conn) watch(w *watcher, gone func()) {
	defer close(w.done)
	for !w.stop.Load() {
		switch err := c.in.fill(c.p.IdleTimeout); err {
		case nil:
			return
		case errInterrupted, errTimeout:
		default:
			gone()
			return
		}
	}
}

// lookEvery is how often a connection with an unread body is looked at.
const lookEvery = 100 * time.Millisecond

// look asks the socket whether the client has closed it.
func (c *Conn) look(w *watcher, gone func()) {
	defer close(w.done)
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-w.quit:
			return
		case <-t.C:
		}
		if c.w.closed() {
			gone()
			return
		}
	}
}

// stopWatch ends the watch that runs, if there is one, and waits for it.
func (c *Conn) stopWatch() {
	w := c.watcher
	if w == nil {
		return
	}
	c.watcher = nil
	if w.quit != nil {
		close(w.quit)
	} else {
		w.stop.Store(true)
		c.w.interrupt()
	}
	<-w.done
}

// StopBody makes reading the request's body fail, now and from now on. It may
// be called by any goroutine while the exchange lasts: an upstream that needs
// no more of the body frees the goroutine that copies it.
func (c *Conn) StopBody() { c.body.Close() }
