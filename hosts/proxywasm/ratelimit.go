package proxywasm

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"penstock.dev/penstock/hosts/capability"
)

// What the functions of capability ratelimit cost a guest, in steps.
const (
	stepsOfRate       = 500
	stepsOfSharedRate = 10_000
)

// Flags of penstock.rate_limit.
const (
	rateSliding = 1 << 0
	rateShared  = 1 << 1
)

// rateFunctions are foreign functions of capability ratelimit. Numbers in their arguments
// and results are little endian.
func rateFunctions() map[string]foreignFunc {
	return map[string]foreignFunc{
		"penstock.rate_limit": capable(capability.RateLimit, func(a *ABI) bool { return a.o.Rates != nil }, rateLimit),
	}
}

// rateLimit asks whether some events more are within a limit, and counts them if so:
// flags (8 bits), the limit, the window in milliseconds, the burst, the cost (32 bits
// each), the key. The answer is allowed (8 bits), what remains, milliseconds until all of
// the limit is there again, and until the same would be allowed (32 bits each). What all
// proxies share is answered as later says, what this one counts at once.
func rateLimit(v *vm, args []byte) ([]byte, uint32) {
	f := v.r.f
	in := reader{rest: args}
	flags := in.byte()
	r := &v.rate
	*r = capability.Rate{Filter: f.config, State: f.shared.id, Limit: in.u32(), Window: time.Duration(in.u32()) * time.Millisecond, Burst: in.u32(), Cost: in.u32(), Key: in.rest}
	if flags&rateSliding != 0 {
		r.Algorithm = capability.SlidingWindow
	}
	switch {
	case in.bad, flags&^(rateSliding|rateShared) != 0, len(r.Key) == 0 || len(r.Key) > capability.MaxRateKey,
		r.Limit == 0 || r.Limit > capability.MaxRateLimit || r.Burst > capability.MaxRateLimit || r.Cost > capability.MaxRateLimit,
		r.Window == 0 || r.Window > capability.MaxRateWindow, r.Algorithm == capability.SlidingWindow && r.Burst != 0:
		return nil, statusBadArgument
	}
	if flags&rateShared == 0 {
		v.i.Spend(stepsOfRate)
		v.object = appendRate(v.object[:0], f.abi.o.Rates.Take(r))
		return v.object, statusOK
	}
	v.i.Spend(stepsOfSharedRate)
	return v.later(func(done func([]byte, error)) ([]byte, bool, func(), error) {
		a, now, cancel, err := f.abi.o.Rates.TakeShared(r, func(a capability.RateAnswer, err error) { done(appendRate(nil, a), err) })
		return appendRate(nil, a), now, cancel, err
	}, func(err error) uint32 {
		f.log.once("rate limit", "the plugin's limit for all proxies cannot be asked: "+err.Error())
		if errors.Is(err, capability.ErrNoRedis) {
			return statusUnimplemented
		}
		return statusInternal
	})
}

func appendRate(b []byte, a capability.RateAnswer) []byte {
	allowed := byte(0)
	if a.Allowed {
		allowed = 1
	}
	b = binary.LittleEndian.AppendUint32(append(b, allowed), a.Remaining)
	b = binary.LittleEndian.AppendUint32(b, wholeMilliseconds(a.Reset))
	return binary.LittleEndian.AppendUint32(b, wholeMilliseconds(a.Retry))
}

// wholeMilliseconds rounds up: who waits as long does not come too early.
func wholeMilliseconds(d time.Duration) uint32 {
	return uint32(min((d+time.Millisecond-1)/time.Millisecond, math.MaxUint32))
}
