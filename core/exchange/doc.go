// Package exchange defines one request and its response while they are in
// flight: the ordered header list, the body stream, the phase, the error that
// leaves a phase, and the interfaces through which codecs, filters and
// upstreams hand an exchange to each other.
//
// An exchange is touched by one goroutine at a time: its own. Nothing in this
// package is safe for use by two goroutines at once unless it says so.
package exchange
