// Package bucket counts what a client may do for nothing: so much at once, and so
// much in a second over time.
package bucket

import "time"

// Bucket is what is left of an allowance. One goroutine uses it at a time.
type Bucket struct {
	left, most, perSecond int
	at                    time.Time // last refill
}

// New returns a full Bucket of most units, which gains perSecond in a second.
func New(most, perSecond int, now time.Time) Bucket { return Bucket{most, most, perSecond, now} }

// Take takes n; false if there is not as much left. The clock is read only when
// the bucket is empty.
func (b *Bucket) Take(n int) bool {
	if b.left < n {
		now := time.Now()
		// A second's worth is given at most at once: the clock was not read before.
		b.Give(int(min(now.Sub(b.at).Seconds(), float64(b.most/b.perSecond+1)) * float64(b.perSecond)))
		b.at = now
	}
	if b.left < n {
		return false
	}
	b.left -= n
	return true
}

// Give puts n back.
func (b *Bucket) Give(n int) { b.left = min(b.left+n, b.most) }
