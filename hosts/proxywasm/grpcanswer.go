package proxywasm

import (
	"bytes"
	"strconv"

	"penstock.dev/penstock/core/exchange"
)

// isGRPC says whether a content type is gRPC's, with any message format.
func isGRPC(contentType []byte) bool {
	rest, ok := bytes.CutPrefix(contentType, []byte("application/grpc"))
	return ok && (len(rest) == 0 || rest[0] == '+' || rest[0] == ';')
}

// asGRPC makes a local response one of trailers only (gRPC over HTTP/2): status
// 200, and what went wrong in grpc-status and grpc-message.
func asGRPC(l *exchange.Local) {
	status := l.GRPCStatus
	if status < 0 {
		status = grpcOf(l.Status)
	}
	message := l.Body[:min(len(l.Body), maxAnswerDetails)]
	l.Status, l.Body = 200, nil
	l.Header.Set([]byte("content-type"), []byte("application/grpc"))
	l.Header.Set([]byte("grpc-status"), strconv.AppendInt(nil, int64(status), 10))
	if len(message) > 0 {
		l.Header.Set([]byte("grpc-message"), percentEncode(message))
	}
}

// grpcOf is gRPC's own mapping of HTTP statuses.
func grpcOf(status int) int32 {
	switch status {
	case 200:
		return 0
	case 400:
		return 13 // INTERNAL
	case 401:
		return 16 // UNAUTHENTICATED
	case 403:
		return 7 // PERMISSION_DENIED
	case 404:
		return 12 // UNIMPLEMENTED
	case 429, 502, 503, 504:
		return 14 // UNAVAILABLE
	}
	return 2 // UNKNOWN
}

// percentEncode writes a message as gRPC wants it: printable ASCII but percent
// signs as it is, all else as %XX.
func percentEncode(b []byte) []byte {
	const digits = "0123456789ABCDEF"
	out := make([]byte, 0, len(b))
	for _, c := range b {
		if c >= ' ' && c <= '~' && c != '%' {
			out = append(out, c)
			continue
		}
		out = append(out, '%', digits[c>>4], digits[c&15])
	}
	return out
}
