package proxywasm

import (
	"bytes"
	"slices"
	"testing"

	"penstock.dev/penstock/core/exchange"
)

func TestParsePairsRefuses(t *testing.T) {
	good := appendPairs(nil, nil, headerOf("a", "1", "b", ""))
	tests := map[string][]byte{
		"a short count":         {1, 0},
		"a count without sizes": {1, 0, 0, 0},
		"a huge count":          {0xff, 0xff, 0xff, 0xff},
		"too many pairs":        append([]byte{0x01, 0x04, 0, 0}, make([]byte, 8*1025)...),
		"a size beyond the end": {1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 'a', 0, 0},
		"no NUL":                append(bytes.Clone(good[:len(good)-1]), 1),
		"cut":                   good[:len(good)-1],
		"bytes at the end":      append(bytes.Clone(good), 0),
		"more than a MiB":       make([]byte, maxMapBytes+1),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			if pairs, err := parsePairs(text); err == nil {
				t.Errorf("got %q; want it refused", pairs)
			}
		})
	}
	for _, empty := range [][]byte{nil, {0}, {0, 0, 0, 0}} {
		if pairs, err := parsePairs(empty); err != nil || len(pairs) != 0 {
			t.Errorf("%v: got %q, %v; want an empty map", empty, pairs, err)
		}
	}
}

func headerOf(pairs ...string) *exchange.Header {
	h := &exchange.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add([]byte(pairs[i]), []byte(pairs[i+1]))
	}
	return h
}

func TestAppendPairsLowersNames(t *testing.T) {
	got := appendPairs(nil, []pair{{pseudoStatus, []byte("200")}}, headerOf("X-Ab", "Cd"))
	want := "\x02\x00\x00\x00\x07\x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00\x02\x00\x00\x00:status\x00200\x00x-ab\x00Cd\x00"
	if string(got) != want || mapSize([]pair{{pseudoStatus, []byte("200")}}, headerOf("X-Ab", "Cd")) != len(want) {
		t.Errorf("got %q; want %q", got, want)
	}
}

// FuzzPairs: what is written is read back; no input panics; what is accepted
// is written the same.
func FuzzPairs(f *testing.F) {
	f.Add([]byte("a"), []byte("1"), []byte("b"), []byte(""), []byte{1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2, garbage []byte) {
		h := &exchange.Header{}
		h.Add(bytes.ToLower(k1), v1)
		h.Add(bytes.ToLower(k2), v2)
		text := appendPairs(nil, nil, h)
		lower := func(b []byte) []byte {
			b = bytes.Clone(b)
			for i, c := range b {
				if 'A' <= c && c <= 'Z' {
					b[i] |= 0x20
				}
			}
			return b
		}
		pairs, err := parsePairs(text)
		if len(text) > maxMapBytes {
			return
		}
		want := []pair{{lower(bytes.ToLower(k1)), v1}, {lower(bytes.ToLower(k2)), v2}}
		if err != nil || !slices.EqualFunc(pairs, want, func(a, b pair) bool { return bytes.Equal(a.name, b.name) && bytes.Equal(a.value, b.value) }) {
			t.Fatalf("got %q, %v; want %q", pairs, err, want)
		}
		if pairs, err := parsePairs(garbage); err == nil && len(pairs) > 0 {
			h.Reset()
			for _, p := range pairs {
				h.Add(p.name, p.value)
			}
			again, err := parsePairs(appendPairs(nil, nil, h))
			if err != nil || len(again) != len(pairs) {
				t.Fatalf("%q: got %q, %v", garbage, again, err)
			}
		}
	})
}
