// Package h2 is HTTP/2 on the wire (RFC 9113): client connections, and
// connections to upstreams.
//
// One goroutine reads a connection's frames and runs no filter; each stream is
// used by the goroutine of its exchange. What they send is gathered, and one of
// them writes it for all. What both ends of a connection have in common is the
// mux; what they do differently is its role: Conn serves a client, UpstreamConn
// is an upstream's client.
//
// What could be read in two ways is refused, as in package h1. What costs more
// to handle than to send is counted, and ends the connection with
// ENHANCE_YOUR_CALM when it is too much.
//
// It is larger than packages should be: what is hard is what both ends share, and
// a package of that alone would have to show all of its insides.
package h2
