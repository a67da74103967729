package sdk

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestRateOnTheWire(t *testing.T) {
	tests := map[string]struct {
		rate   Rate
		shared bool
		key    string
		cost   uint32
		want   string // empty: ErrBadArgument
	}{
		"a bucket":           {Rate{Limit: 10, Window: time.Second, Burst: 3}, false, "k", 1, "\x00\x0a\x00\x00\x00\xe8\x03\x00\x00\x03\x00\x00\x00\x01\x00\x00\x00k"},
		"a window, shared":   {Rate{Limit: 1, Window: time.Millisecond, Sliding: true}, true, "key", 258, "\x03\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x01\x00\x00key"},
		"no limit":           {Rate{Window: time.Second}, false, "k", 1, ""},
		"no window":          {Rate{Limit: 1}, false, "k", 1, ""},
		"a window too fine":  {Rate{Limit: 1, Window: time.Microsecond}, false, "k", 1, ""},
		"a window too long":  {Rate{Limit: 1, Window: 1e6 * time.Hour}, false, "k", 1, ""},
		"no key":             {Rate{Limit: 1, Window: time.Second}, false, "", 1, ""},
		"a key too long":     {Rate{Limit: 1, Window: time.Second}, false, strings.Repeat("k", 1025), 1, ""},
		"a window's burst":   {Rate{Limit: 1, Window: time.Second, Burst: 1, Sliding: true}, false, "k", 1, ""},
		"a negative window":  {Rate{Limit: 1, Window: -time.Second}, false, "k", 1, ""},
		"half a millisecond": {Rate{Limit: 1, Window: 1500 * time.Microsecond}, false, "k", 1, ""},
	}
	for name, test := range tests {
		got, err := appendRate([]byte("before"), &test.rate, test.shared, test.key, test.cost)
		if string(got) != "before"+test.want || (err != nil) != (test.want == "") || err != nil && !errors.Is(err, ErrBadArgument) {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, test.want)
		}
	}
	a, ok := readRate([]byte("\x01\x02\x00\x00\x00\xe8\x03\x00\x00\x05\x00\x00\x00"))
	if want := (RateAnswer{true, 2, time.Second, 5 * time.Millisecond}); a != want || !ok {
		t.Errorf("got %+v, %v; want %+v", a, ok, want)
	}
	for _, b := range []string{"", "\x01", "\x01\x02\x00\x00\x00\xe8\x03\x00\x00\x05\x00\x00\x00\x00"} {
		if _, ok := readRate([]byte(b)); ok {
			t.Errorf("%q is taken for an answer", b)
		}
	}
}
