// Package http2 runs h2spec's cases, and clients of its own, against the binary
// over HTTP/2 without TLS.
package http2
