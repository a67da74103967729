package h1

import (
	"time"

	"penstock.dev/penstock/core/codec/rfc9110"
)

// toClient writes what the upstream sent, and the close in its turn, after which
// nothing follows.
func (t *pair) toClient(b []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.websocket {
		return t.c.w.write(b, time.Now(), t.c.p.IdleTimeout)
	}
	for n := 0; n < len(b) && !t.closed; {
		if t.closing.Load() && t.frames.Between() {
			if err := t.close(); err != nil {
				return err
			}
			break
		}
		k := len(b) - n
		if t.closing.Load() {
			k = t.frames.Next(b[n:])
		} else {
			for i := n; i < len(b); {
				i += t.frames.Next(b[i:])
			}
		}
		if err := t.c.w.write(b[n:n+k], time.Now(), t.c.p.IdleTimeout); err != nil {
			return err
		}
		n += k
	}
	if t.closing.Load() && !t.closed && t.frames.Between() {
		return t.close()
	}
	return nil
}

// goAway has a WebSocket client told that the proxy goes away, as soon as no frame
// is on its way to it. What the client answers ends the connection.
func (t *pair) goAway() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.websocket || t.closed {
		return
	}
	t.closing.Store(true)
	if t.frames.Between() {
		_ = t.close() // whoever reads finds out
	}
}

// close sends the close frame; mu is held.
func (t *pair) close() error {
	t.closed = true
	return t.c.w.write(rfc9110.WebSocketGoingAway, time.Now(), t.c.p.IdleTimeout)
}
