// Package h2 is HTTP/2 on the wire (RFC 9113): it serves client connections.
//
// One goroutine reads a connection's frames and runs no filter; each stream has
// a goroutine of its own, which serves the stream's exchange. What they send is
// gathered, and one of them writes it for all.
//
// What could be read in two ways is refused, as in package h1. What costs more
// to handle than to send is counted, and ends the connection with
// ENHANCE_YOUR_CALM when it is too much.
package h2
