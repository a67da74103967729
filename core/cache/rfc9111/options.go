package rfc9111

import "time"

// Ignore is a set of what is not heeded though RFC 9111 says so.
type Ignore uint8

// What can be ignored. no-cache and private with field names are always heeded: they
// only keep these fields out.
const (
	// IgnoreRequest: Cache-Control and Pragma of requests.
	IgnoreRequest Ignore = 1 << iota
	// IgnoreNoStore, IgnoreNoCache and IgnorePrivate: these directives of responses.
	IgnoreNoStore
	IgnoreNoCache
	IgnorePrivate
	// IgnoreMaxAge: max-age, s-maxage and Expires: Options.TTL holds in their place.
	// s-maxage then permits nothing either (RFC 9111, 3.5), and still forbids to serve
	// stale.
	IgnoreMaxAge
	// IgnoreSetCookie: a response with Set-Cookie may be stored, without that field.
	IgnoreSetCookie
)

// Options is what the operator asked for; the zero value is RFC 9111 alone.
type Options struct {
	// TTL is how long a response is fresh that says nothing of it itself; 0: the
	// heuristic of RFC 9111, 4.2.2.
	TTL time.Duration
	// NegativeTTL is TTL for statuses from 400 on; 0: the lesser of TTL and 10 s.
	NegativeTTL time.Duration
	// StaleWhileRevalidate and StaleIfError hold for a response that does not say them
	// itself (RFC 5861); 0: not at all.
	StaleWhileRevalidate, StaleIfError time.Duration
	// Statuses are those that TTL and the heuristic are for. Empty: those of RFC 9110,
	// 15.1, but 206, and every status if the response is public.
	Statuses []int
	Ignore   Ignore
	// ExplicitOnly: neither TTL nor the heuristic permit storing, since the request has
	// what may have made the response personal: only what the response says itself.
	ExplicitOnly bool
	// Consumer: the key holds the consumer, and there is one, so that what is for one
	// of them (private, Authorization) may be stored. It must be false for a request of
	// nobody: all of these share a key.
	Consumer bool
}

const negativeTTL = 10 * time.Second

// ttl returns how long a response of this status is fresh by configuration; 0: nothing
// is configured.
func (o *Options) ttl(status int) time.Duration {
	switch {
	case status < 400:
		return o.TTL
	case o.NegativeTTL > 0:
		return o.NegativeTTL
	}
	return min(o.TTL, negativeTTL)
}
