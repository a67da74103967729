package h2

import (
	"runtime"
	"sync"
	"time"

	"penstock.dev/penstock/core/internal/bufpool"
	"penstock.dev/penstock/core/internal/pace"
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

	yielding int    // of blocked: those that let more urgent ones pass
	eager    [8]int // streams that are, by urgency
}

// outMost is how much DATA may be gathered, in bytes.
const outMost = bufpool.Large

// room returns c.out, after making room for n bytes more if that can be done
// without copying much. c.mu is held.
func (c *mux) room(n int) []byte {
	if c.lent == nil && c.out == nil {
		c.lent = c.pool.Get(max(n, bufpool.Medium))
		c.out = c.lent.Bytes[:0]
	}
	if want := len(c.out) + n; want > cap(c.out) && want <= bufpool.Largest {
		next := c.pool.Get(bufpool.Largest)
		c.out = append(next.Bytes[:0], c.out...)
		c.pool.Put(c.lent)
		c.lent = next
	}
	return c.out
}

// flush writes what is gathered, unless somebody is writing already, who then
// writes this too. c.mu is held, and let go of while it writes.
func (c *mux) flush() {
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
func (c *mux) flushLater() {
	if c.writing || c.dead || len(c.out) == 0 {
		return
	}
	c.writing = true
	c.running.Add(1)
	go c.writeAll()
}

func (c *mux) writeAll() {
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
func (c *mux) write() {
	b, lent := c.out, c.lent
	c.out, c.lent = nil, nil
	if c.blocked > 0 {
		c.wakeBlocked() // there is room again, long before this is written
	}
	now := time.Now()
	if !pace.Near(c.writeBy, now, c.p.IdleTimeout) && !c.ended {
		c.writeBy = now.Add(c.p.IdleTimeout)
		c.nc.SetWriteDeadline(c.writeBy)
	}
	c.mu.Unlock()
	_, err := c.nc.Write(b)
	c.pool.Put(lent)
	c.mu.Lock()
	if err != nil {
		c.dead = true
		c.giveUp(errCut)
		c.poke()
	}
}

// wakeBlocked makes the streams that wait for room or window look again. c.mu
// is held.
func (c *mux) wakeBlocked() {
	for _, s := range c.streams {
		if s.blocked {
			s.sendWait.wake()
		}
	}
}
