// Package pace finds peers that are slow enough to hold what serves them for nothing.
package pace

import "time"

// Grace is how long a peer may be waited for before its rate counts.
const Grace = 30 * time.Second

// Meter adds up how long a peer was waited for, and what it gave or took. The zero
// value is ready. One goroutine uses it at a time.
type Meter struct {
	bytes  int64
	waited time.Duration
}

// Add says that bytes moved, for which the peer was waited for that long; either may
// be 0. It reports whether the peer is fast enough: it has moved least bytes for each
// second of the waiting, counted anew whenever that has come to grace. least is 0 for
// no bound.
func (m *Meter) Add(bytes int64, waited time.Duration, least int, grace time.Duration) bool {
	m.bytes += bytes
	m.waited += waited
	if least <= 0 || m.waited < grace {
		return true
	}
	enough := float64(m.bytes) >= m.waited.Seconds()*float64(least)
	*m = Meter{}
	return enough
}
