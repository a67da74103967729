package rfc9111

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"penstock.dev/penstock/core/exchange"
)

// MaxVary bounds the fields that a response may vary by.
const MaxVary = 16

// maxVaryValue bounds the bytes that AppendVaryValue takes as they are; a longer value
// counts by its digest.
const maxVaryValue = 1 << 10

// Vary returns the request fields that a response was selected by (RFC 9110, 12.5.5):
// lower case, sorted, each once; none without the field. star: it varies by more than
// fields say and can answer no other request (RFC 9111, 4.1). ok is false if a name is
// malformed or there are more than MaxVary.
func Vary(h *exchange.Header) (names []string, star, ok bool) {
	star, ok = varyFields(h, &names)
	if star || !ok {
		return nil, star, ok
	}
	slices.Sort(names)
	return slices.Compact(names), false, true
}

// varyFields checks Vary and adds its names in lower case to names, if that is not nil.
func varyFields(h *exchange.Header, names *[]string) (star, ok bool) {
	n, ok := 0, true
	for i := range h.Len() {
		f := h.At(i)
		if !exchange.EqualFold(f.Name, "vary") {
			continue
		}
		for rest := f.Value; len(rest) > 0; {
			var name []byte
			if name, rest, _ = cutElement(rest); len(name) == 0 {
				continue
			}
			n++
			switch {
			case len(name) == 1 && name[0] == '*':
				star = true
			case tokenLen(name) != len(name) || n > MaxVary:
				ok = false
			case names != nil:
				*names = append(*names, strings.ToLower(string(name)))
			}
		}
	}
	return star, ok
}

// cutElement cuts the first element off a list, without its white space; more tells
// whether a comma followed it. A comma in a quoted string is part of it; one that does
// not end takes in all that follows, so that nothing is looked at twice.
func cutElement(list []byte) (element, rest []byte, more bool) {
	for i := 0; i < len(list); i++ {
		switch list[i] {
		case ',':
			return trim(list[:i]), list[i+1:], true
		case '"':
			end := quotedEnd(list[i:])
			if end < 0 {
				return trim(list), nil, false
			}
			i += end - 1
		}
	}
	return trim(list), nil, false
}

// The kinds of what AppendVaryValue appends.
const (
	valueAbsent byte = iota
	valueText
	valueDigest
)

// AppendVaryValue appends what the request fields called name, in lower case, come to,
// so that two requests select the same response if what is appended for each name of its
// Vary is equal (RFC 9111, 4.1). No such field differs from an empty one. Field lines are
// joined and white space beside commas is dropped, unless the field is no list or holds
// credentials: Authorization, Cookie, Date, User-Agent and the like count byte for byte,
// line for line. Accept, Accept-Charset, Accept-Encoding and Accept-Language are also put
// into lower case where case does not matter, and into one order where order does not
// matter by RFC 9110, 12.5. A value of more than 1 KiB counts byte for byte, by its
// digest. What is appended ends where it says, so that values may follow one another; it
// is 1 KiB and three bytes at most. Nothing is allocated beyond what dst needs, but for a
// digest.
func AppendVaryValue(dst []byte, h *exchange.Header, name string) []byte {
	separator := byte(',')
	exact := exactField(name)
	if exact {
		separator = '\n' // which no value has
	}
	size := -1
	for i := range h.Len() {
		if f := h.At(i); exchange.EqualFold(f.Name, name) {
			size += 1 + len(f.Value)
		}
	}
	if size < 0 {
		return append(dst, valueAbsent)
	}
	var room [maxVaryValue]byte
	if size > len(room) {
		sum := sha256.Sum256(join(make([]byte, 0, size), h, name, separator))
		return append(append(dst, valueDigest), sum[:]...)
	}
	dst = append(dst, valueText, 0, 0)
	start := len(dst)
	text := join(room[:0], h, name, separator)
	ok := false
	if negotiated(name) {
		if dst, ok = appendChoices(dst, text, name); !ok {
			dst = dst[:start]
			text = join(room[:0], h, name, separator) // appendChoices wrote into it
		}
	}
	switch {
	case ok:
	case exact:
		dst = append(dst, text...)
	default:
		dst = appendList(dst, text)
	}
	binary.BigEndian.PutUint16(dst[start-2:], uint16(len(dst)-start)) // 1 KiB at most
	return dst
}

// join appends the values of the fields called name.
func join(dst []byte, h *exchange.Header, name string, separator byte) []byte {
	start := len(dst)
	found := false
	for i := range h.Len() {
		if f := h.At(i); exchange.EqualFold(f.Name, name) {
			if found {
				dst = append(dst, separator)
			}
			dst, found = append(dst, f.Value...), true
		}
	}
	return dst[start:]
}

// appendList appends a list without the white space beside its commas.
func appendList(dst, list []byte) []byte {
	for {
		element, rest, more := cutElement(list)
		dst = append(dst, element...)
		if !more {
			return dst
		}
		dst, list = append(dst, ','), rest
	}
}

// exactField reports whether a field is no list, or one in which a space may matter to
// who is asking.
func exactField(name string) bool {
	switch name {
	case "authorization", "proxy-authorization", "cookie", "date", "if-modified-since",
		"if-unmodified-since", "last-modified", "referer", "user-agent", "origin", "host", "from":
		return true
	}
	return false
}
