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
	set    *Set
	awake  atomic.Bool
	wake   chan struct{}
	stop   chan struct{}
	once   sync.Once
	closed sync.Once
	done   sync.WaitGroup
	nudged []*conn // of one endpoint; for sweep alone
}

func (w *sweeper) init(s *Set) {
	w.set = s
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
			w.set.all(func(g *Group) { g.expire(now) })
		}
	}
}

// sweep wakes whoever waits since the sweep before; it returns how many wait.
func (w *sweeper) sweep() (waiting int) {
	w.set.all(func(g *Group) {
		g.each(func(e *endpoint) {
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
	})
	return waiting
}
