package cache

import (
	"bytes"

	"penstock.dev/penstock/core/exchange"
)

// Bounds on a response's tags; what is beyond them is not looked at, and such a
// response is not stored: a purge would not find it.
const (
	maxTags     = 128
	maxTagBytes = 256
)

// tagsOf returns the tags that a response has: words of Surrogate-Key, and what commas
// separate in Cache-Tag. ok is false if there are too many, or one is too long. The
// tags borrow from the header.
func tagsOf(h *exchange.Header) (tags [][]byte, ok bool) {
	for _, field := range h.Fields() {
		var split func([]byte) [][]byte
		switch {
		case exchange.EqualFold(field.Name, "surrogate-key"):
			split = bytes.Fields
		case exchange.EqualFold(field.Name, "cache-tag"):
			split = func(b []byte) [][]byte { return bytes.Split(b, []byte(",")) }
		default:
			continue
		}
		for _, tag := range split(field.Value) {
			if tag = bytes.TrimSpace(tag); len(tag) == 0 {
				continue
			}
			if len(tags) == maxTags || len(tag) > maxTagBytes {
				return nil, false
			}
			tags = append(tags, tag)
		}
	}
	return tags, true
}
