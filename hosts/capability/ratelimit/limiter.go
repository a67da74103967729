package ratelimit

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/hosts/capability"
)

const (
	shards = 32 // of a namespace, a power of two
	// maxKeys bounds the keys that are remembered of one namespace, and maxAllKeys of
	// all. A key takes some 80 bytes.
	maxKeys    = 256 << 10
	maxAllKeys = 1 << 20
	// sampled is how many keys are looked at for one that goes.
	sampled = 16
)

// Options of a Limiter.
type Options struct {
	// Now is the time; nil: the machine's.
	Now func() time.Time
	// Redis counts for all proxies; nil: nothing does.
	Redis capability.RedisScripter
	// Alone: there are no other proxies, and what all share is counted here.
	Alone bool
	// Keys and AllKeys bound how many are remembered of a namespace and of all; 0: 262,144
	// and 1,048,576.
	Keys, AllKeys int
}

// Limiter counts events. Any goroutine may call it.
type Limiter struct {
	o      Options
	seed   [2]maphash.Seed
	all    atomic.Int64 // keys
	shared shared

	mu     sync.RWMutex
	spaces map[string]*space
}

var _ capability.RateLimiter = (*Limiter)(nil)

// space is the keys of one namespace.
type space struct {
	keys  atomic.Int64
	parts [shards]part
}

type part struct {
	mu     sync.Mutex
	counts map[key]kept
	_      [40]byte // to a line of the processor's cache
}

// key is a hash of a key whose seed nobody knows: 128 bits, so that two keys do not meet.
type key [2]uint64

type kept struct {
	count
	until int64 // then it may be forgotten
}

// New returns a Limiter without a count.
func New(o Options) *Limiter {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Keys == 0 {
		o.Keys = maxKeys
	}
	if o.AllKeys == 0 {
		o.AllKeys = maxAllKeys
	}
	l := &Limiter{o: o, seed: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, spaces: map[string]*space{}}
	l.shared.flows = map[key]*flow{}
	return l
}

// Take implements capability.RateLimiter.
func (l *Limiter) Take(r *capability.Rate) capability.RateAnswer {
	s := l.space(r.Filter.Namespace)
	k := l.key(r)
	p := &s.parts[k[0]%shards]
	now := l.o.Now().UnixNano()
	p.mu.Lock()
	defer p.mu.Unlock()
	c, known := p.counts[k]
	if c.until <= now {
		c.count = count{}
	}
	a, until := c.take(r, now)
	c.until = until
	if !known {
		if !a.Allowed || r.Cost == 0 {
			return a // nothing was counted
		}
		l.room(s, p, now)
		s.keys.Add(1)
		l.all.Add(1)
	}
	p.counts[k] = c
	return a
}

// room makes room for one key more in p, whose lock is held: of a few keys those that can
// be forgotten go; where there is no room, so does the one that could be soonest.
func (l *Limiter) room(s *space, p *part, now int64) {
	if p.counts == nil {
		p.counts = map[key]kept{}
	}
	var soonest key
	least, seen := int64(0), 0
	for k, c := range p.counts { // begins anywhere
		if c.until <= now {
			l.forget(s, p, k)
		} else if least == 0 || c.until < least {
			soonest, least = k, c.until
		}
		if seen++; seen == sampled {
			break
		}
	}
	if least != 0 && (s.keys.Load() >= int64(l.o.Keys) || l.all.Load() >= int64(l.o.AllKeys)) {
		l.forget(s, p, soonest)
	}
}

func (l *Limiter) forget(s *space, p *part, k key) {
	delete(p.counts, k)
	s.keys.Add(-1)
	l.all.Add(-1)
}

// space returns the keys of a namespace.
func (l *Limiter) space(namespace string) *space {
	l.mu.RLock()
	s := l.spaces[namespace]
	l.mu.RUnlock()
	if s != nil {
		return s
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s = l.spaces[namespace]; s == nil {
		s = &space{}
		l.spaces[namespace] = s
	}
	return s
}

// key returns what r is counted under: its state and key, and what the numbers of a count
// mean.
func (l *Limiter) key(r *capability.Rate) (k key) {
	var kind [9]byte
	kind[0] = byte(r.Algorithm)
	if r.Algorithm == capability.SlidingWindow {
		binary.LittleEndian.PutUint64(kind[1:], uint64(r.Window))
	}
	for i := range k {
		var h maphash.Hash
		h.SetSeed(l.seed[i])
		_, _ = h.Write(kind[:]) // cannot fail, nor the others
		_, _ = h.WriteString(r.State)
		_ = h.WriteByte(0)
		_, _ = h.Write(r.Key)
		k[i] = h.Sum64()
	}
	return k
}
