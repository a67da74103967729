package h1

import (
	"errors"

	"penstock.dev/penstock/core/exchange"
)

// SetOwner sets who is told; nil, as at first: nobody.
func (c *UpstreamConn) SetOwner(o exchange.Owner) { c.owner = o }

// errClientGone means that the client has gone while the upstream was silent.
var errClientGone = errors.New("client disconnected")

// wait is called before a read. A body whose client is watched already needs no
// more than that.
func (b *responseBody) wait() {
	if c := b.c; c != nil && c.owner != nil && b.unwatch == nil && b.available() == 0 {
		b.waits = true
		c.owner.Wait()
	}
}

// proceed ends wait.
func (b *responseBody) proceed() (silent bool) {
	if !b.waits {
		return false
	}
	b.waits = false
	return b.c.owner.Proceed()
}

// look is called when a read was interrupted; an error ends the body.
func (b *responseBody) look(silent bool) error {
	c := b.c
	if c.owner == nil {
		return nil
	}
	if b.gone.Load() {
		return errClientGone
	}
	running, err := c.owner.Upload()
	if err != nil {
		return err
	}
	if b.early && !running { // what read the request's body may have hidden the client's end
		b.stopWatch()
	}
	if silent && b.unwatch == nil {
		b.early = running
		b.unwatch = c.owner.Watch(b.x, func() {
			b.gone.Store(true)
			c.Interrupt()
		})
	}
	return nil
}

func (b *responseBody) stopWatch() {
	if b.unwatch != nil {
		b.unwatch()
		b.unwatch, b.early = nil, false
	}
}

// giveUp ends the body before its time.
func (b *responseBody) giveUp(err error) error {
	b.err = responseError(err)
	b.finish(false)
	return b.err
}

// clientError is the *exchange.Error in err, nil if there is none: what it says of
// the client is not the upstream's fault.
func clientError(err error) *exchange.Error {
	var known *exchange.Error
	switch {
	case errors.As(err, &known):
		return known
	case err == errClientGone:
		return &exchange.Error{Phase: exchange.PhaseResponseBody, Side: exchange.SideClient, Status: 499, Reason: "client-gone", Err: err}
	}
	return nil
}
