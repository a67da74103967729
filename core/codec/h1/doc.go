// Package h1 is HTTP/1.1 on the wire (RFC 9112): it serves client connections
// and speaks to upstreams.
//
// What is ambiguous is refused, never repaired: an answer 400 on the client's
// side, an error on the upstream's. Heads are parsed in place; the slices in an
// exchange's Header point to the connection's read buffer, or to the
// exchange's Arena, and live until the exchange is done.
package h1
