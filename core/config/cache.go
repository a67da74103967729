package config

import "time"

// Cache is the response cache at its place in a chain (`use: cache`). The zero
// value caches by RFC 9111 alone: nothing that the origin did not allow, nothing
// private.
type Cache struct {
	// TTL is how long a response is fresh that says nothing of it itself: no max-age,
	// s-maxage or Expires. 0: the heuristic of RFC 9111, 4.2.2, from Last-Modified.
	// It permits storing nothing that is not storable without it, nor the answer to a
	// request with a cookie. 0..1 year.
	TTL time.Duration
	// NegativeTTL is TTL for statuses from 400 on; 0: the lesser of TTL and 10 s.
	// 0..1 h.
	NegativeTTL time.Duration
	// StaleWhileRevalidate is how long after its freshness a response serves while a
	// fresh one is fetched (RFC 5861, 3), if it does not say itself. 0: not at all.
	// 0..1 year.
	StaleWhileRevalidate time.Duration
	// StaleIfError is how long after its freshness a response serves when the origin
	// fails (RFC 5861, 4), if it does not say itself. 0: not at all. 0..1 year.
	StaleIfError time.Duration
	Key          CacheKey
	// Statuses are those that TTL and the heuristic are for; empty: those of RFC
	// 9110, 15.1, that are no partial content.
	Statuses []int
	// MaxObjectBytes bounds one stored body: 1 KiB..1 TiB. 0: a sixteenth of the
	// memory, or of the disk if there is one, 1 GiB at most.
	MaxObjectBytes int64
	// Bypass lists requests that the cache neither answers nor stores; one that holds
	// is enough.
	Bypass []CacheCondition
	Ignore CacheIgnore
}

// CacheKey says what beside namespace, Service, port, scheme, path and the filters
// after the cache tells stored responses apart.
type CacheKey struct {
	// Headers and Cookies are names whose values are part of the key; a header that
	// is missing differs from one that is empty. Headers are lower case.
	Headers, Cookies []string
	// QueryAllow are the only query parameters that count, QueryDeny those that do
	// not; at most one of the two is set. Neither: the query counts as it was sent.
	// With either, parameters count in the order of their names.
	QueryAllow, QueryDeny []string
	// NoQuery: the query does not count at all.
	NoQuery bool
	// AnyHostname: the authority does not count.
	AnyHostname bool
	// Consumer: responses are stored for each consumer, and need not be public
	// (annotations.md, 7.6).
	Consumer bool
}

// CacheCondition holds for a request that has the header, cookie or query parameter
// called Name, with this value unless Value is empty.
type CacheCondition struct {
	Kind  CacheConditionKind
	Name  string // of a header: lower case
	Value string
}

// CacheConditionKind is where a CacheCondition looks.
type CacheConditionKind uint8

// The places.
const (
	CacheConditionHeader CacheConditionKind = iota
	CacheConditionCookie
	CacheConditionQuery
)

// CacheIgnore is a set of what the cache does not heed though RFC 9111 says so. Each
// is asked for by name in the annotation.
type CacheIgnore uint8

// What can be ignored.
const (
	// IgnoreRequest: Cache-Control and Pragma of requests.
	IgnoreRequest CacheIgnore = 1 << iota
	// IgnoreNoStore, IgnoreNoCache and IgnorePrivate: these directives of responses.
	IgnoreNoStore
	IgnoreNoCache
	IgnorePrivate
	// IgnoreMaxAge: max-age, s-maxage and Expires: TTL holds in their place.
	IgnoreMaxAge
	// IgnoreSetCookie: a response with Set-Cookie may be stored, without that field.
	IgnoreSetCookie
	// IgnoreCookie: TTL and the heuristic are also for answers to requests with a
	// cookie. Without it these are stored only if they say for how long themselves.
	IgnoreCookie
)
