package sdk

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSteeringIsWritten(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	tests := map[string]struct {
		s    Steering
		want string // "" means refused
	}{
		"nothing":                {Steering{}, "\x00\x00\x00\x00\x00\x00\x00"},
		"all of it":              {Steering{Bypass: true, Force: true, TTL: 258 * time.Second, Key: []string{"ab", ""}, Tags: []string{"t"}}, "\x03\x02\x01\x00\x00\x02\x02\x00ab\x00\x00\x01\x01\x00t"},
		"a part of a second":     {Steering{TTL: 1500 * time.Millisecond}, "\x00\x01\x00\x00\x00\x00\x00"},
		"less than a second":     {Steering{TTL: time.Second - 1}, ""},
		"a negative time":        {Steering{TTL: -time.Second}, ""},
		"more than a year":       {Steering{TTL: maxSteerTTL + time.Second}, ""},
		"force without a time":   {Steering{Force: true}, ""},
		"too many parts":         {Steering{Key: slices.Repeat([]string{"x"}, MaxCacheParts+1)}, ""},
		"a part that is too big": {Steering{Key: []string{long(MaxCachePart + 1)}}, ""},
		"too many tags":          {Steering{Tags: slices.Repeat([]string{"x"}, MaxCacheTags+1)}, ""},
		"an empty tag":           {Steering{Tags: []string{""}}, ""},
		"a tag that is too long": {Steering{Tags: []string{long(MaxCacheTag + 1)}}, ""},
	}
	for name, test := range tests {
		got, err := test.s.Append([]byte("before "))
		if test.want == "" && (!errors.Is(err, ErrCacheArgument) || string(got) != "before ") {
			t.Errorf("%s: got %q, %v; want it refused", name, got, err)
		}
		if test.want != "" && (err != nil || string(got) != "before "+test.want) {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, test.want)
		}
	}
}

func TestObjectsAreWritten(t *testing.T) {
	got, err := appendPut(nil, "k", []byte("value"), 258*time.Second, []string{"t"})
	if want := "\x02\x01\x00\x00\x01\x00k\x01\x01\x00tvalue"; err != nil || string(got) != want {
		t.Errorf("put: got %q, %v; want %q", got, err, want)
	}
	for name, refused := range map[string]func() error{
		"no key":               func() error { _, err := appendPut(nil, "", nil, time.Minute, nil); return err },
		"a long key":           func() error { _, err := appendPut(nil, strings.Repeat("k", 1025), nil, time.Minute, nil); return err },
		"a large value":        func() error { _, err := appendPut(nil, "k", make([]byte, 1<<20+1), time.Minute, nil); return err },
		"no time":              func() error { _, err := appendPut(nil, "k", nil, 0, nil); return err },
		"too long a time":      func() error { _, err := appendPut(nil, "k", nil, maxObjectTTL+1, nil); return err },
		"an empty tag":         func() error { _, err := appendPut(nil, "k", nil, time.Minute, []string{""}); return err },
		"a look without a key": func() error { _, err := appendKey(nil, ""); return err },
		"a look at a long key": func() error { _, err := appendKey(nil, strings.Repeat("k", 1025)); return err },
		"a purge of none":      func() error { _, err := appendPurge(nil, nil, false); return err },
		"a purge too many":     func() error { _, err := appendPurge(nil, slices.Repeat([]string{"x"}, 33), false); return err },
	} {
		if err := refused(); !errors.Is(err, ErrCacheArgument) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	got, err = appendPurge(nil, []string{"a", "bc"}, true)
	if want := "\x01\x02\x01\x00a\x02\x00bc"; err != nil || string(got) != want {
		t.Errorf("purge: got %q, %v; want %q", got, err, want)
	}
	if got, err := appendKey([]byte("before "), strings.Repeat("k", 1024)); err != nil || len(got) != len("before ")+1024 {
		t.Errorf("a key: got %q, %v", got, err)
	}
	for answer, want := range map[string]int{"\x00\x00\x00\x00": 0, "\x07\x01\x00\x00": 263, "\xff\xff\xff\xff": -1} {
		if n, ok := readPurged([]byte(answer)); n != want || !ok {
			t.Errorf("purged %q: got %d, %v; want %d", answer, n, ok, want)
		}
	}
	if _, ok := readPurged([]byte("\x01")); ok {
		t.Error("an answer that ends early passes")
	}
	o, ok := readObject([]byte("\x01\xdc\x05\x00\x00\x00\x00\x00\x00value"))
	if !ok || string(o.Value) != "value" || !o.Stale || o.Left != 1500*time.Millisecond {
		t.Errorf("object: got %+v, %v", o, ok)
	}
	if _, ok := readObject([]byte("\x00\x00")); ok {
		t.Error("an object that ends early passes")
	}
}
