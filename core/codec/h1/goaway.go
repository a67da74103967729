package h1

import "time"

// frames follows WebSocket frames (RFC 6455, 5.2) as they pass, to know where one
// ends.
type frames struct {
	head [14]byte
	n    int    // bytes of head so far
	left uint64 // bytes of the frame's content that are to come
}

// between reports whether a frame may be put in here.
func (f *frames) between() bool { return f.n == 0 && f.left == 0 }

// next returns how many of the bytes belong to the frame that is passing.
func (f *frames) next(b []byte) (n int) {
	for n < len(b) {
		if f.left > 0 {
			k := min(uint64(len(b)-n), f.left)
			f.left -= k
			if n += int(k); f.left == 0 {
				return n
			}
			continue
		}
		f.head[f.n] = b[n]
		f.n++
		n++
		if size, content := f.size(); f.n == size {
			f.n, f.left = 0, content
			if content == 0 {
				return n
			}
		}
	}
	return n
}

// size returns the size of the head, as far as it is known, and then of the
// content.
func (f *frames) size() (head int, content uint64) {
	if f.n < 2 {
		return 2, 0
	}
	head, wide := 2, 0
	switch content = uint64(f.head[1] & 0x7f); content {
	case 126:
		wide = 2
	case 127:
		wide = 8
	}
	if wide > 0 {
		content = 0
		for _, c := range f.head[2 : 2+wide] {
			content = content<<8 | uint64(c)
		}
	}
	head += wide
	if f.head[1]&0x80 != 0 {
		head += 4 // the mask
	}
	return head, content
}

// closeGoingAway is a server's close frame with 1001 (RFC 6455, 7.4.1).
var closeGoingAway = []byte{0x88, 2, 1001 >> 8, 1001 & 0xff}

// toClient writes what the upstream sent, and the close in its turn, after which
// nothing follows.
func (t *pair) toClient(b []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.websocket {
		return t.c.w.write(b, time.Now(), t.c.p.IdleTimeout)
	}
	for n := 0; n < len(b) && !t.closed; {
		if t.closing && t.frames.between() {
			if err := t.close(); err != nil {
				return err
			}
			break
		}
		k := len(b) - n
		if t.closing {
			k = t.frames.next(b[n:])
		} else {
			for i := n; i < len(b); {
				i += t.frames.next(b[i:])
			}
		}
		if err := t.c.w.write(b[n:n+k], time.Now(), t.c.p.IdleTimeout); err != nil {
			return err
		}
		n += k
	}
	if t.closing && !t.closed && t.frames.between() {
		return t.close()
	}
	return nil
}

// goAway has a WebSocket client told that the proxy goes away, as soon as no frame
// is on its way to it. What the client answers ends the connection.
func (t *pair) goAway() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.websocket || t.closing {
		return
	}
	t.closing = true
	if t.frames.between() {
		_ = t.close() // whoever reads finds out
	}
}

// close sends the close frame; mu is held.
func (t *pair) close() error {
	t.closed = true
	return t.c.w.write(closeGoingAway, time.Now(), t.c.p.IdleTimeout)
}
