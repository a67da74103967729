package pace

import "time"

// Near reports whether a deadline armed before may stand for one in d from now: it
// is not later, and earlier by an eighth of d or a second at most. Arming costs more
// than most of what is done between two deadlines.
func Near(armed, now time.Time, d time.Duration) bool {
	left := armed.Sub(now)
	return left <= d && left >= d-min(d/8, time.Second)
}
