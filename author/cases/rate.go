package cases

import (
	"fmt"
	"slices"
	"time"

	"penstock.dev/penstock/hosts/capability"
)

// Rate is a question to a limit that all proxies share, and its answer. Where an exchange
// or a connection has none, the case counts by itself, as a proxy that is alone.
type Rate struct {
	// What is asked; what is not said may be anything.
	Key       string   `yaml:"key"`
	Algorithm string   `yaml:"algorithm"` // token-bucket or sliding-window
	Limit     uint32   `yaml:"limit"`
	Window    Duration `yaml:"window"`
	Burst     *uint32  `yaml:"burst"`
	Cost      *uint32  `yaml:"cost"`
	// Answer; nil: Call.Fails says why there is none.
	Answer *RateAnswer `yaml:"answer"`
}

// RateAnswer is what became of a Rate.
type RateAnswer struct {
	Allowed   bool     `yaml:"allowed"`
	Remaining uint32   `yaml:"remaining"`
	Reset     Duration `yaml:"reset"` // until all of the limit is there again
	Retry     Duration `yaml:"retry"` // until the same would be allowed
}

// algorithms by the names that cases have for them.
var algorithms = map[string]capability.RateAlgorithm{"token-bucket": capability.TokenBucket, "sliding-window": capability.SlidingWindow}

// check finds what a question cannot mean.
func (r *Rate) check(what string) error {
	if r == nil {
		return nil
	}
	if _, known := algorithms[r.Algorithm]; r.Algorithm != "" && !known {
		return fmt.Errorf("%s.algorithm: %q: want token-bucket or sliding-window", what, r.Algorithm)
	}
	if a := r.Answer; a != nil && a.Allowed && a.Retry != 0 {
		return fmt.Errorf("%s.answer.retry: it is allowed now", what)
	}
	return nil
}

// compare says how a question differs.
func (r *Rate) compare(where string, got *capability.Rate) (faults []string) {
	differs := func(field string, wrong bool, got, want any) {
		if wrong {
			faults = append(faults, fmt.Sprintf("%s.%s: got %v; want %v", where, field, got, want))
		}
	}
	name := "token-bucket"
	if got.Algorithm == capability.SlidingWindow {
		name = "sliding-window"
	}
	differs("key", r.Key != "" && r.Key != string(got.Key), fmt.Sprintf("%q", got.Key), fmt.Sprintf("%q", r.Key))
	differs("algorithm", r.Algorithm != "" && r.Algorithm != name, name, r.Algorithm)
	differs("limit", r.Limit != 0 && r.Limit != got.Limit, got.Limit, r.Limit)
	differs("window", r.Window != 0 && time.Duration(r.Window) != got.Window, got.Window, time.Duration(r.Window))
	if r.Burst != nil {
		differs("burst", *r.Burst != got.Burst, got.Burst, *r.Burst)
	}
	if r.Cost != nil {
		differs("cost", *r.Cost != got.Cost, got.Cost, *r.Cost)
	}
	return faults
}

// rates answers as a case says, and else as the limiter of a proxy that is alone.
type rates struct {
	capability.RateLimiter
	calls *calls
}

// rates makes a limiter the case's.
func (c *calls) rates(alone capability.RateLimiter) capability.RateLimiter { return rates{alone, c} }

// TakeShared implements capability.RateLimiter.
func (r rates) TakeShared(k *capability.Rate, done func(capability.RateAnswer, error)) (a capability.RateAnswer, now bool, cancel func(), err error) {
	c := r.calls
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.ContainsFunc(c.script, func(k Call) bool { return k.Rate != nil }) {
		return r.RateLimiter.TakeShared(k, done)
	}
	said, where := c.take(fmt.Sprintf("a shared rate limit of %q", k.Key), "", callRate)
	if said == nil {
		return a, false, nil, capability.ErrBusy
	}
	c.faults = append(c.faults, said.Rate.compare(where+".rate", k)...)
	fails, after := said.ends(redisTimeout)
	return a, false, c.wait(after, func() {
		if fails != "" {
			done(capability.RateAnswer{}, callFailures[fails])
			return
		}
		w := said.Rate.Answer
		done(capability.RateAnswer{Allowed: w.Allowed, Remaining: w.Remaining, Reset: time.Duration(w.Reset), Retry: time.Duration(w.Retry)}, nil)
	}), nil
}
