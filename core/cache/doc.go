// Package cache is the response cache (RFC 9111, a shared cache) as a filter at its
// place in a chain. Filters before it run for every request. Filters after it run only
// when the origin is asked, and what they make of its answer is what is stored.
//
// A request that is not answered from the store becomes a flight: a detached exchange
// (filter.Detached) that goes on behind the filter, whose response is stored while the
// clients that asked for it read what has come so far. There is one flight for a key and
// its variant; who comes later waits for its head. A response that may not be stored
// goes to the client that began the flight, and the others go on without the cache.
//
// What may be stored and served is said by rfc9111, where the bytes lie by store.
package cache
