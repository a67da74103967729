package sdk

import (
	"slices"
	"testing"
)

func FuzzPairs(f *testing.F) {
	f.Add("a", "1", "b", "", []byte("\x01\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string, garbage []byte) {
		want := [][2]string{{k1, v1}, {k2, v2}}
		if got := decodePairs(appendPairs([]byte("before"), want)[len("before"):]); !slices.Equal(got, want) {
			t.Fatalf("got %q; want %q", got, want)
		}
		decodePairs(garbage) // must not panic
	})
}
