package fields

import (
	"fmt"
	"strings"
	"testing"
)

func TestUrgency(t *testing.T) {
	tests := map[string]uint8{
		"": 3, "u=0": 0, "u=7": 7, "i": 3, "u=5, i": 5, "i,u=1": 1, " u=2 ": 2, "u=1;x=2, i=?0": 1, "u=1, u=6": 6,
		"u=8": 3, "u=-1": 3, "u=10": 3, "u=1.0": 3, "u": 3, "U=1": 3, "u =1": 3, "u=1 i": 3,
		`a="x, u=1"`: 3, `a="\", u=1"`: 3, `a="x", u=1`: 1, `a="x, u=1`: 3, ",,u=4,": 4, `a="\`: 3,
	}
	for value, want := range tests {
		if got := Urgency([]byte(value), DefaultUrgency); got != want {
			t.Errorf("%q: got %d; want %d", value, got, want)
		}
	}
}

// FuzzUrgency: a member more at the front changes nothing, unless nothing else says
// how urgent it is.
func FuzzUrgency(f *testing.F) {
	for _, seed := range []string{"u=1, i", `a="x, u=1", u=2`, "u=8", "i;u=4,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Urgency([]byte(s), 8)
		if got > 8 || got < 8 && !strings.Contains(s, fmt.Sprintf("u=%d", got)) {
			t.Fatalf("%q: got %d", s, got)
		}
		want := got
		if got == 8 {
			want = 5
		}
		if again := Urgency([]byte("u=5;a, b,"+s), 8); again != want {
			t.Errorf("%q: got %d, with another member %d", s, got, again)
		}
	})
}
