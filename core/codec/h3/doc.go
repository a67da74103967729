// Package h3 is HTTP/3 on the wire (RFC 9114) with QPACK (RFC 9204), over the QUIC
// of quic-go: it serves client connections.
//
// One goroutine accepts a connection's requests; each request has a goroutine of
// its own, which reads its stream and serves its exchange. No dynamic table is
// offered and none is used, so that no stream waits for another.
//
// What could be read in two ways is refused, as in package h1. What costs more to
// handle than to send is counted, and ends the connection with H3_EXCESSIVE_LOAD
// when it is too much.
package h3
