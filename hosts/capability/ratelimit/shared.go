package ratelimit

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"penstock.dev/penstock/hosts/capability"
)

const (
	// maxFlows bounds the keys that are asked for or known to be exhausted at one time,
	// and maxWaiting the events of one key that wait for an answer.
	maxFlows   = 64 << 10
	maxWaiting = 4096
)

var errAnswer = errors.New("redis answered a rate limit with something else than five numbers")

// shared is what is under way with Redis.
type shared struct {
	mu    sync.Mutex
	flows map[key]*flow
}

// flow is one key that is asked for, or exhausted.
type flow struct {
	key     key
	name    string // in Redis
	asked   []*asker
	waiting []*asker // for the next question
	asking  bool
	// Until then nothing of at least that cost is allowed; resets is when all of the
	// limit is there again.
	until, resets time.Time
	cost          uint32
}

// asker is an event that waits.
type asker struct {
	rate capability.Rate // without its key
	done func(capability.RateAnswer, error)
	told bool // guarded by shared.mu
}

// TakeShared implements capability.RateLimiter.
func (l *Limiter) TakeShared(r *capability.Rate, done func(capability.RateAnswer, error)) (a capability.RateAnswer, now bool, cancel func(), err error) {
	if l.o.Alone {
		return l.Take(r), true, nil, nil
	}
	if l.o.Redis == nil || r.Filter.Redis == nil {
		return a, false, nil, capability.ErrNoRedis
	}
	k := l.key(r)
	s := &l.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flows[k]
	if f == nil {
		if len(s.flows) >= maxFlows && !l.sweep() {
			return a, false, nil, fmt.Errorf("%w: %d keys of rate limits are asked for", capability.ErrBusy, maxFlows)
		}
		f = &flow{key: k, name: redisKey(r)}
		s.flows[k] = f
	}
	at := l.o.Now()
	if r.Cost >= f.cost && r.Cost > 0 && at.Before(f.until) {
		return f.denied(at), true, nil, nil
	}
	if len(f.waiting) >= maxWaiting {
		return a, false, nil, fmt.Errorf("%w: %d wait for one key of a rate limit", capability.ErrBusy, maxWaiting)
	}
	one := &asker{rate: *r, done: done}
	one.rate.Key = nil
	f.waiting = append(f.waiting, one)
	if !f.asking {
		if err := l.ask(f); err != nil {
			f.waiting = nil
			delete(s.flows, k)
			return a, false, nil, err
		}
	}
	return a, false, func() {
		s.mu.Lock()
		one.told = true // it stays counted, as an event that was abandoned
		s.mu.Unlock()
	}, nil
}

func (f *flow) denied(at time.Time) capability.RateAnswer {
	return capability.RateAnswer{Retry: f.until.Sub(at), Reset: max(f.resets.Sub(at), f.until.Sub(at))}
}

// sweep forgets the keys that nobody asks for and that are exhausted no more; some
// exhausted ones if that is none. mu is held.
func (l *Limiter) sweep() bool {
	s, now := &l.shared, l.o.Now()
	seen := 0
	for k, f := range s.flows {
		if f.idle() && (seen > sampled || !now.Before(f.until)) {
			delete(s.flows, k)
		}
		if seen++; seen > 64*sampled {
			break
		}
	}
	return len(s.flows) < maxFlows
}

func (f *flow) idle() bool { return !f.asking && len(f.waiting) == 0 }

// ask asks Redis for all that waits. mu is held.
func (l *Limiter) ask(f *flow) error {
	r := &f.waiting[0].rate
	asked := uint64(0)
	for _, one := range f.waiting {
		asked += uint64(one.rate.Cost)
	}
	f.asked, f.waiting, f.asking = f.waiting, nil, true
	_, err := l.o.Redis.RedisScript(script(r, f.name, min(asked, capability.MaxRateLimit)), func(reply []byte, err error) { l.answered(f, reply, err) })
	if err != nil {
		f.asking, f.asked = false, nil
	}
	return err
}

// told is what one asker is told, without the lock.
type told struct {
	one    *asker
	answer capability.RateAnswer
	err    error
}

// answered gives what was granted to those who asked, in their order, and asks for those
// who came since.
func (l *Limiter) answered(f *flow, reply []byte, err error) {
	var g grant
	if err == nil {
		g, err = parseGrant(reply)
	}
	s := &l.shared
	s.mu.Lock()
	all := make([]told, 0, len(f.asked)+len(f.waiting))
	add := func(one *asker, a capability.RateAnswer, err error) {
		if !one.told {
			one.told = true
			all = append(all, told{one, a, err})
		}
	}
	now := l.o.Now()
	for _, one := range f.asked {
		a := capability.RateAnswer{Remaining: g.remaining, Reset: g.reset}
		if cost := one.rate.Cost; err == nil && (cost <= g.granted) {
			a.Allowed = true
			g.granted -= cost
		} else if a.Retry = g.retry; cost > 1 { // what is granted and too little for it is lost
			a.Retry = max(g.retry, g.reset/time.Duration(max(one.rate.Limit, 1))*time.Duration(cost))
		}
		add(one, a, err)
	}
	f.asked, f.asking = nil, false
	if err == nil && g.short {
		f.until, f.resets, f.cost = now.Add(g.retry), now.Add(g.reset), 1
	}
	waiting := f.waiting[:0]
	for _, one := range f.waiting {
		switch {
		case err != nil:
			add(one, capability.RateAnswer{}, err)
		case one.rate.Cost > 0 && now.Before(f.until):
			add(one, f.denied(now), nil)
		case !one.told:
			waiting = append(waiting, one)
		}
	}
	if f.waiting = waiting; len(waiting) > 0 {
		if again := l.ask(f); again != nil {
			for _, one := range waiting {
				add(one, capability.RateAnswer{}, again)
			}
			f.waiting = nil
		}
	}
	if f.idle() && !now.Before(f.until) {
		delete(s.flows, f.key)
	}
	s.mu.Unlock()
	for _, t := range all {
		t.one.done(t.answer, t.err)
	}
}

// grant is an answer of the script.
type grant struct {
	granted, remaining uint32
	reset, retry       time.Duration
	short              bool // less was granted than asked for
}

// parseGrant reads an array of five integers: granted, remaining, microseconds until the
// limit is whole, and until one event is allowed, and whether it was less than asked for.
func parseGrant(reply []byte) (g grant, err error) {
	lines := bytes.Split(reply, []byte("\r\n"))
	if len(lines) != 7 || string(lines[0]) != "*5" {
		if len(reply) > 0 && reply[0] == '-' {
			return g, fmt.Errorf("redis: %.200s", bytes.TrimSpace(reply[1:]))
		}
		return g, errAnswer
	}
	var n [5]int64
	for i := range n {
		text, ok := bytes.CutPrefix(lines[i+1], []byte(":"))
		if n[i], err = strconv.ParseInt(string(text), 10, 64); !ok || err != nil || n[i] < 0 {
			return g, errAnswer
		}
	}
	const most = int64(2 * capability.MaxRateWindow / time.Microsecond)
	return grant{uint32(min(n[0], capability.MaxRateLimit)), uint32(min(n[1], capability.MaxRateLimit)),
		time.Duration(min(n[2], most)) * time.Microsecond, time.Duration(min(n[3], most)) * time.Microsecond, n[4] != 0}, nil
}

// redisKey is the name of a count; a window has its length in it.
func redisKey(r *capability.Rate) string {
	name := "rate:b:"
	if r.Algorithm == capability.SlidingWindow {
		name = "rate:w" + strconv.FormatInt(int64(r.Window/time.Millisecond), 10) + ":"
	}
	return name + hex.EncodeToString(r.Key)
}
