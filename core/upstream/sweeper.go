package upstream

import (
	"sync"
	"sync/atomic"
	"time"
)

// sweeper looks at all connections now and then, so that no exchange has to
// arm a timer: it wakes exchanges whose upstream is silent, and closes
// connections that are idle for too long. It sleeps while nothing is sent.
type sweeper struct {
	awake  atomic.Bool
	wake   chan struct{}
	stop   chan struct{}
	once   sync.Once
	closed sync.Once
	done   sync.WaitGroup

	mu     sync.Mutex
	active map[*endpoint]bool // that have connections, or had

	// For the goroutine that sweeps.
	list   []*endpoint
	nudged []*conn // of one endpoint
}

func (w *sweeper) init() {
	w.active = map[*endpoint]bool{}
	w.wake, w.stop = make(chan struct{}, 1), make(chan struct{})
}

func (w *sweeper) start() {
	w.once.Do(func() { w.done.Go(w.run) })
}

func (w *sweeper) close() {
	w.closed.Do(func() { close(w.stop) })
	w.done.Wait()
}

// note tells that an exchange waits for its upstream.
func (w *sweeper) note() {
	if !w.awake.Load() && w.awake.CompareAndSwap(false, true) {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// idleSweep is how often idle connections are looked at.
const idleSweep = time.Second

func (w *sweeper) run() {
	busy := time.NewTicker(silence)
	defer busy.Stop()
	idle := time.NewTicker(idleSweep)
	defer idle.Stop()
	quiet := 0
	for {
		select {
		case <-w.stop:
			return
		case <-w.wake:
			quiet = 0
			busy.Reset(silence)
		case <-busy.C:
			if w.sweep() > 0 {
				quiet = 0
			} else if quiet++; quiet > 100 {
				// Whoever waits from here on finds awake false, or is found below.
				w.awake.Store(false)
				if w.sweep() == 0 {
					busy.Stop()
				} else {
					w.awake.Store(true)
				}
			}
		case now := <-idle.C:
			w.each(func(e *endpoint) { e.expire(now.Add(-e.group.config.Parameters.IdleTimeout)) })
		}
	}
}

// sweep wakes whoever waits since the sweep before; it returns how many wait.
func (w *sweeper) sweep() (waiting int) {
	w.each(func(e *endpoint) {
		e.mu.Lock()
		for _, c := range e.conns {
			waits, nudges := c.sweep()
			if waits {
				waiting++
			}
			if nudges {
				w.nudged = append(w.nudged, c)
			}
		}
		e.mu.Unlock()
		for i, c := range w.nudged {
			c.nudge()
			w.nudged[i] = nil
		}
		w.nudged = w.nudged[:0]
	})
	return waiting
}

// come notes that an endpoint has connections. Its lock is held.
func (w *sweeper) come(e *endpoint) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active[e] = true
}

// leave forgets an endpoint that has none any more.
func (w *sweeper) leave(e *endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.conns) == 0 {
		w.mu.Lock()
		delete(w.active, e)
		w.mu.Unlock()
	}
}

// each calls f for every endpoint that may have connections: there may be thousands that
// have none.
func (w *sweeper) each(f func(*endpoint)) {
	w.mu.Lock()
	for e := range w.active {
		w.list = append(w.list, e)
	}
	w.mu.Unlock()
	for i, e := range w.list {
		f(e)
		w.leave(e)
		w.list[i] = nil
	}
	w.list = w.list[:0]
}
