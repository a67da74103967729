// Package rfc9111 is the rules of a shared HTTP cache as pure functions: no I/O, no
// clock, no state. Times are passed in, and header fields are exchange.Header.
//
// Its files, with what they follow:
//
//   - directives.go, response.go: Cache-Control and Pragma (RFC 9111, 5.2, 5.4),
//     stale-while-revalidate and stale-if-error (RFC 5861), immutable (RFC 8246)
//   - targeted.go: CDN-Cache-Control (RFC 9213), read as a dictionary (RFC 9651, 3.2)
//   - store.go: what may be stored and how long it is fresh (RFC 9111, 3, 4.2.1, 4.2.2)
//   - facts.go: age and reuse (RFC 9111, 4.2.3, 4.2.4; RFC 5861)
//   - vary.go, negotiate.go: Vary, and the values that it selects by (RFC 9111, 4.1)
//   - fields.go: the fields that are stored, and their update (RFC 9111, 3.1, 3.2)
//   - validate.go, conditional.go: validation of a stored response (RFC 9111, 4.3), and
//     a client's conditional request (RFC 9110, 13)
//   - ranges.go, multipart.go: range requests (RFC 9110, 14)
//   - invalidate.go: invalidation by unsafe methods (RFC 9111, 4.4)
//   - cachestatus.go: Cache-Status (RFC 9211)
//   - date.go: dates (RFC 9110, 5.6.7)
//
// It is safe by default: what is unclear, malformed or said twice counts as whatever
// keeps a response from being stored, shared or reused for longer.
//
// Byte slices are borrowed from the arguments and never changed.
package rfc9111
