package upstream

import (
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// Options is what a rule says of an exchange's way to an upstream. The zero value is
// what Send does.
type Options struct {
	// Timeout bounds one try, from the request sent to the head received; 0: the
	// upstream's ResponseTimeout.
	Timeout time.Duration
	// Deadline ends all tries together, connecting and waiting in between included: 504
	// from then on. Zero: none.
	Deadline time.Time
	// Retry says when the request is sent again; nil: only as Send says.
	Retry *config.Retry
	// Session is the client's; nil: none.
	Session *Session
}

// SendWith is Send with what a rule says. The body of a request that may be sent again
// is kept as it is read, up to a bound; one that is longer is sent once.
func (g *Group) SendWith(x *exchange.Exchange, o *Options) *exchange.Error {
	x.Upstream = g.config.Name
	err := g.send(x, o)
	if err != nil {
		g.answered(0)
		return err
	}
	g.answered(x.Response.Status / 100)
	return nil
}

// try returns how long the next try may take.
func (o *Options) try(p *config.ProxyParameters) time.Duration {
	d := o.Timeout
	if d <= 0 {
		d = p.ResponseTimeout
	}
	return o.left(d)
}

// at notes where the answer is from.
func (o *Options) at(e *endpoint) {
	if o.Session != nil {
		o.Session.used = e
	}
}

// left returns what of d is left until the deadline, at least a millisecond.
func (o *Options) left(d time.Duration) time.Duration {
	if o.Deadline.IsZero() {
		return d
	}
	return max(min(d, time.Until(o.Deadline)), time.Millisecond)
}

// over reports whether the deadline is reached when d has passed.
func (o *Options) over(d time.Duration) bool {
	return !o.Deadline.IsZero() && time.Until(o.Deadline) <= d
}
