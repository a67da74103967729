package cache

import (
	"hash/maphash"

	"penstock.dev/penstock/core/cache/rfc9111"
	"penstock.dev/penstock/core/exchange"
)

// invalidate forgets what is stored for the target of an unsafe request that was not
// refused, and for what the response says has changed with it (RFC 9111, 4.4).
func (s *stream) invalidate(p *exchange.Response) {
	q := &s.x.Request
	if s.x.Err != nil || !rfc9111.Invalidates(q.Method, p.Status) {
		return
	}
	s.f.cache.dropped(s.key)
	own := *q
	q.Scheme, q.Authority = s.of.scheme, s.of.authority
	rfc9111.Targets(q.Scheme, q.Authority, s.of.path, &p.Header, s.forget)
	q.Scheme, q.Authority, q.Path = own.Scheme, own.Authority, own.Path
}

// forget drops what is stored for a target of the same origin.
func (s *stream) forget(target []byte) {
	s.x.Request.Path = target
	if key, _, ok := s.f.keyOf(s.x); ok {
		s.f.cache.dropped(key)
	}
}

// drop drops what is stored under a key, and what is being fetched for it.
func (k *Cache) drop(key []byte) {
	k.flights.spoil(key, maphash.Bytes(k.seed, key))
	k.store.Forget(key)
}

func anyVariant([]byte) bool { return true }
