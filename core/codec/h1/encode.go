package h1

import (
	"strconv"
	"time"

	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/exchange"
)

// ErrInvalidMessage is exchange.ErrInvalidMessage.
var ErrInvalidMessage = exchange.ErrInvalidMessage

// appendFields appends h's fields but those that belong to the connection or
// the framing. Trailer stays only if keepTrailer. ok is false if one is
// invalid. dated reports whether Date was among them.
func appendFields(b []byte, h *exchange.Header, keepTrailer bool) (_ []byte, dated, ok bool) {
	for _, f := range h.Fields() {
		if rfc9110.Hop(f.Name) || !keepTrailer && len(f.Name) == 7 && rfc9110.Fold(f.Name, "trailer") {
			continue
		}
		if len(f.Name) == 4 && rfc9110.Fold(f.Name, "date") {
			dated = true
		}
		if b, ok = appendField(b, f); !ok {
			return b, dated, false
		}
	}
	return b, dated, true
}

func appendField(b []byte, f exchange.Field) ([]byte, bool) {
	if !rfc9110.ValidToken(f.Name) || !rfc9110.ValidValue(f.Value) {
		return b, false
	}
	b = append(b, f.Name...)
	b = append(b, ':', ' ')
	b = append(b, f.Value...)
	return append(b, '\r', '\n'), true
}

// appendTrailer appends a trailer section with the empty line. Fields that may
// not trail, or that are invalid, are left out.
func appendTrailer(b []byte, h *exchange.Header) []byte {
	for _, f := range h.Fields() {
		if rfc9110.MayTrail(f.Name, true) {
			b, _ = appendField(b, f)
		}
	}
	return append(b, '\r', '\n')
}

// appendFraming appends the fields that frame a message of this form.
func appendFraming(b []byte, f form, length int64) []byte {
	switch f {
	case formLength:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, length, 10)
		return append(b, '\r', '\n')
	case formChunked:
		return append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	return b
}

// appendRequest appends the head of x's request for an upstream.
func appendRequest(b []byte, x *exchange.Exchange, f form) ([]byte, error) {
	q := &x.Request
	if !rfc9110.ValidToken(q.Method) || !validTarget(q) {
		return b, ErrInvalidMessage
	}
	b = append(b, q.Method...)
	b = append(b, ' ')
	if q.Connect() {
		b = append(b, q.Authority...)
	} else {
		b = append(b, q.Path...)
	}
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, q.Authority...)
	b = append(b, '\r', '\n')
	b, _, ok := appendFields(b, &q.Header, f == formChunked)
	if !ok {
		return b, ErrInvalidMessage
	}
	switch {
	case len(q.Upgrade) > 0:
		if !switchable(q.Upgrade) || f != formNone {
			return b, ErrInvalidMessage
		}
		b = appendUpgrade(b, q.Upgrade)
	case q.TE && !q.Connect(): // a tunnel has no trailers
		b = append(b, "TE: trailers\r\nConnection: TE\r\n"...)
	}
	b = appendFraming(b, f, q.ContentLength)
	return append(b, '\r', '\n'), nil
}

// requestForm returns how x's request body is framed. Methods that usually
// have content say so when they have none (RFC 9110, 8.6).
func requestForm(q *exchange.Request) form {
	switch {
	case q.Body != nil && q.ContentLength < 0:
		return formChunked
	case q.Body != nil && q.ContentLength > 0:
		return formLength
	}
	switch string(q.Method) {
	case "POST", "PUT", "PATCH":
		return formLength
	}
	return formNone
}

// appendStatus appends a status line. The reason phrase is the registered one.
func appendStatus(b []byte, status int) []byte {
	if status == 200 {
		return append(b, "HTTP/1.1 200 OK\r\n"...)
	}
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, reason(status)...)
	return append(b, '\r', '\n')
}

// appendDate appends a Date field.
func (s *Server) appendDate(b []byte, now time.Time) []byte {
	b = append(b, "Date: "...)
	b = s.date.AppendTo(b, now)
	return append(b, '\r', '\n')
}
