package fields

import (
	"strconv"
	"time"

	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/exchange"
)

// ErrInvalidMessage is exchange.ErrInvalidMessage.
var ErrInvalidMessage = exchange.ErrInvalidMessage

// Encoding is how a codec writes fields (RFC 7541, 6.2; RFC 9204, 4.5). Values are
// written alike: without a Huffman code, behind their length.
type Encoding struct {
	Name   func(b, name []byte) []byte       // appends a literal's name in lower case
	Status func(b []byte, status int) []byte // appends :status
	Length []byte                            // the name Content-Length, as it is written
	Date   []byte                            // likewise Date
}

// AppendInt appends an integer with a prefix of that many bits (RFC 7541, 5.1);
// first holds the bits before it.
func AppendInt(b []byte, first byte, bits, n int) []byte {
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

// AppendLower appends a name in lower case.
func AppendLower(b, name []byte) []byte {
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		b = append(b, c)
	}
	return b
}

// AppendField appends a field; ok is false if it is invalid.
func (e *Encoding) AppendField(b []byte, f exchange.Field) (_ []byte, ok bool) {
	v := rfc9110.Trim(f.Value)
	if !rfc9110.ValidToken(f.Name) || !rfc9110.ValidValue(v) {
		return b, false
	}
	b = AppendInt(e.Name(b, f.Name), 0, 7, len(v))
	return append(b, v...), true
}

// AppendFields appends h's fields but those that belong to the connection or the
// framing. ok is false if one is invalid. dated reports whether Date was among them.
func (e *Encoding) AppendFields(b []byte, h *exchange.Header) (_ []byte, dated, ok bool) {
	for _, f := range h.Fields() {
		if rfc9110.Hop(f.Name) {
			continue
		}
		if len(f.Name) == 4 && rfc9110.Fold(f.Name, "date") {
			dated = true
		}
		if b, ok = e.AppendField(b, f); !ok {
			return b, dated, false
		}
	}
	return b, dated, true
}

// Trails reports whether AppendTrailer has something to append.
func Trails(h *exchange.Header) bool {
	for _, f := range h.Fields() {
		if rfc9110.MayTrail(f.Name, true) && rfc9110.ValidToken(f.Name) && rfc9110.ValidValue(f.Value) {
			return true
		}
	}
	return false
}

// AppendTrailer appends the fields of a trailer section. Those that may not trail,
// or that are invalid, are left out.
func (e *Encoding) AppendTrailer(b []byte, h *exchange.Header) []byte {
	for _, f := range h.Fields() {
		if rfc9110.MayTrail(f.Name, true) {
			b, _ = e.AppendField(b, f)
		}
	}
	return b
}

// AppendLength appends Content-Length.
func (e *Encoding) AppendLength(b []byte, n int64) []byte {
	var store [20]byte
	digits := strconv.AppendInt(store[:0], n, 10)
	b = AppendInt(append(b, e.Length...), 0, 7, len(digits))
	return append(b, digits...)
}

const dateLen = len("Mon, 02 Jan 2006 15:04:05 GMT")

// AppendDate appends the Date of now.
func (e *Encoding) AppendDate(b []byte, d *rfc9110.Date) []byte {
	return d.AppendTo(append(append(b, e.Date...), byte(dateLen)), time.Now())
}

// Bodyless reports whether a response has no content (RFC 9110, 6.4.1). head: the
// client sent HEAD.
func Bodyless(head bool, status int) bool {
	return head || status < 200 || status == 204 || status == 304
}

// AppendResponse appends the head of a final response to a client that sent HEAD,
// or something else. The error is ErrInvalidMessage.
func (e *Encoding) AppendResponse(b []byte, p *exchange.Response, head bool, d *rfc9110.Date) ([]byte, error) {
	none := Bodyless(head, p.Status)
	if p.Status < 200 || p.Status > 599 || p.Body == nil && !none && p.ContentLength > 0 {
		return b, ErrInvalidMessage
	}
	b, dated, ok := e.AppendFields(e.Status(b, p.Status), &p.Header)
	if !ok {
		return b, ErrInvalidMessage
	}
	if !dated {
		b = e.AppendDate(b, d)
	}
	switch {
	case none:
		// Not for 304, where it is allowed: net/http's client then misses content.
		if head && p.Status != 204 && p.Status != 304 && p.ContentLength >= 0 && (p.ContentLength > 0 || p.Header.Count("Content-Length") > 0) {
			b = e.AppendLength(b, p.ContentLength)
		}
	case p.Body == nil:
		b = e.AppendLength(b, 0)
	case p.ContentLength >= 0:
		b = e.AppendLength(b, p.ContentLength)
	}
	return b, nil
}
