package cache

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"penstock.dev/penstock/core/cache/rfc9111"
	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/internal/bufpool"
	"penstock.dev/penstock/core/telemetry"
)

// Cache is the response cache of a process: what all its filters share.
type Cache struct {
	store      *store.Store
	objects    objects
	largest    int64 // body without a maxObject, in bytes
	metrics    *metrics
	flights    flights
	marks      marks
	purges     purges
	tell       func(Removal) error // nil: nobody is told
	seed       maphash.Seed
	streams    sync.Pool
	works      sync.Pool
	spare      sync.Pool // flights
	buffers    bufpool.Pool
	background atomic.Int64 // refreshes under way

	over   atomic.Bool // nobody waits for an origin any more
	mu     sync.Mutex
	closed bool
	group  sync.WaitGroup // fetches on goroutines of their own
}

// New returns the cache of what s holds, which it does not close. largest bounds a
// stored body where the entry has no maxObject, in bytes.
func New(s *store.Store, largest int64, m *telemetry.Metrics) *Cache {
	k := &Cache{store: s, largest: largest, metrics: newMetrics(m), seed: maphash.MakeSeed()}
	k.flights.byHash = map[uint64]*flight{}
	k.works.New = func() any { return new(work) }
	k.spare.New = func() any { return new(flight) }
	k.purges = purges{done: map[string]Purged{}, wake: make(chan struct{}, 1), told: make(chan struct{}, 1)}
	k.streams.New = func() any {
		st := &stream{}
		st.match = st.chooses
		return st
	}
	k.objects.store = s
	return k
}

// Close waits for fetches on goroutines of their own; no new ones begin. To be called
// when no exchange is left.
func (k *Cache) Close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.over.Store(true)
	k.flights.endAll()
	k.group.Wait()
}

// start runs f on a goroutine of its own; false: the cache is closed.
func (k *Cache) start(f func()) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return false
	}
	k.group.Go(f)
	return true
}

// maxObject is how long a body may be.
func (k *Cache) maxObject(c *config.Cache) int64 {
	if c.MaxObjectBytes > 0 {
		return c.MaxObjectBytes
	}
	return k.largest
}

// chooses reports whether the request chooses a stored variant.
func (s *stream) chooses(variant []byte) (ok bool) {
	ok, s.scratch = chosen(variant, &s.x.Request.Header, s.scratch)
	return ok
}

// reset forgets the exchange.
func (s *stream) reset() {
	s.f, s.x, s.w, s.key, s.target, s.counts = nil, nil, nil, nil, nil, nil
	s.rd, s.head, s.status = rfc9111.RequestDirectives{}, head{}, rfc9111.Status{}
	s.scratch = s.scratch[:0]
	s.body.Close() // it may follow a writer, whatever became of the response
	s.passes, s.unsafe, s.answeredBy = false, false, ""
	s.asked, s.failed = 0, false
	s.of.scheme, s.of.authority, s.of.path = nil, nil, nil
}
