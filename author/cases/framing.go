package cases

import (
	"strconv"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/exchange"
)

// What of a message is written by the proxy alone, whatever the plugin has left of it: a
// case shows it as core/codec/h1 writes it, which TestFraming of conformance/author holds
// it to. Fields of the connection, as Connection, are not there.

// framed returns what comes of a header whose body has that many bytes, -1: they are not
// told.
func framed(h *exchange.Header, length int64) *exchange.Header {
	c := copied(h)
	c.DeleteFunc(func(f exchange.Field) bool { return rfc9110.Hop(f.Name) })
	if length >= 0 {
		c.Add([]byte(contentLength), strconv.AppendInt(nil, length, 10))
	}
	return c
}

const contentLength = "Content-Length"

// requestLength is what a request's Content-Length says, -1: it has none.
func requestLength(q *exchange.Request) int64 {
	if q.Body != nil && q.ContentLength != 0 {
		return q.ContentLength
	}
	switch string(q.Method) {
	case "POST", "PUT", "PATCH": // RFC 9110, 8.6
		return 0
	}
	return -1
}

// responseLength is requestLength for a response. head: the client sent HEAD.
func responseLength(p *exchange.Response, head bool) int64 {
	switch {
	case !fields.Bodyless(head, p.Status):
		if p.Body == nil {
			return max(p.ContentLength, 0)
		}
		return p.ContentLength
	case p.Status != 204 && (p.ContentLength > 0 || p.ContentLength == 0 && p.Header.Count(contentLength) > 0):
		return p.ContentLength
	}
	return -1
}

// lengthTold is the length of a response without content as the upstream tells it; -1: it does
// not.
func lengthTold(p *exchange.Response) int64 {
	if p.Status == 204 {
		return 0
	}
	if value, ok := p.Header.Get(contentLength); ok {
		if n, ok := rfc9110.ParseLength(value); ok {
			return n
		}
	}
	return -1
}
