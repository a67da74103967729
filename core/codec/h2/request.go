package h2

import (
	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/exchange"
)

// Entries of the static table that requests have (RFC 7541, appendix A).
const (
	nameAuthority = 1
	nameMethod    = 2
	namePath      = 4
	entryGET      = 2
	entryPOST     = 3
	entryRoot     = 4
	entryHTTP     = 6
	entryHTTPS    = 7
)

// appendRequest appends the head of q (RFC 9113, 8.3.1). An upgrade is not for
// HTTP/2.
func (s *UpstreamStream) appendRequest(b []byte, q *exchange.Request) ([]byte, error) {
	if q.Connect() {
		return appendConnect(b, q)
	}
	if !rfc9110.ValidToken(q.Method) || !rfc9110.ValidTarget(q.Path, q.Authority) {
		return b, ErrInvalidMessage
	}
	switch string(q.Method) {
	case "GET":
		b = append(b, indexed|entryGET)
	case "POST":
		b = append(b, indexed|entryPOST)
	default:
		b = appendLiteral(b, nameMethod, q.Method)
	}
	if s.c.scheme[len(s.c.scheme)-1] == 's' {
		b = append(b, indexed|entryHTTPS)
	} else {
		b = append(b, indexed|entryHTTP)
	}
	if len(q.Authority) > 0 {
		b = appendLiteral(b, nameAuthority, q.Authority)
	}
	if len(q.Path) == 1 && q.Path[0] == '/' {
		b = append(b, indexed|entryRoot)
	} else {
		b = appendLiteral(b, namePath, q.Path)
	}
	b, _, ok := encoding.AppendFields(b, &q.Header)
	if !ok {
		return b, ErrInvalidMessage
	}
	if q.TE {
		b = appendText(b, "te", "trailers")
	}
	return appendRequestLength(b, q), nil
}

// appendConnect appends the head of a CONNECT: of pseudo-fields method and authority
// alone (RFC 9113, 8.5).
func appendConnect(b []byte, q *exchange.Request) ([]byte, error) {
	if len(q.Path) > 0 || q.Body != nil || !rfc9110.ValidConnectTarget(q.Authority) {
		return b, ErrInvalidMessage
	}
	b = appendLiteral(b, nameMethod, q.Method)
	b = appendLiteral(b, nameAuthority, q.Authority)
	b, _, ok := encoding.AppendFields(b, &q.Header)
	if !ok {
		return b, ErrInvalidMessage
	}
	return b, nil
}

// appendRequestLength says how long the body is, if that is known. Methods that
// usually have content say so when they have none (RFC 9110, 8.6).
func appendRequestLength(b []byte, q *exchange.Request) []byte {
	if q.Body != nil && q.ContentLength != 0 {
		if q.ContentLength > 0 {
			b = encoding.AppendLength(b, q.ContentLength)
		}
		return b
	}
	switch string(q.Method) {
	case "POST", "PUT", "PATCH":
		b = encoding.AppendLength(b, 0)
	}
	return b
}

// appendLiteral appends a field whose name is an entry of the static table.
func appendLiteral(b []byte, name int, value []byte) []byte {
	b = fields.AppendInt(b, literal, 4, name)
	return append(fields.AppendInt(b, 0, 7, len(value)), value...)
}
