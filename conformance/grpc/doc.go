// Package grpc runs gRPC's interoperability cases, of grpc-go, through the
// binary: with and without TLS on either side, and with credentials. grpc-web's
// own client calls the same server.
package grpc
