package h2

import (
	"runtime"
	"sync"
	"time"

	"penstock.dev/penstock/core/internal/bufpool"
)

// writer is a connection's output, guarded by its mutex. Whoever adds frames
// calls flush or flushLater afterwards: one goroutine writes at a time, for all.
type writer struct {
	out     []byte // frames that are not written yet; may have outgrown lent
	lent    *bufpool.Buffer
	writing bool
	written sync.Cond // nobody is writing any more
	blocked int       // streams that wait for room or window
	writeBy time.Time // armed deadline
}

// outMost is how much DATA may be gathered, in bytes.
const outMost = bufpool.Large

// room returns c.out, after making room for n bytes more if that can be done
// without copying much. c.mu is held.
func (c *Conn) room(n int) []byte {
	if c.lent == nil && c.out == nil {
		c.lent = c.server.pool.Get(max(n, bufpool.Medium))
		c.out = c.lent.Bytes[:0]
	}
	if want := len(c.out) + n; want > cap(c.out) && want <= bufpool.Largest {
		next := c.server.pool.Get(bufpool.Largest)
		c.out = append(next.Bytes[:0], c.out...)
		c.server.pool.Put(c.lent)
		c.lent = next
	}
	return c.out
}

// flush writes what is gathered, unless somebody is writing already, who then
// writes this too. c.mu is held, and let go of while it writes.
func (c *Conn) flush() {
	if c.writing || c.dead || len(c.out) == 0 {
		return
	}
	c.writing = true
	// Other streams that are ready add to the same write.
	c.mu.Unlock()
	runtime.Gosched()
	c.mu.Lock()
	c.write()
	c.writing = false
	c.written.Broadcast()
	c.flushLater() // what came meanwhile is not this goroutine's to wait for
}

// flushLater is flush on another goroutine. c.mu is held.
func (c *Conn) flushLater() {
	if c.writing || c.dead || len(c.out) == 0 {
		return
	}
	c.writing = true
	c.running.Add(1)
	go c.writeAll()
}

func (c *Conn) writeAll() {
	defer c.running.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out) > 0 && !c.dead {
		c.write()
	}
	c.writing = false
	c.written.Broadcast()
}

// write writes what is gathered, once. c.mu is held, and let go of meanwhile.
func (c *Conn) write() {
	b, lent := c.out, c.lent
	c.out, c.lent = nil, nil
	if c.blocked > 0 {
		c.wakeBlocked() // there is room again, long before this is written
	}
	now := time.Now()
	if !near(c.writeBy, now, c.p.IdleTimeout) && !c.ended {
		c.writeBy = now.Add(c.p.IdleTimeout)
		c.nc.SetWriteDeadline(c.writeBy)
	}
	c.mu.Unlock()
	_, err := c.nc.Write(b)
	c.server.pool.Put(lent)
	c.mu.Lock()
	if err != nil {
		c.dead = true
		c.giveUp()
		c.poke()
	}
}

// near reports whether a deadline armed before may stand for one in d from now:
// it is not later, and earlier by an eighth of d or a second at most.
func near(armed, now time.Time, d time.Duration) bool {
	left := armed.Sub(now)
	return left <= d && left >= d-min(d/8, time.Second)
}

// wakeBlocked makes the streams that wait for room or window look again. c.mu
// is held.
func (c *Conn) wakeBlocked() {
	for _, s := range c.streams {
		if s.blocked {
			s.sendWait.wake()
		}
	}
}

// waiter is a place where one goroutine waits for what is guarded by a mutex.
type waiter struct {
	cond  sync.Cond
	timer *time.Timer
}

// wait waits until woken, or by, whichever is first; false if by has passed. The
// mutex is held, and let go of meanwhile.
func (w *waiter) wait(by time.Time) bool {
	left := time.Until(by)
	if left <= 0 {
		return false
	}
	if w.timer == nil {
		mu := w.cond.L
		w.timer = time.AfterFunc(left, func() {
			mu.Lock() // the waiter has gone to sleep by then
			defer mu.Unlock()
			w.cond.Broadcast()
		})
	} else {
		w.timer.Reset(left)
	}
	w.cond.Wait()
	w.timer.Stop()
	return true
}

// reset readies w for another mutex. Nobody waits.
func (w *waiter) reset() {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// wake wakes who waits. The mutex is held.
func (w *waiter) wake() { w.cond.Broadcast() }
