package cases

import (
	"sync"
	"time"

	"penstock.dev/penstock/core/sandbox"
)

// begin is when each case begins.
var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// settles is how long, by the machine's time, what a timer wakes may take.
const settles = 10 * time.Second

// clock is a sandbox.Clock that is set by hand.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[*timer]struct{} // that run
}

func newClock() *clock { return &clock{now: begin, timers: map[*timer]struct{}{}} }

// Now implements sandbox.Clock.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// NewTimer implements sandbox.Clock.
func (c *clock) NewTimer() sandbox.Timer {
	return &timer{c: c, fired: make(chan time.Time, 1), handled: make(chan struct{}, 1)}
}

// reset makes it begin again.
func (c *clock) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = begin
	clear(c.timers)
}

// next returns the timer that fires first, and when; nil: none runs.
func (c *clock) next() (*timer, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var first *timer
	for t := range c.timers {
		if first == nil || t.due.Before(first.due) {
			first = t
		}
	}
	if first == nil {
		return nil, time.Time{}
	}
	return first, first.due
}

// to moves the time on, never back.
func (c *clock) to(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.now) {
		c.now = t
	}
}

// fire has a timer fire at its time, and waits for what it wakes.
func (c *clock) fire(t *timer) {
	c.mu.Lock()
	if _, runs := c.timers[t]; !runs {
		c.mu.Unlock()
		return
	}
	if t.due.After(c.now) {
		c.now = t.due
	}
	delete(c.timers, t)
	select {
	case <-t.handled: // of a time before
	default:
	}
	t.fired <- c.now
	c.mu.Unlock()
	select {
	case <-t.handled:
	case <-time.After(settles): // its owner has ended
	}
}

// timer is a sandbox.Timer; its fields are guarded by the clock's mutex.
type timer struct {
	c       *clock
	due     time.Time
	fired   chan time.Time
	handled chan struct{}
}

// C implements sandbox.Timer.
func (t *timer) C() <-chan time.Time { return t.fired }

// Reset implements sandbox.Timer.
func (t *timer) Reset(d time.Duration) {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.empty()
	t.due = t.c.now.Add(d)
	t.c.timers[t] = struct{}{}
}

// Stop implements sandbox.Timer.
func (t *timer) Stop() {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.empty()
	delete(t.c.timers, t)
}

// Handled implements sandbox.Timer.
func (t *timer) Handled() {
	select {
	case t.handled <- struct{}{}:
	default:
	}
}

func (t *timer) empty() {
	select {
	case <-t.fired: // nobody has seen that it fired
		select {
		case t.handled <- struct{}{}:
		default:
		}
	default:
	}
}

var _ sandbox.Clock = (*clock)(nil)
