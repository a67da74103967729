package h1

import "sync/atomic"

// watcher is a goroutine that waits for the client's end while nobody reads.
type watcher struct {
	stop atomic.Bool
	done chan struct{}
}

// Watch implements exchange.Client. A half close counts as a disconnect. While
// the request's body is unread nothing is noticed: whoever reads it sees the
// end. Bytes of a next request are kept; they end the watch.
func (c *Conn) Watch(gone func()) (stop func()) {
	c.stopWatch()
	if !c.body.mu.TryLock() {
		return func() {}
	}
	whole := c.body.done()
	c.body.mu.Unlock()
	if !whole {
		return func() {}
	}
	w := &watcher{done: make(chan struct{})}
	c.watcher = w
	go c.watch(w, gone)
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

// stopWatch ends the watch that runs, if there is one, and waits for it.
func (c *Conn) stopWatch() {
	w := c.watcher
	if w == nil {
		return
	}
	c.watcher = nil
	w.stop.Store(true)
	c.w.interrupt()
	<-w.done
}

// StopBody makes reading the request's body fail, now and from now on. It may
// be called by any goroutine while the exchange lasts: an upstream that needs
// no more of the body frees the goroutine that copies it.
func (c *Conn) StopBody() { c.body.Close() }
