package h2

// What is urgent goes first where streams wait for the connection's window, or for
// room in what is to be written (RFC 9218). Streams that are as urgent as each other
// share both, whether they are incremental or not.

// announced is what a PRIORITY_UPDATE said of a stream that was idle.
type announced struct {
	id      uint32
	urgency uint8
}

// prioritize implements role.
func (c *Conn) prioritize(id uint32, urgency uint8) error {
	if s := c.streams[id]; s != nil {
		if s.eager {
			c.eager[s.urgency]--
			c.eager[urgency]++
		}
		s.urgency = urgency
		c.unyield()
		return nil
	}
	if !c.idle(id) || id&1 == 0 {
		return nil // closed, or pushed: none is
	}
	for i := range c.announced {
		if c.announced[i].id == id {
			c.announced[i].urgency = urgency
			return nil
		}
	}
	if len(c.announced)+len(c.streams) >= maxStreams {
		return connError{codeProtocol, "priority-update"} // RFC 9218, 7.1
	}
	c.announced = append(c.announced, announced{id, urgency})
	return nil
}

// urgencyOf returns what was announced of a stream that is opened, or else what its
// head says. Streams below it are not idle any more. c.mu is held.
func (c *Conn) urgencyOf(id uint32, head uint8) uint8 {
	left := c.announced[:0]
	for _, a := range c.announced {
		switch {
		case a.id == id:
			head = a.urgency // RFC 9218, 7
		case a.id > id:
			left = append(left, a)
		}
	}
	c.announced = left
	return head
}

// press notes that s waits for what all share: less urgent streams let it pass, until
// it has nothing to send any more. c.mu is held.
func (c *mux) press(s *flow) {
	if !s.eager && !s.gone {
		s.eager = true
		c.eager[s.urgency]++
	}
}

// settle is called when s has nothing to send, or may not. c.mu is held.
func (c *mux) settle(s *flow) {
	if s.eager {
		s.eager = false
		c.eager[s.urgency]--
		c.unyield()
	}
}

// yields reports whether a stream that is more urgent wants what s would take.
// c.mu is held.
func (c *mux) yields(s *flow) bool {
	wanting := 0
	for _, n := range c.eager[:s.urgency] {
		wanting += n
	}
	if wanting == 0 {
		return false
	}
	for _, other := range c.streams {
		if other.eager && other.urgency < s.urgency && other.window > 0 {
			return true
		}
	}
	return false
}

// unyield makes the streams that let others pass look again. c.mu is held.
func (c *mux) unyield() {
	if c.yielding == 0 {
		return
	}
	for _, s := range c.streams {
		if s.yielding {
			s.sendWait.wake()
		}
	}
}
