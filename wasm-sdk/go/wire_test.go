package sdk

import (
	"errors"
	"math"
	"testing"
	"time"
)

func TestPropertiesAreRead(t *testing.T) {
	for text, want := range map[string]int64{"\x01\x02\x00\x00\x00\x00\x00\x00": 513, "\xff\xff\xff\xff\xff\xff\xff\xff": -1} {
		if n, ok := readInt([]byte(text)); n != want || !ok {
			t.Errorf("%q: got %d, %v; want %d", text, n, ok, want)
		}
	}
	for _, text := range []string{"", "\x01", "\x01\x00\x00\x00", "\x01\x00\x00\x00\x00\x00\x00\x00\x00"} {
		if n, ok := readInt([]byte(text)); ok {
			t.Errorf("%q: got the number %d", text, n)
		}
	}
	for text, want := range map[string][2]bool{"\x01": {true, true}, "\x00": {false, true}, "": {}, "\x01\x00": {}} {
		if value, ok := readBool([]byte(text)); [2]bool{value, ok} != want {
			t.Errorf("%q: got %v, %v; want %v", text, value, ok, want)
		}
	}
	for want, path := range map[string][]string{"": nil, "a": {"a"}, "source\x00address": {"source", "address"}, "a\x00\x00b": {"a", "", "b"}} {
		if got := appendPath([]byte("before "), path); string(got) != "before "+want {
			t.Errorf("%q: got %q; want %q", path, got, want)
		}
	}
}

func TestMilliseconds(t *testing.T) {
	tests := map[time.Duration]uint32{0: 0, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, time.Second: 1000, math.MaxInt32 * time.Millisecond: math.MaxInt32}
	for d, want := range tests {
		if got, err := milliseconds(d); got != want || err != nil {
			t.Errorf("%v: got %d, %v; want %d", d, got, err, want)
		}
	}
	for _, d := range []time.Duration{-1, -time.Hour, math.MaxInt32*time.Millisecond + 1, math.MaxInt64} {
		if got, err := milliseconds(d); !errors.Is(err, ErrBadArgument) {
			t.Errorf("%v: got %d, %v; want it refused", d, got, err)
		}
	}
}

// TestRoomIsUsedAgain: what is written for host functions allocates nothing once there is
// room for it.
func TestRoomIsUsedAgain(t *testing.T) {
	room, path := make([]byte, 0, 1024), []string{"source", "address"}
	list := [][2]string{{":path", "/"}, {"x-a", "b"}}
	if n := testing.AllocsPerRun(100, func() { room = appendPairs(appendPath(room[:0], path), list) }); n != 0 {
		t.Errorf("%v allocations; want 0", n)
	}
}
