package rfc9111

import (
	"bytes"

	"penstock.dev/penstock/core/exchange"
)

// Validators makes request a conditional one that asks whether a stored response is
// current (RFC 9111, 4.3.1): the conditions and the range of the client go, If-None-Match
// and If-Modified-Since come in their place, with the stored values. It reports whether
// stored has a validator; without one the request is unconditional. request then borrows
// from stored.
func Validators(request, stored *exchange.Header) bool {
	Unconditional(request)
	tag := etagOf(stored)
	if tag != nil {
		request.Add([]byte("if-none-match"), tag)
	}
	modified, ok := stored.Get("last-modified")
	if ok = ok && dated(modified); ok {
		request.Add([]byte("if-modified-since"), modified)
	}
	return tag != nil || ok
}

// Unconditional takes conditions and Range out of a request, for one whose answer is to
// be stored whole.
func Unconditional(request *exchange.Header) {
	request.DeleteFunc(func(f exchange.Field) bool {
		switch len(f.Name) {
		case 5:
			return exchange.EqualFold(f.Name, "range")
		case 8:
			return exchange.EqualFold(f.Name, "if-match") || exchange.EqualFold(f.Name, "if-range")
		case 13:
			return exchange.EqualFold(f.Name, "if-none-match")
		case 17:
			return exchange.EqualFold(f.Name, "if-modified-since")
		case 19:
			return exchange.EqualFold(f.Name, "if-unmodified-since")
		}
		return false
	})
}

// Selects reports whether a 304 with header update is about the stored response, so that
// it may update it (RFC 9111, 4.3.4): the entity tag of update, compared strongly unless
// it is weak, or else its Last-Modified, is the stored one's. single: the conditional
// request named this stored response alone; a 304 without any validator is about it then.
func Selects(stored, update *exchange.Header, single bool) bool {
	tag := etagOf(update)
	if tag != nil && !isWeak(tag) {
		return equalStrong(tag, etagOf(stored))
	}
	modified, hasModified := update.Get("last-modified")
	have, haveModified := stored.Get("last-modified")
	mine := etagOf(stored)
	switch {
	case tag != nil && mine != nil:
		return equalWeak(tag, mine)
	case hasModified && haveModified:
		return bytes.Equal(modified, have)
	}
	return tag == nil && !hasModified && single
}

// HeadSelects reports whether the answer to a HEAD, which like the stored response has
// status 200, is about that one, so that its fields may update it (RFC 9111, 4.3.5): the
// validators and the length that both have are equal. If not the stored response has
// been replaced at the origin and is stale.
func HeadSelects(stored, head *exchange.Header) bool {
	same := false
	if a, b := etagOf(stored), etagOf(head); a != nil || b != nil {
		if a == nil || b == nil || !equalWeak(a, b) {
			return false
		}
		same = true
	}
	if a, ok := stored.Get("last-modified"); ok {
		b, also := head.Get("last-modified")
		if !also && !same || also && !bytes.Equal(a, b) {
			return false
		}
		same = true
	} else if _, also := head.Get("last-modified"); also {
		return false
	}
	if b, ok := head.Get("content-length"); ok {
		if a, also := stored.Get("content-length"); also && !bytes.Equal(a, b) {
			return false
		}
	}
	return same
}

// Combinable reports whether two partial responses, or a partial and a whole one, hold
// bytes of the same representation (RFC 9110, 15.3.7.3): both have the same strong
// entity tag, and the same content coding.
func Combinable(a, b *exchange.Header) bool {
	tag := etagOf(a)
	if tag == nil || !equalStrong(tag, etagOf(b)) {
		return false
	}
	x, _ := a.Get("content-encoding")
	y, _ := b.Get("content-encoding")
	return bytes.Equal(x, y)
}

// etagOf returns the field ETag if there is exactly one and it is not empty, else nil.
func etagOf(h *exchange.Header) []byte {
	var tag []byte
	for i := range h.Len() {
		if f := h.At(i); len(f.Name) == 4 && exchange.EqualFold(f.Name, "etag") {
			if tag != nil {
				return nil
			}
			tag = f.Value
		}
	}
	if len(tag) == 0 {
		return nil
	}
	return tag
}

// isWeak reports whether a tag is weak (RFC 9110, 8.8.3). What has no quotes is no
// entity tag; it counts as weak, so that no byte range relies on it.
func isWeak(tag []byte) bool {
	n := tagLen(tag)
	return n != len(tag) || tag[0] == 'W'
}

// equalStrong compares two tags strongly (RFC 9110, 8.8.3.2).
func equalStrong(a, b []byte) bool { return len(a) > 0 && bytes.Equal(a, b) && !isWeak(a) }

// equalWeak compares two tags weakly. What has no quotes equals only itself.
func equalWeak(a, b []byte) bool { return bytes.Equal(opaque(a), opaque(b)) }

func opaque(tag []byte) []byte {
	if len(tag) > 2 && tag[0] == 'W' && tag[1] == '/' && tagLen(tag) == len(tag) {
		return tag[2:]
	}
	return tag
}

// tagLen returns the length of the entity tag that b begins with, -1 if it does not.
func tagLen(b []byte) int {
	n := 0
	if len(b) > 1 && b[0] == 'W' && b[1] == '/' {
		n = 2
	}
	if n == len(b) || b[n] != '"' {
		return -1
	}
	for i := n + 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c < 0x21 || c == 0x7f:
			return -1
		}
	}
	return -1
}
