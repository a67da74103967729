package grpc

import (
	"time"
)

// Kind is a form of gRPC.
type Kind uint8

// The forms. Text is gRPC-Web in base64.
const (
	None Kind = iota
	GRPC
	Web
	Text
)

var (
	typeGRPC = []byte("application/grpc")
	typeWeb  = []byte("application/grpc-web")
	typeText = []byte("application/grpc-web-text")
)

func (k Kind) contentType() []byte {
	switch k {
	case Web:
		return typeWeb
	case Text:
		return typeText
	}
	return typeGRPC
}

// withFormat returns a content type of the kind k without its parameters: the
// format of messages stays (application/grpc+json).
func (k Kind) withFormat(t []byte) []byte {
	n := len(k.contentType())
	if n == len(t) || t[n] != '+' {
		return k.contentType()
	}
	for n < len(t) && t[n] != ';' && t[n] != ' ' {
		n++
	}
	return t[:n]
}

// KindOf returns what a Content-Type says, whatever the format of messages.
func KindOf(contentType []byte) Kind {
	switch {
	case is(contentType, typeGRPC):
		return GRPC
	case is(contentType, typeText):
		return Text
	case is(contentType, typeWeb):
		return Web
	}
	return None
}

// is reports whether a content type is base, or base with a format or parameters.
func is(t, base []byte) bool {
	if len(t) < len(base) {
		return false
	}
	for i, c := range base {
		if t[i]|0x20 != c && t[i] != c {
			return false
		}
	}
	if len(t) == len(base) {
		return true
	}
	switch t[len(base)] {
	case '+', ';', ' ':
		return true
	}
	return false
}

// Timeout reads grpc-timeout: at most eight digits and a unit. ok is false for
// anything else.
func Timeout(b []byte) (d time.Duration, ok bool) {
	if len(b) < 2 || len(b) > 9 {
		return 0, false
	}
	n := time.Duration(0)
	for _, c := range b[:len(b)-1] {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + time.Duration(c-'0')
	}
	unit := time.Duration(0)
	switch b[len(b)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0, false
	}
	if n > (1<<63-1)/unit { // 99999999H does not fit
		return 1<<63 - 1, true
	}
	return n * unit, true
}
