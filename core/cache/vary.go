package cache

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"penstock.dev/penstock/core/cache/rfc9111"
	"penstock.dev/penstock/core/exchange"
)

// A variant is what a stored response was chosen by (RFC 9111, 4.1): the fields that its
// Vary names, sorted, each with the value that its request had. nil: it has no Vary.

// variesBy returns the names that a response varies by, sorted: those of its Vary, which
// is well formed, and Accept-Encoding if it has a coding that not every client can read.
func variesBy(h *exchange.Header) []string {
	names, _, _ := rfc9111.Vary(h)
	if h.Count("content-encoding") > 0 && !slices.Contains(names, "accept-encoding") {
		names = append(names, "accept-encoding")
		slices.Sort(names)
	}
	return names
}

// writtenLater reports whether a field is one that the proxy itself writes behind the
// cache, which cannot tell requests apart by it: who the client is, and how it came. Of
// these the scheme is part of every key.
func writtenLater(name string) bool {
	return name == "forwarded" || strings.HasPrefix(name, "x-forwarded-") && name != "x-forwarded-proto" ||
		strings.HasPrefix(name, "x-consumer-") || strings.HasPrefix(name, "client-cert")
}

// variantOf returns the variant of a request for these names.
func variantOf(names []string, h *exchange.Header) []byte {
	if len(names) == 0 {
		return nil
	}
	out := binary.AppendUvarint(nil, uint64(len(names)))
	for _, name := range names {
		out = appendPart(out, name)
		at := len(out)
		out = append(out, 0, 0)
		out = rfc9111.AppendVaryValue(out, h, name)
		n := len(out) - at - 2
		if n > 0xffff {
			return append(out[:at], 0xff, 0xff, 0xff) // too long: equal to nothing
		}
		binary.BigEndian.PutUint16(out[at:], uint16(n))
	}
	return out
}

// nextField takes the first of the fields left in a variant. ok is false where it is cut
// short, as it is where a value was too long to be kept.
func nextField(rest []byte) (name, value, after []byte, ok bool) {
	length, size := binary.Uvarint(rest)
	if size <= 0 || length > uint64(len(rest)) || uint64(len(rest)-size) < length+2 {
		return nil, nil, nil, false
	}
	name, rest = rest[size:size+int(length)], rest[size+int(length):]
	n := int(binary.BigEndian.Uint16(rest))
	if rest = rest[2:]; n > len(rest) {
		return nil, nil, nil, false
	}
	return name, rest[:n], rest[n:], true
}

// chosen reports whether a request with these fields chooses the variant. scratch is
// overwritten, and returned for the next call.
func chosen(variant []byte, h *exchange.Header, scratch []byte) (bool, []byte) {
	if len(variant) == 0 {
		return true, scratch
	}
	n, size := binary.Uvarint(variant)
	rest := variant[max(size, 0):]
	for ; n > 0; n-- {
		name, value, after, ok := nextField(rest)
		if !ok {
			return false, scratch
		}
		scratch = rfc9111.AppendVaryValue(scratch[:0], h, string(name))
		if !bytes.Equal(scratch, value) {
			return false, scratch
		}
		rest = after
	}
	return true, scratch
}

// namesOf returns the names that a variant has.
func namesOf(variant []byte) []string {
	if len(variant) == 0 {
		return nil
	}
	n, size := binary.Uvarint(variant)
	rest := variant[max(size, 0):]
	var names []string
	for ; n > 0; n-- {
		name, _, after, ok := nextField(rest)
		if !ok {
			return nil
		}
		names, rest = append(names, string(name)), after
	}
	return names
}
