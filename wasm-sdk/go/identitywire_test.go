package sdk

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestWhoIsAskedForIsWritten(t *testing.T) {
	b, err := appendFind([]byte("before "), findUses, "key-auth", "k\xff", []string{"ab", "c"})
	if want := "before \x01\x08\x00key-auth\x02\x00k\xff\x02\x02\x00ab\x01\x00c"; err != nil || string(b) != want {
		t.Errorf("got %q, %v; want %q", b, err, want)
	}
	for name, test := range map[string]struct {
		kind, lookup string
		namespaces   []string
	}{
		"no kind":            {"", "k", nil},
		"a long kind":        {strings.Repeat("t", MaxCredentialType+1), "k", nil},
		"nothing to look up": {"t", "", nil},
		"a long text":        {"t", strings.Repeat("k", MaxCredentialLookup+1), nil},
		"many namespaces":    {"t", "k", slices.Repeat([]string{"n"}, MaxConsumerNamespaces+1)},
		"an empty namespace": {"t", "k", []string{""}},
		"a long namespace":   {"t", "k", []string{strings.Repeat("n", maxNamespace+1)}},
	} {
		if b, err := appendFind([]byte("before"), 0, test.kind, test.lookup, test.namespaces); !errors.Is(err, ErrBadArgument) || string(b) != "before" {
			t.Errorf("%s: got %q, %v; want it refused", name, b, err)
		}
	}
}

func TestIdentitiesAreRead(t *testing.T) {
	const whole = "\x04\x00shop\x02\x01\x00a\x02\x00bc\xffdata"
	who, err := readIdentity([]byte(whole))
	if err != nil || who.Username != "shop" || !slices.Equal(who.Groups, []string{"a", "bc"}) || string(who.Data) != "\xffdata" {
		t.Errorf("got %+v, %v", who, err)
	}
	if who, err := readIdentity([]byte("\x01\x00a\x00")); err != nil || who.Username != "a" || who.Groups != nil || len(who.Data) != 0 {
		t.Errorf("got %+v, %v", who, err)
	}
	for n := range len(whole) - 5 {
		if who, err := readIdentity([]byte(whole[:n])); !errors.Is(err, ErrResultMismatch) || who.Username != "" {
			t.Errorf("%d bytes: got %+v, %v", n, who, err)
		}
	}
}

func FuzzReadIdentity(f *testing.F) {
	f.Add([]byte("\x04\x00shop\x02\x01\x00a\x02\x00bc\xffdata"))
	f.Fuzz(func(t *testing.T, b []byte) {
		who, err := readIdentity(b)
		if err != nil {
			return
		}
		again := []byte{byte(len(who.Username)), byte(len(who.Username) >> 8)}
		again = append(append(again, who.Username...), byte(len(who.Groups)))
		for _, g := range who.Groups {
			again = append(append(again, byte(len(g)), byte(len(g)>>8)), g...)
		}
		if again = append(again, who.Data...); string(again) != string(b) {
			t.Errorf("read %q, which is %q", b, again)
		}
	})
}
