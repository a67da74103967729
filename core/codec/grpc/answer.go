package grpc

import (
	"strconv"

	"penstock.dev/penstock/core/exchange"
)

// Codes of gRPC that the proxy uses.
const (
	Unknown          = 2
	DeadlineExceeded = 4
	PermissionDenied = 7
	Unimplemented    = 12
	Internal         = 13
	Unavailable      = 14
	Unauthenticated  = 16
)

// CodeOf is gRPC's own mapping of a status of HTTP (http-grpc-status-mapping).
func CodeOf(status int) int32 {
	switch status {
	case 200:
		return 0
	case 400:
		return Internal
	case 401:
		return Unauthenticated
	case 403:
		return PermissionDenied
	case 404:
		return Unimplemented
	case 429, 502, 503, 504:
		return Unavailable
	}
	return Unknown
}

var (
	contentType = []byte("Content-Type")
	statusField = []byte("Grpc-Status")
	message     = []byte("Grpc-Message")
)

// maxMessage bounds what of a body becomes the message, in bytes.
const maxMessage = 1 << 10

// Answer makes a local response to a request of that content type one that a
// client of gRPC understands: status 200, fields only, and what went wrong in
// grpc-status and grpc-message, from l.GRPCStatus (or, if that is -1, its status)
// and its body. It leaves alone what is gRPC already, and answers to others. The
// answer keeps a part of asked.
func Answer(l *exchange.Local, asked []byte) {
	kind := KindOf(asked)
	if kind == None {
		return
	}
	if now, _ := l.Header.Get("content-type"); KindOf(now) != None {
		return
	}
	code := l.GRPCStatus
	if code < 0 {
		code = CodeOf(l.Status)
	}
	text := l.Body[:min(len(l.Body), maxMessage)]
	l.Status, l.Body = 200, nil
	l.Header.Set(contentType, kind.withFormat(asked))
	l.Header.Set(statusField, strconv.AppendInt(nil, int64(code), 10))
	if len(text) > 0 {
		l.Header.Set(message, percentEncode(text))
	}
}

// Status reads what a call ended with from the last fields of its response: a code
// and a message. Without a code that can be read it is Unknown.
func Status(h *exchange.Header) (code uint32, text string) {
	v, _ := h.Get("grpc-status")
	n, err := strconv.ParseUint(string(v), 10, 32)
	if err != nil {
		return Unknown, "no grpc-status"
	}
	m, _ := h.Get("grpc-message")
	return uint32(n), percentDecode(m[:min(len(m), 4*maxMessage)])
}

// percentDecode reads what percentEncode writes; what is malformed stays as it is.
func percentDecode(b []byte) string {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '%' && i+2 < len(b) {
			if n, err := strconv.ParseUint(string(b[i+1:i+3]), 16, 8); err == nil {
				out = append(out, byte(n))
				i += 2
				continue
			}
		}
		out = append(out, b[i])
	}
	return string(out)
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
