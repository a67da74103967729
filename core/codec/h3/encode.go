package h3

import (
	"errors"
	"strconv"
	"time"

	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/exchange"
)

// errInvalidMessage means that a response was made, by a filter for instance,
// which HTTP/3 cannot carry: a field or a status. Nothing of it is sent.
var errInvalidMessage = errors.New("message has a name or value that cannot be sent")

// How field lines begin (RFC 9204, 4.5): nothing but the static table is used, and
// no Huffman code.
const (
	indexed      = 0xc0 // 6 bits of index
	nameRef      = 0x50 // 4 bits of index
	nameRefNever = 0x70 // never to be in a table
	literal      = 0x20 // 3 bits of the name's length

	indexStatus        = 24
	indexContentLength = 4
	indexDate          = 6

	mostName = 64 // bytes; longer ones are not looked up
)

// appendSection begins a HEADERS frame with an encoded field section in an empty b:
// room for the frame's header, then the section's prefix. endSection ends it.
func appendSection(b []byte) []byte { return append(b, 0, 0, 0, 0, 0, 0, 0) }

// endSection writes the header of the frame that b is.
func endSection(b []byte) []byte {
	putFrame(b, frameHeaders, len(b)-frameHeaderLen)
	return b
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
		return append(b, indexed|25)
	case 304:
		return append(b, indexed|26)
	case 404:
		return append(b, indexed|27)
	case 503:
		return append(b, indexed|28)
	}
	b = append(appendInt(b, nameRef, 4, indexStatus), 3)
	return strconv.AppendInt(b, int64(status), 10)
}

// appendName appends a literal's name in lower case.
func appendName(b, name []byte) []byte {
	if len(name) <= mostName {
		var store [mostName]byte
		low := appendLower(store[:0], name)
		if i, known := names[string(low)]; known {
			kind := byte(nameRef)
			if string(low) == "set-cookie" {
				kind = nameRefNever
			}
			return appendInt(b, kind, 4, i)
		}
	}
	return appendLower(appendInt(b, literal, 3, len(name)), name)
}

func appendLower(b, name []byte) []byte {
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

func appendLength(b []byte, n int64) []byte {
	var store [20]byte
	digits := strconv.AppendInt(store[:0], n, 10)
	b = appendInt(b, nameRef, 4, indexContentLength)
	return append(appendInt(b, 0, 7, len(digits)), digits...)
}

const dateLen = len("Mon, 02 Jan 2006 15:04:05 GMT")

func (c *Conn) appendDate(b []byte) []byte {
	b = appendInt(b, nameRef, 4, indexDate)
	return c.server.date.AppendTo(append(b, byte(dateLen)), time.Now())
}

// appendFields appends h's fields but those that belong to the connection or the
// framing. ok is false if one is invalid. dated reports whether Date was among them.
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

// appendResponse appends the fields of x's response.
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
		// Not for 304, where it is allowed: as package h2 does.
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
