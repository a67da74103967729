// Package rfc9110 is what all versions of HTTP share on the wire: the grammar of
// names, values and authorities, and which fields belong to a connection, say
// who the client is, or may trail (RFC 9110).
package rfc9110
