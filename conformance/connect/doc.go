// Package connect runs the conformance suite of connectrpc.com through the binary:
// Connect, gRPC and gRPC-Web, over HTTP/1.1, HTTP/2 and HTTP/3, with and without
// TLS, to upstreams of HTTP/2 and of HTTP/1.1. The suite's programs are built from
// suite/, a module of its own.
package connect
