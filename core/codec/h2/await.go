package h2

import "time"

// await implements role: what came is served, and where Drain stands.
func (c *Conn) await(now time.Time) error {
	c.launch()
	if c.drain == drainAsked && (!c.started || !now.Before(c.drainBy)) {
		c.lastGoAway()
	}
	if c.drain == drainLast && c.serving == 0 {
		return errDrained
	}
	return nil
}

// due implements role.
func (c *Conn) due(now time.Time) (time.Time, error) {
	at, err := now.Add(c.p.IdleTimeout), error(nil)
	switch {
	case !c.greeted || c.block.open:
		at, err = c.began.Add(c.p.HeaderTimeout), connError{codeEnhanceYourCalm, "header-timeout"}
	case c.serving == 0:
		at, err = c.quiet.Add(c.p.IdleTimeout), errIdle
	}
	if c.drain == drainAsked && c.drainBy.Before(at) {
		return c.drainBy, errDrained
	}
	return at, err
}

// lastGoAway says which streams are served to the end. c.mu is held.
func (c *Conn) lastGoAway() {
	c.drain = drainLast
	c.promised = c.last
	if c.started && !c.ended {
		c.out = appendGoAway(c.room(64), c.last, codeNo)
		c.flushLater()
	}
}
