// Package grpc knows how gRPC and gRPC-Web lie on HTTP: content types, statuses,
// timeouts, answers without a message, and the translation of one into the other
// (gRPC over HTTP/2; gRPC-Web's protocol document). It reads no messages.
package grpc
