package proxywasm

import (
	"encoding/binary"
	"errors"
	"slices"

	"penstock.dev/penstock/core/exchange"
)

// Bounds on maps that guests pass in (Proxy-Wasm's reference host).
const (
	maxMapBytes = 1 << 20
	maxPairs    = 1024
)

type pair struct{ name, value []byte }

var errPairs = errors.New("malformed map")

// parsePairs reads a serialised map: count, sizes, then each name and value
// followed by a NUL. The pairs point into b. An empty map is no bytes, one NUL,
// or a count of zero.
func parsePairs(b []byte) ([]pair, error) { return addPairs(nil, b) }

// addPairs is parsePairs that appends to pairs, also what comes before an error.
func addPairs(pairs []pair, b []byte) ([]pair, error) {
	if len(b) == 0 || len(b) == 1 && b[0] == 0 {
		return pairs, nil
	}
	if len(b) < 4 || len(b) > maxMapBytes {
		return pairs, errPairs
	}
	n := binary.LittleEndian.Uint32(b)
	if n > maxPairs || uint64(len(b)) < 4+8*uint64(n) {
		return pairs, errPairs
	}
	at := uint64(4 + 8*n)
	take := func(size uint32) ([]byte, bool) {
		end := at + uint64(size)
		if end >= uint64(len(b)) || b[end] != 0 {
			return nil, false
		}
		p := b[at:end]
		at = end + 1
		return p, true
	}
	pairs = slices.Grow(pairs, int(n))
	for i := range n {
		name, ok := take(binary.LittleEndian.Uint32(b[4+8*i:]))
		value, ok2 := take(binary.LittleEndian.Uint32(b[8+8*i:]))
		if !ok || !ok2 {
			return pairs, errPairs
		}
		pairs = append(pairs, pair{name, value})
	}
	if at != uint64(len(b)) {
		return pairs, errPairs
	}
	return pairs, nil
}

// appendPairs serialises; names are written in lower case, as HTTP/2 has them.
func appendPairs(b []byte, pseudo []pair, h *exchange.Header) []byte {
	n := len(pseudo) + h.Len()
	if n == 0 {
		return b
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	size := func(name, value []byte) {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(name)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(value)))
	}
	content := func(name, value []byte) {
		for _, c := range name {
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			b = append(b, c)
		}
		b = append(b, 0)
		b = append(append(b, value...), 0)
	}
	for _, p := range pseudo {
		size(p.name, p.value)
	}
	for _, f := range h.Fields() {
		size(f.Name, f.Value)
	}
	for _, p := range pseudo {
		content(p.name, p.value)
	}
	for _, f := range h.Fields() {
		content(f.Name, f.Value)
	}
	return b
}

// mapSize is the length of what appendPairs writes.
func mapSize(pseudo []pair, h *exchange.Header) int {
	if len(pseudo)+h.Len() == 0 {
		return 0
	}
	n := 4
	for _, p := range pseudo {
		n += 10 + len(p.name) + len(p.value)
	}
	for _, f := range h.Fields() {
		n += 10 + len(f.Name) + len(f.Value)
	}
	return n
}
