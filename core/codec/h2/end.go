package h2

import (
	"errors"
	"time"

	"penstock.dev/penstock/core/internal/bufpool"
)

// How a connection is closed that the client may still be sending on: reading
// on for a moment keeps its unread bytes from destroying our GOAWAY.
const (
	lingerTime  = time.Second
	lingerBytes = 64 << 20
	// Of a flood no more is read than costs nothing.
	lingerBytesOfFlood = 256 << 10
)

// end ends the connection, for the reason that serve returned.
func (c *Conn) end(err error) {
	var mistake connError
	if errors.As(err, &mistake) {
		c.reject(400, mistake.reason)
	}
	if c.fresh != nil {
		c.server.free(c.fresh) // its head never ended
	}
	c.mu.Lock()
	if !c.ended {
		if err == errIdle && c.drain != drainLast || mistake.reason != "" {
			last := c.last
			if c.drain == drainLast {
				last = c.promised
			}
			c.out = appendGoAway(c.room(64), last, mistake.code)
		}
	}
	c.giveUp(errCut)
	c.sweep()
	c.mux.end(errCut, mistake.code)
}

// end ends what is there: what was gathered is sent, and the connection closed.
// err is what streams that are still open see, why what the peer was told. c.mu is
// held, and let go of.
func (c *mux) end(err error, why code) {
	c.giveUp(err)
	c.nc.SetWriteDeadline(time.Now().Add(lingerTime))
	for c.writing {
		c.written.Wait()
	}
	c.writing = true // for good
	for len(c.out) > 0 && !c.dead {
		c.write()
	}
	dead := c.dead
	c.dead = true
	c.pool.Put(c.lent)
	c.out, c.lent = nil, nil
	c.mu.Unlock()
	if !dead {
		if why == codeEnhanceYourCalm {
			c.linger(lingerBytesOfFlood)
		} else {
			c.linger(lingerBytes)
		}
	}
	c.nc.Close()
	c.in.release()
}

// linger tells the peer that no more comes, and waits for it to close, for so many
// bytes at most.
func (c *mux) linger(left int) {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	b := c.pool.Get(bufpool.Small)
	defer c.pool.Put(b)
	c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	for left > 0 {
		n, err := c.nc.Read(b.Bytes)
		if err != nil {
			return
		}
		left -= n
	}
}
