package capability

import (
	"errors"
	"time"

	"penstock.dev/penstock/core/config"
)

// Bounds on what a plugin asks of a rate limit.
const (
	MaxRateKey    = 1 << 10
	MaxRateWindow = 31 * 24 * time.Hour
	MaxRateLimit  = 1 << 30 // events in a window, at once, or for one request
)

// ErrNoRedis means that a limit which all proxies share has no Redis: the parameters name
// none.
var ErrNoRedis = errors.New("no Redis: set spec.redis in the ProxyParameters of the Gateway or GatewayClass")

// RateAlgorithm is how events are counted.
type RateAlgorithm uint8

// The algorithms. TokenBucket gains Limit tokens in each Window, evenly, and holds Burst
// of them. SlidingWindow counts this window's events, and those of the window before by
// the share of it that is less than a Window ago.
const (
	TokenBucket RateAlgorithm = iota
	SlidingWindow
)

// Rate is a question whether Cost events more are within a limit; if they are, they are
// counted.
type Rate struct {
	// Filter is whose limit it is: its namespace bounds how many keys are remembered,
	// and its Redis counts for all proxies.
	Filter *config.Filter
	// State tells filters' keys apart: filters of one namespace with one vmId share them.
	State     string
	Key       []byte // of at most MaxRateKey bytes; not kept
	Algorithm RateAlgorithm
	Limit     uint32        // events in a Window, 1..MaxRateLimit
	Window    time.Duration // 1 ms..MaxRateWindow
	Burst     uint32        // of a TokenBucket, 0: Limit
	Cost      uint32        // 0: only asks
}

// RateAnswer says what became of a Rate.
type RateAnswer struct {
	Allowed   bool
	Remaining uint32        // events that would be allowed now
	Reset     time.Duration // until all of the limit is there again
	// Retry is until Cost events would be allowed, 0 if they are; for more than the limit
	// ever allows it is Reset.
	Retry time.Duration
}

// RateLimiter counts events. Any goroutine may call it.
type RateLimiter interface {
	// Take answers by this proxy's own count.
	Take(r *Rate) RateAnswer
	// TakeShared answers by the count that all proxies share. It may answer at once; else
	// done is called exactly once, on another goroutine and never before TakeShared has
	// returned, but not after cancel. Errors are ErrNoRedis, ErrBusy, or those of Redis.
	TakeShared(r *Rate, done func(RateAnswer, error)) (answer RateAnswer, now bool, cancel func(), err error)
}

// RedisScript is a script of the proxy's own that runs in a filter's Redis on one key,
// which gets the filter's prefix.
type RedisScript struct {
	Filter *config.Filter
	SHA1   string // of Source, in hexadecimal
	Source string
	Key    string
	Args   []string
}

// RedisScripter runs scripts.
type RedisScripter interface {
	// RedisScript begins s. done is as that of RedisCaller.
	RedisScript(s *RedisScript, done func(reply []byte, err error)) (cancel func(), err error)
}
