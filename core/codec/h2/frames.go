package h2

import (
	"encoding/binary"

	"penstock.dev/penstock/core/codec/fields"
)

// handle does what a frame asks for. A streamError ends its stream, any other
// error the connection.
func (c *mux) handle(f *frame) error {
	if c.block.open && (f.kind != frameContinuation || f.id != c.block.id) {
		return connError{codeProtocol, "header-block"} // RFC 9113, 6.10
	}
	c.frames++
	switch f.kind {
	case frameHeaders:
		return c.onHeaders(f)
	case frameContinuation:
		return c.onContinuation(f)
	case frameData:
		return c.onData(f)
	case frameRSTStream:
		return c.onRST(f)
	case framePushPromise:
		return connError{codeProtocol, "push-promise"} // RFC 9113, 8.4: none is allowed either way
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.control.Take(1) {
		return connError{codeEnhanceYourCalm, "control-flood"}
	}
	switch f.kind {
	case frameSettings:
		return c.onSettings(f)
	case framePing:
		return c.onPing(f)
	case frameWindowUpdate:
		return c.onWindowUpdate(f)
	case framePriority:
		return c.onPriority(f)
	case framePriorityUpdate:
		return c.onPriorityUpdate(f)
	case frameGoAway:
		if f.id != 0 {
			return connError{codeProtocol, "goaway"}
		}
		if len(f.payload) < 8 {
			return connError{codeFrameSize, "goaway"}
		}
		return c.role.goAway(binary.BigEndian.Uint32(f.payload)&(1<<31-1), code(binary.BigEndian.Uint32(f.payload[4:])))
	}
	return nil // unknown types are ignored (RFC 9113, 4.1)
}

// onSettings: RFC 9113, 6.5. c.mu is held.
func (c *mux) onSettings(f *frame) error {
	p := f.payload
	switch {
	case f.id != 0:
		return connError{codeProtocol, "settings"}
	case f.has(flagAck):
		if len(p) > 0 {
			return connError{codeFrameSize, "settings-ack"}
		}
		return nil
	case len(p)%6 != 0:
		return connError{codeFrameSize, "settings"}
	}
	if !c.control.Take(len(p) / 60) {
		return connError{codeEnhanceYourCalm, "control-flood"}
	}
	for ; len(p) > 0; p = p[6:] {
		if err := c.set(binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])); err != nil {
			return err
		}
	}
	c.greeted = true
	c.role.settled()
	c.out = appendFrame(c.room(frameHeaderLen), frameSettings, flagAck, 0, 0)
	return nil
}

// set takes one of the peer's settings. c.mu is held.
func (c *mux) set(id uint16, value uint32) error {
	switch id {
	case settingHeaderTableSize:
		c.peer.shrink = true
	case settingInitialWindowSize:
		if value > mostWindow {
			return connError{codeFlowControl, "settings"}
		}
		grown := int(value) - c.peer.initialWindow
		c.peer.initialWindow = int(value)
		for _, s := range c.streams {
			if s.window += grown; s.window > mostWindow {
				return connError{codeFlowControl, "window-overflow"}
			}
		}
		if c.blocked > 0 {
			c.wakeBlocked()
		}
	case settingMaxFrameSize:
		if value < leastFrameSize || value > mostFrameSize {
			return connError{codeProtocol, "settings"}
		}
		c.peer.maxFrame = int(min(value, outMost/2))
	case settingExtendedConnect, settingNoPriorities:
		if value > 1 {
			return connError{codeProtocol, "settings"}
		}
	default:
		return c.role.setting(id, value)
	}
	return nil
}

// onPing: RFC 9113, 6.7. c.mu is held.
func (c *mux) onPing(f *frame) error {
	if f.id != 0 {
		return connError{codeProtocol, "ping"}
	}
	if len(f.payload) != 8 {
		return connError{codeFrameSize, "ping"}
	}
	if f.has(flagAck) {
		c.role.pong(f.payload)
		return nil
	}
	c.out = appendPing(c.room(frameHeaderLen+8), flagAck, f.payload)
	return nil
}

// onWindowUpdate: RFC 9113, 6.9. c.mu is held.
func (c *mux) onWindowUpdate(f *frame) error {
	if len(f.payload) != 4 {
		return connError{codeFrameSize, "window-update"}
	}
	n := int(binary.BigEndian.Uint32(f.payload) & mostWindow)
	if f.id == 0 {
		if n == 0 {
			return connError{codeProtocol, "window-update"}
		}
		if c.window += n; c.window > mostWindow {
			return connError{codeFlowControl, "window-overflow"}
		}
		if c.blocked > 0 {
			c.wakeBlocked()
		}
		return nil
	}
	s := c.streams[f.id]
	if s == nil {
		return c.unlessIdle(f.id)
	}
	if n == 0 {
		return streamError{f.id, codeProtocol, "window-update"}
	}
	if s.window += n; s.window > mostWindow {
		return streamError{f.id, codeFlowControl, "window-overflow"}
	}
	if s.blocked {
		s.sendWait.wake()
	}
	return nil
}

// onPriority: RFC 9113, 6.3. It is checked and ignored. c.mu is held.
func (c *mux) onPriority(f *frame) error {
	if f.id == 0 {
		return connError{codeProtocol, "stream-id"}
	}
	if len(f.payload) != 5 {
		if c.idle(f.id) {
			return connError{codeFrameSize, "priority"}
		}
		return streamError{f.id, codeFrameSize, "priority"}
	}
	if dependsOn(f.payload) == f.id {
		if c.idle(f.id) {
			return connError{codeProtocol, "priority"}
		}
		return streamError{f.id, codeProtocol, "priority"}
	}
	return nil
}

// dependsOn returns the stream that priority fields name (RFC 7540, 6.3).
func dependsOn(p []byte) uint32 { return binary.BigEndian.Uint32(p) & (1<<31 - 1) }

// onPriorityUpdate: RFC 9218, 7.1. c.mu is held.
func (c *mux) onPriorityUpdate(f *frame) error {
	if len(f.payload) < 4 {
		return connError{codeFrameSize, "priority-update"}
	}
	if f.id != 0 || dependsOn(f.payload) == 0 {
		return connError{codeProtocol, "priority-update"}
	}
	return c.role.prioritize(dependsOn(f.payload), fields.Urgency(f.payload[4:], fields.DefaultUrgency))
}

// onRST: RFC 9113, 6.4.
func (c *mux) onRST(f *frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.id == 0 {
		return connError{codeProtocol, "stream-id"}
	}
	if len(f.payload) != 4 {
		return connError{codeFrameSize, "frame-size"}
	}
	s := c.streams[f.id]
	if s == nil {
		if !c.control.Take(1) {
			return connError{codeEnhanceYourCalm, "control-flood"}
		}
		return c.unlessIdle(f.id)
	}
	return c.role.rst(s, code(binary.BigEndian.Uint32(f.payload)))
}

// idle reports whether no stream of this id was opened yet. c.mu is held.
func (c *mux) idle(id uint32) bool { return id&1 == 0 || id > c.last }

// unlessIdle: what is for a stream that has ended is ignored. c.mu is held.
func (c *mux) unlessIdle(id uint32) error {
	if c.idle(id) {
		return connError{codeProtocol, "idle-stream"} // RFC 9113, 5.1
	}
	return nil
}

// onData: RFC 9113, 6.1.
func (c *mux) onData(f *frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := len(f.payload)
	if f.id == 0 {
		return connError{codeProtocol, "stream-id"}
	}
	data, err := f.unpad()
	if err != nil {
		return err
	}
	if c.idle(f.id) {
		return connError{codeProtocol, "idle-stream"}
	}
	// Padding counts as well (RFC 9113, 6.9.1).
	if c.recvWindow -= size; c.recvWindow < 0 {
		return connError{codeFlowControl, "flow-control"}
	}
	s := c.streams[f.id]
	if len(data) == 0 && (s == nil || !f.has(flagEndStream)) && !c.control.Take(1) {
		return connError{codeEnhanceYourCalm, "control-flood"}
	}
	if s == nil {
		c.taken(size)
		if !c.ignored.has(f.id) {
			return connError{codeStreamClosed, "stream-closed"}
		}
		return nil
	}
	return s.in.receive(data, size, f.has(flagEndStream))
}

// taken says that n bytes of the connection's window are free again. c.mu is
// held; the caller flushes.
func (c *mux) taken(n int) {
	if c.owed += n; c.owed >= c.wholeRecv/4 && !c.ended {
		c.out = appendWindowUpdate(c.room(frameHeaderLen+4), 0, c.owed)
		c.recvWindow += c.owed
		c.owed = 0
	}
}

// ignored remembers streams that were reset here while the peer may still be
// sending on them: that is no mistake of its (RFC 9113, 5.1, closed).
type ignored struct {
	ids  [64]uint32
	next int
	past uint32 // all up to this one are ignored: they were pushed out
}

func (g *ignored) add(id uint32) {
	g.past = max(g.past, g.ids[g.next])
	g.ids[g.next] = id
	g.next = (g.next + 1) % len(g.ids)
}

func (g *ignored) has(id uint32) bool {
	if id <= g.past {
		return true
	}
	for _, i := range g.ids {
		if i == id {
			return true
		}
	}
	return false
}
