package h3

// What a connection may do without it being work of use.
const (
	// Frames that ask for nothing to be served: unknown ones, empty DATA, those of
	// the control stream, instructions of QPACK, streams of unknown types; and each
	// KiB that is skipped.
	controlBurst, controlPerSecond = 1000, 200
	skipUnit                       = 1 << 10
	// Requests that end before their response: cancelled by the client, or refused
	// because of its mistakes. One that ends well pays for a quarter.
	resetBurst, resetPerSecond, resetCost, resetCredit = 200 * 4, 50 * 4, 4, 1
	// Times the header limit that a field section may be long as it is sent; beyond,
	// it is answered 431 unread.
	sectionFactor = 2
)

// errControlFlood ends a connection.
var errControlFlood = connError{codeExcessiveLoad, "control-flood"}

// control pays for n frames that ask for nothing.
func (c *Conn) control(n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.controls.Take(n) {
		return errControlFlood
	}
	return nil
}

// resetOne pays for a request that came to nothing.
func (c *Conn) resetOne() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.resets.Take(resetCost) {
		return connError{codeExcessiveLoad, "reset-flood"}
	}
	return nil
}
