package ratelimit

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/hosts/capability"
)

// hand is a clock that a test moves on.
type hand struct {
	mu  sync.Mutex
	now time.Time
}

func (h *hand) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *hand) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func newHand() *hand { return &hand{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

func rate(key string, algorithm capability.RateAlgorithm, limit uint32, window time.Duration, burst uint32) *capability.Rate {
	return &capability.Rate{Filter: &config.Filter{Namespace: "ns", Redis: &config.Redis{}}, State: "s", Key: []byte(key),
		Algorithm: algorithm, Limit: limit, Window: window, Burst: burst, Cost: 1}
}

func TestTokenBucket(t *testing.T) {
	clock := newHand()
	l := New(Options{Now: clock.Now})
	r := rate("k", capability.TokenBucket, 10, time.Second, 3)
	ask := func(allowed bool, remaining uint32, reset, retry time.Duration) {
		t.Helper()
		want := capability.RateAnswer{Allowed: allowed, Remaining: remaining, Reset: reset, Retry: retry}
		if got := l.Take(r); got != want {
			t.Errorf("got %+v; want %+v", got, want)
		}
	}
	ms := time.Millisecond
	ask(true, 2, 100*ms, 0)
	ask(true, 1, 200*ms, 0)
	ask(true, 0, 300*ms, 0)
	ask(false, 0, 300*ms, 100*ms)
	clock.pass(99 * ms)
	ask(false, 0, 201*ms, ms)
	clock.pass(ms)
	ask(true, 0, 300*ms, 0)
	clock.pass(time.Hour)
	r.Cost = 4
	ask(false, 3, 0, 100*ms) // never
	r.Cost = 0
	ask(true, 3, 0, 0)
	r.Cost = 3
	ask(true, 0, 300*ms, 0)
	r.Burst, r.Cost = 1, 1 // the limit is changed: no debt of before
	ask(false, 0, 100*ms, 100*ms)
}

func TestSlidingWindow(t *testing.T) {
	clock := newHand()
	l := New(Options{Now: clock.Now})
	r := rate("k", capability.SlidingWindow, 10, 10*time.Second, 0)
	take := func(n int) (allowed int) {
		for range n {
			if l.Take(r).Allowed {
				allowed++
			}
		}
		return allowed
	}
	if n := take(20); n != 10 {
		t.Errorf("%d in the first window", n)
	}
	clock.pass(10 * time.Second)
	if n := take(5); n != 0 {
		t.Errorf("%d at the beginning of the second one: all of the first counts", n)
	}
	clock.pass(5 * time.Second)
	if n := take(20); n != 5 {
		t.Errorf("%d in the middle of the second one, when half of the first counts", n)
	}
	clock.pass(25 * time.Second)
	if n := take(20); n != 10 {
		t.Errorf("%d after a long time", n)
	}
	if a := l.Take(r); a.Allowed || a.Retry <= 0 || a.Reset < a.Retry {
		t.Errorf("got %+v", a)
	}
}

// TestRetryIsTrue: before what an answer says nothing is allowed, after it an event is.
func TestRetryIsTrue(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		clock := newHand()
		l := New(Options{Now: clock.Now})
		limit := 1 + random.Uint32N(20)
		r := rate("k", capability.RateAlgorithm(random.IntN(2)), limit, time.Duration(1+random.IntN(20_000))*time.Millisecond, random.Uint32N(5))
		for range 60 {
			clock.pass(time.Duration(random.Int64N(int64(r.Window)/int64(limit) + 1)))
			r.Cost = 1 + random.Uint32N(2)
			a := l.Take(r)
			most := limit
			if r.Algorithm == capability.TokenBucket && r.Burst > 0 {
				most = r.Burst
			}
			if a.Allowed || r.Cost > most {
				continue
			}
			if a.Retry <= 0 || a.Retry > a.Reset {
				t.Fatalf("%+v: %+v", r, a)
			}
			if early := a.Retry - time.Microsecond; early > 0 {
				clock.pass(early)
				if l.Take(r).Allowed {
					t.Fatalf("%+v is allowed before %v", r, a.Retry)
				}
				clock.pass(a.Retry - early)
			} else {
				clock.pass(a.Retry)
			}
			clock.pass(time.Microsecond)
			if b := l.Take(r); !b.Allowed {
				t.Fatalf("%+v: %+v, and after that %+v", r, a, b)
			}
		}
	}
}

// TestNoMoreThanTheLimit: in no stretch of time do more events pass than the algorithm
// promises.
func TestNoMoreThanTheLimit(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, algorithm := range []capability.RateAlgorithm{capability.TokenBucket, capability.SlidingWindow} {
		clock := newHand()
		l := New(Options{Now: clock.Now})
		r := rate("k", algorithm, 50, time.Second, 10)
		var passed []time.Time
		for range 20_000 {
			clock.pass(time.Duration(random.ExpFloat64() * float64(2*time.Millisecond)))
			if l.Take(r).Allowed {
				passed = append(passed, clock.now)
			}
		}
		for i := range passed {
			for j := i; j < len(passed) && passed[j].Sub(passed[i]) < time.Second; j++ {
				most := 60 // the bucket's burst, and what it gains
				if algorithm == capability.SlidingWindow {
					most = 75 // it takes the window before as even
				}
				if n := j - i + 1; n > most {
					t.Fatalf("%v: %d events in %v", algorithm, n, passed[j].Sub(passed[i]))
				}
			}
		}
		seconds := passed[len(passed)-1].Sub(passed[0]).Seconds()
		if per := float64(len(passed)) / seconds; math.Abs(per-50) > 1 {
			t.Errorf("%v: %.1f a second under load; want 50", algorithm, per)
		}
	}
}

// TestKeysAreBounded: a flood of keys takes the room of its own namespace.
func TestKeysAreBounded(t *testing.T) {
	clock := newHand()
	l := New(Options{Now: clock.Now, Keys: 1000, AllKeys: 1500})
	other := rate("mine", capability.TokenBucket, 1, time.Hour, 1)
	other.Filter = &config.Filter{Namespace: "other"}
	l.Take(other)
	for i := range 20_000 {
		if !l.Take(rate(fmt.Sprint(i), capability.TokenBucket, 1, time.Minute, 1)).Allowed {
			t.Fatalf("key %d is counted before it was asked for", i)
		}
	}
	if n := l.all.Load(); n > 1001+shards {
		t.Errorf("%d keys are remembered", n)
	}
	if l.Take(other).Allowed {
		t.Error("another namespace's key was forgotten")
	}
	clock.pass(2 * time.Hour)
	for i := range 20_000 {
		l.Take(rate(fmt.Sprint("later", i), capability.TokenBucket, 1, time.Nanosecond*2, 1))
		clock.pass(time.Microsecond)
	}
	if n := l.all.Load(); n > 200 {
		t.Errorf("%d keys are remembered, and nearly all might be forgotten", n)
	}
}

// fakeRedis runs the scripts' rules with this package's own count; a question is
// answered when the test says so.
type fakeRedis struct {
	mu     sync.Mutex
	clock  *hand
	counts map[string]*count
	open   []func()
	asked  []string
	err    error
}

func (f *fakeRedis) RedisScript(s *capability.RedisScript, done func([]byte, error)) (func(), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, s.Args[len(s.Args)-1])
	f.open = append(f.open, func() { done(f.answer(s)) })
	return func() {}, nil
}

func (f *fakeRedis) answer(s *capability.RedisScript) ([]byte, error) {
	if f.err != nil {
		return nil, f.err
	}
	var limit, burst, asked uint32
	var window int64
	if _, err := fmt.Sscan(strings.Join(s.Args, " "), &window, &limit, &burst, &asked); err != nil {
		return nil, err
	}
	r := rate("", capability.TokenBucket, limit, time.Duration(window)*time.Microsecond, burst)
	if f.counts[s.Key] == nil {
		f.counts[s.Key] = &count{}
	}
	granted, last := uint32(0), capability.RateAnswer{}
	for range asked {
		if last, _ = f.counts[s.Key].take(r, f.clock.Now().UnixNano()); !last.Allowed {
			break
		}
		granted++
	}
	short := 0
	if granted < asked {
		short = 1
	}
	return fmt.Appendf(nil, "*5\r\n:%d\r\n:%d\r\n:%d\r\n:%d\r\n:%d\r\n", granted, last.Remaining, last.Reset.Microseconds(), last.Retry.Microseconds(), short), nil
}

func (f *fakeRedis) next() {
	f.mu.Lock()
	one := f.open[0]
	f.open = f.open[1:]
	f.mu.Unlock()
	one()
}

// TestShared: those who come meanwhile are asked for together, what was granted goes to
// the first of them, and an exhausted key is not asked for again.
func TestShared(t *testing.T) {
	clock := newHand()
	redis := &fakeRedis{clock: clock, counts: map[string]*count{}}
	l := New(Options{Now: clock.Now, Redis: redis})
	r := rate("k", capability.TokenBucket, 5, time.Second, 5)
	var got []string
	ask := func(name string) {
		t.Helper()
		tell := func(a capability.RateAnswer, err error) {
			got = append(got, fmt.Sprint(name, " ", a.Allowed, " ", err))
		}
		a, now, _, err := l.TakeShared(r, tell)
		if err != nil {
			t.Fatal(err)
		}
		if now {
			got = append(got, fmt.Sprint(name, " now ", a.Allowed, " ", a.Retry))
		}
	}
	for i := range 8 {
		ask(fmt.Sprint(i))
	}
	redis.next()
	redis.next()
	ask("late")
	clock.pass(200 * time.Millisecond)
	ask("later")
	redis.next()
	want := []string{"0 true <nil>", "1 true <nil>", "2 true <nil>", "3 true <nil>", "4 true <nil>", "5 false <nil>", "6 false <nil>", "7 false <nil>",
		"late now false 200ms", "later true <nil>"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if want := []string{"1", "7", "1"}; !slices.Equal(redis.asked, want) {
		t.Errorf("asked for %q; want %q", redis.asked, want)
	}
	if len(l.shared.flows) != 0 {
		t.Errorf("%d keys are kept", len(l.shared.flows))
	}
}

// TestSharedFails: all that wait are told, and the next one asks again.
func TestSharedFails(t *testing.T) {
	clock, down := newHand(), errors.New("down")
	redis := &fakeRedis{clock: clock, counts: map[string]*count{}, err: down}
	l := New(Options{Now: clock.Now, Redis: redis})
	r := rate("k", capability.TokenBucket, 5, time.Second, 5)
	var failed, cancelled int
	for i := range 4 {
		_, _, cancel, err := l.TakeShared(r, func(_ capability.RateAnswer, err error) {
			if i == 3 {
				cancelled++
			}
			if errors.Is(err, down) {
				failed++
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if i == 3 {
			cancel()
		}
	}
	redis.next()
	if failed != 3 || cancelled != 0 || len(redis.open) != 0 || len(l.shared.flows) != 0 {
		t.Errorf("%d of 3 were told, a cancelled one %d times; %d questions, %d keys are left", failed, cancelled, len(redis.open), len(l.shared.flows))
	}
	r.Filter = &config.Filter{Namespace: "ns"}
	if _, _, _, err := l.TakeShared(r, nil); !errors.Is(err, capability.ErrNoRedis) {
		t.Errorf("without a Redis: %v", err)
	}
	for _, reply := range []string{"", "+OK\r\n", "*5\r\n:1\r\n:2\r\n:3\r\n:4\r\n", "*5\r\n:1\r\n:2\r\n:3\r\n:-4\r\n:0\r\n", "-ERR x\r\n", "*5\r\n:1\r\n:2\r\n:3\r\n:4\r\n$1\r\n"} {
		if _, err := parseGrant([]byte(reply)); err == nil {
			t.Errorf("%q is taken for an answer", reply)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	for _, algorithm := range []capability.RateAlgorithm{capability.TokenBucket, capability.SlidingWindow} {
		b.Run(fmt.Sprint(algorithm), func(b *testing.B) {
			l := New(Options{})
			r := rate("203.0.113.9", algorithm, 1000, time.Second, 0)
			b.ReportAllocs()
			for b.Loop() {
				l.Take(r)
			}
		})
	}
}
