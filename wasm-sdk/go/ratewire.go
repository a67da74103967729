package sdk

import (
	"encoding/binary"
	"math"
	"time"
)

// Rate is a limit on how often something may happen.
type Rate struct {
	// Limit is how many events a Window allows, at least 1.
	Limit uint32
	// Window is in whole milliseconds, to 31 days.
	Window time.Duration
	// Burst is how many may come at once, where Limit ones are gained evenly over each
	// Window (a token bucket); 0: Limit. Not with Sliding.
	Burst uint32
	// Sliding counts the events of the last Window, those of the one before by share.
	Sliding bool
}

// RateAnswer says whether events are within a Rate.
type RateAnswer struct {
	Allowed   bool
	Remaining uint32        // that would be allowed now
	Reset     time.Duration // until all of the limit is there again
	Retry     time.Duration // until the same would be allowed, if it is not
}

const maxRateKey = 1 << 10

// appendRate appends the argument of penstock.rate_limit: a byte of flags (1 Sliding, 2
// shared), the limit, the milliseconds, the burst, the cost in 32 bits each, the key.
func appendRate(dst []byte, r *Rate, shared bool, key string, cost uint32) ([]byte, error) {
	ms := r.Window / time.Millisecond
	if r.Limit == 0 || ms < 1 || ms > math.MaxUint32 || r.Window%time.Millisecond != 0 || key == "" || len(key) > maxRateKey || r.Sliding && r.Burst != 0 {
		return dst, ErrBadArgument
	}
	var flags byte
	if r.Sliding {
		flags |= 1
	}
	if shared {
		flags |= 2
	}
	dst = append(dst, flags)
	for _, n := range [...]uint32{r.Limit, uint32(ms), r.Burst, cost} {
		dst = binary.LittleEndian.AppendUint32(dst, n)
	}
	return append(dst, key...), nil
}

// readRate reads an answer: a byte, and three numbers of 32 bits.
func readRate(b []byte) (a RateAnswer, ok bool) {
	if len(b) != 13 {
		return a, false
	}
	n := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	return RateAnswer{Allowed: b[0] != 0, Remaining: n(1), Reset: time.Duration(n(5)) * time.Millisecond, Retry: time.Duration(n(9)) * time.Millisecond}, true
}
