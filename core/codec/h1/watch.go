package h1

import (
	"sync"
	"time"

	"penstock.dev/penstock/core/internal/watch"
)

// watcher is told once that the client has gone.
type watcher struct {
	*watch.Watch
	w  *wire
	at int // in lookout.watched; -1: no longer there
}

// Watch implements exchange.Client. A half close of TCP counts as a
// disconnect, one of TLS does not (RFC 8446, 6.1). While another goroutine reads the
// request's body nothing is noticed: it sees the end. A connection that is no socket is
// not watched.
func (c *Conn) Watch(gone func()) (stop func()) {
	c.stopWatch()
	if c.w.probe == nil || !c.body.mu.TryLock() {
		return func() {}
	}
	c.body.mu.Unlock()
	w := &watcher{Watch: watch.New(gone), w: &c.w}
	c.server.lookout.add(w)
	c.watcher = w
	return func() {
		if c.watcher == w {
			c.stopWatch()
		}
	}
}

// stopWatch ends the watch that runs, if there is one, and waits for what it tells.
func (c *Conn) stopWatch() {
	w := c.watcher
	if w == nil {
		return
	}
	c.watcher = nil
	c.server.lookout.remove(w)
	w.Stop()
}

// lookout asks sockets whether their clients have closed them: reading would not do
// while bytes of the body or of a next request are there, and a goroutine for each of
// the thousands that may wait for one response costs more than the response.
type lookout struct {
	mu      sync.Mutex
	watched []*watcher
	next    int  // that is looked at
	running bool // a goroutine looks
}

// So many connections are looked at each time: one of a few every tenth of a second, one
// of 10,000 every two seconds.
const (
	lookEvery = 100 * time.Millisecond
	lookMost  = 500
)

func (l *lookout) add(w *watcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.at = len(l.watched)
	l.watched = append(l.watched, w)
	if !l.running {
		l.running = true
		go l.run()
	}
}

func (l *lookout) remove(w *watcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.at < 0 {
		return
	}
	end := len(l.watched) - 1
	last := l.watched[end]
	l.watched[w.at], last.at = last, w.at
	l.watched[end] = nil
	l.watched = l.watched[:end]
	w.at = -1
}

// run looks until there is nobody to be looked at.
func (l *lookout) run() {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	var some []*watcher
	for {
		<-t.C
		if some = l.some(some[:0]); len(some) == 0 {
			return
		}
		for i, w := range some {
			if w.w.closed() {
				l.remove(w)
				go w.Tell() // others are looked at meanwhile
			}
			some[i] = nil
		}
	}
}

// some appends those whose turn it is. If it appends none, run is to end.
func (l *lookout) some(to []*watcher) []*watcher {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range min(len(l.watched), lookMost) {
		if l.next >= len(l.watched) {
			l.next = 0
		}
		to = append(to, l.watched[l.next])
		l.next++
	}
	if len(to) == 0 {
		l.running, l.watched = false, nil
	}
	return to
}
