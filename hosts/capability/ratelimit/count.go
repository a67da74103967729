package ratelimit

import (
	"math"
	"time"

	"penstock.dev/penstock/hosts/capability"
)

// count is what is known of one key; the zero count is that of a key that nobody has
// asked for. Times are in nanoseconds.
type count struct {
	// at is when a bucket is full; of a window, the number of the current one.
	at int64
	// current and before are the events of a window and of the one before it.
	current, before uint32
}

// take asks of c, and changes it if the answer is yes. until is when it can be forgotten.
func (c *count) take(r *capability.Rate, now int64) (a capability.RateAnswer, until int64) {
	if r.Algorithm == capability.SlidingWindow {
		return c.window(r, now)
	}
	return c.bucket(r, now)
}

// bucket is a token bucket: at moves on by an interval for each event, and may be so many
// intervals ahead of now as the bucket holds.
func (c *count) bucket(r *capability.Rate, now int64) (a capability.RateAnswer, until int64) {
	interval := max(int64(r.Window)/int64(r.Limit), 1)
	burst := int64(r.Burst)
	if burst == 0 {
		burst = int64(r.Limit)
	}
	at, holds := max(c.at, now), interval*burst
	at = min(at, now+holds) // the limit was another one before
	next := at + interval*int64(r.Cost)
	if a.Allowed = next-holds <= now; a.Allowed {
		at = next
	} else if a.Retry = time.Duration(next - holds - now); int64(r.Cost) > burst {
		a.Retry = time.Duration(max(at-now, interval))
	}
	c.at = at
	a.Remaining = uint32((now + holds - at) / interval)
	a.Reset = time.Duration(at - now)
	return a, at
}

// window is a sliding window.
func (c *count) window(r *capability.Rate, now int64) (a capability.RateAnswer, until int64) {
	size := int64(r.Window)
	number := now / size
	switch c.at {
	case number:
	case number - 1:
		c.before, c.current = c.current, 0
	default:
		c.before, c.current = 0, 0
	}
	c.at = number
	gone := now - number*size // of the current window
	limit, cost := float64(r.Limit), float64(r.Cost)
	share := float64(size-gone) / float64(size)
	used := float64(c.before)*share + float64(c.current)
	if a.Allowed = used+cost <= limit; a.Allowed {
		c.current += r.Cost
		used += cost
	} else {
		a.Retry = c.wait(limit, cost, size, gone)
	}
	a.Remaining = uint32(max(limit-used, 0))
	switch {
	case c.current > 0:
		a.Reset = time.Duration(2*size - gone)
	case c.before > 0:
		a.Reset = time.Duration(size - gone)
	}
	if a.Retry = min(a.Retry, a.Reset); a.Retry == 0 && !a.Allowed {
		a.Retry = a.Reset
	}
	return a, (number + 2) * size
}

// wait returns how long it is until cost events are allowed; 0: they never are.
func (c *count) wait(limit, cost float64, size, gone int64) time.Duration {
	if cost > limit {
		return 0
	}
	// Of n events before a moment, n*(1-share gone) count; after this much of a window they
	// fit, in whole microseconds.
	fits := func(n, others float64) time.Duration {
		return time.Duration(math.Ceil((1-(limit-cost-others)/n)*float64(size)/1000-0.001)) * time.Microsecond
	}
	if float64(c.current)+cost <= limit {
		return fits(float64(c.before), float64(c.current)) - time.Duration(gone)
	}
	return time.Duration(size-gone) + fits(float64(c.current), 0)
}
