package h2

import (
	"errors"
	"strconv"
	"time"

	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/exchange"
)

// errInvalidMessage means that a response was made, by a filter for instance,
// which HTTP/2 cannot carry: a field or a status. Nothing of it is sent.
var errInvalidMessage = errors.New("message has a name or value that cannot be sent")

// Fields are encoded without a dynamic table (RFC 7541, 6.2.2 and 6.2.3): see
// RATIONALE.md.
const (
	literal      = 0x00 // without indexing; 4 bits of index
	literalNever = 0x10 // never indexed
	indexed      = 0x80
	resizeToZero = 0x20 // the size of our dynamic table from now on
)

// Names of the static table that messages have (RFC 7541, appendix A).
const (
	nameStatus = 8
	mostName   = 64 // bytes; longer ones are not looked up
)

// names is never changed.
var names = map[string]byte{
	"accept": 19, "accept-charset": 15, "accept-encoding": 16, "accept-language": 17, "authorization": 23, "cookie": 32,
	"from": 37, "if-match": 39, "if-modified-since": 40, "if-none-match": 41, "if-range": 42, "if-unmodified-since": 43,
	"max-forwards": 47, "proxy-authorization": 49, "range": 50, "referer": 51, "user-agent": 58,
	"accept-ranges": 18, "access-control-allow-origin": 20, "age": 21, "allow": 22, "cache-control": 24,
	"content-disposition": 25, "content-encoding": 26, "content-language": 27, "content-length": 28,
	"content-location": 29, "content-range": 30, "content-type": 31, "date": 33, "etag": 34, "expires": 36,
	"last-modified": 44, "link": 45, "location": 46, "proxy-authenticate": 48, "refresh": 52, "retry-after": 53,
	"server": 54, "set-cookie": 55, "strict-transport-security": 56, "vary": 59, "via": 60, "www-authenticate": 61,
}

// appendInt appends an integer with a prefix of that many bits (RFC 7541, 5.1);
// first holds the bits before it.
func appendInt(b []byte, first byte, bits, n int) []byte {
	most := 1<<bits - 1
	if n < most {
		return append(b, first|byte(n))
	}
	b = append(b, first|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// appendStatus appends :status.
func appendStatus(b []byte, status int) []byte {
	switch status {
	case 200:
		return append(b, indexed|8)
	case 204:
		return append(b, indexed|9)
	case 206:
		return append(b, indexed|10)
	case 304:
		return append(b, indexed|11)
	case 400:
		return append(b, indexed|12)
	case 404:
		return append(b, indexed|13)
	case 500:
		return append(b, indexed|14)
	}
	b = append(b, literal|nameStatus, 3)
	return strconv.AppendInt(b, int64(status), 10)
}

// appendName appends a literal's name in lower case.
func appendName(b, name []byte) []byte {
	var store [mostName]byte
	if len(name) <= mostName {
		lower := store[:len(name)]
		for i, c := range name {
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			lower[i] = c
		}
		kind := byte(literal)
		switch string(lower) {
		case "set-cookie", "cookie", "authorization", "proxy-authorization":
			kind = literalNever
		}
		if i := names[string(lower)]; i > 0 {
			return appendInt(b, kind, 4, int(i))
		}
	}
	b = appendInt(append(b, literal), 0, 7, len(name))
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		b = append(b, c)
	}
	return b
}

// appendField appends a field; ok is false if it is invalid.
func appendField(b []byte, f exchange.Field) (_ []byte, ok bool) {
	v := rfc9110.Trim(f.Value)
	if !rfc9110.ValidToken(f.Name) || !rfc9110.ValidValue(v) {
		return b, false
	}
	b = appendInt(appendName(b, f.Name), 0, 7, len(v))
	return append(b, v...), true
}

// appendText appends a field of ours.
func appendText(b []byte, name, value string) []byte {
	if i := names[name]; i > 0 {
		b = appendInt(b, literal, 4, int(i))
	} else {
		b = append(appendInt(append(b, literal), 0, 7, len(name)), name...)
	}
	return append(appendInt(b, 0, 7, len(value)), value...)
}

func appendLength(b []byte, n int64) []byte {
	var store [20]byte
	digits := strconv.AppendInt(store[:0], n, 10)
	b = appendInt(b, literal, 4, 28)
	return append(appendInt(b, 0, 7, len(digits)), digits...)
}

const dateLen = len("Mon, 02 Jan 2006 15:04:05 GMT")

func (c *Conn) appendDate(b []byte) []byte {
	b = appendInt(b, literal, 4, 33)
	return c.server.date.AppendTo(append(b, byte(dateLen)), time.Now())
}

// appendFields appends h's fields but those that belong to the connection or
// the framing. ok is false if one is invalid. dated reports whether Date was
// among them.
func appendFields(b []byte, h *exchange.Header) (_ []byte, dated, ok bool) {
	for _, f := range h.Fields() {
		if rfc9110.Hop(f.Name) {
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

// trailing reports whether appendTrailer has something to append.
func trailing(h *exchange.Header) bool {
	for _, f := range h.Fields() {
		if rfc9110.MayTrail(f.Name, true) && rfc9110.ValidToken(f.Name) && rfc9110.ValidValue(f.Value) {
			return true
		}
	}
	return false
}

// appendTrailer appends the fields of a trailer section. Those that may not
// trail, or that are invalid, are left out.
func appendTrailer(b []byte, h *exchange.Header) []byte {
	for _, f := range h.Fields() {
		if rfc9110.MayTrail(f.Name, true) {
			b, _ = appendField(b, f)
		}
	}
	return b
}

// appendResponse appends the head of x's response.
func (s *stream) appendResponse(b []byte, x *exchange.Exchange) ([]byte, error) {
	p := &x.Response
	none := s.bodyless(p.Status)
	if p.Status < 200 || p.Status > 599 || p.Body == nil && !none && p.ContentLength > 0 {
		return b, errInvalidMessage
	}
	b, dated, ok := appendFields(appendStatus(b, p.Status), &p.Header)
	if !ok {
		return b, errInvalidMessage
	}
	if !dated {
		b = s.c.appendDate(b)
	}
	switch {
	case none:
		// Not for 304, where it is allowed: net/http's client then misses content.
		if s.head && p.Status != 204 && p.Status != 304 && p.ContentLength >= 0 && (p.ContentLength > 0 || p.Header.Count("Content-Length") > 0) {
			b = appendLength(b, p.ContentLength)
		}
	case p.Body == nil:
		b = appendLength(b, 0)
	case p.ContentLength >= 0:
		b = appendLength(b, p.ContentLength)
	}
	return b, nil
}

// bodyless reports whether the response has no content (RFC 9110, 6.4.1).
func (s *stream) bodyless(status int) bool {
	return s.head || status < 200 || status == 204 || status == 304
}
