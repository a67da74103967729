// Package grpc runs gRPC's interoperability cases, of grpc-go, through the
// binary: HTTP/2 without TLS from the client and to the upstream.
package grpc
