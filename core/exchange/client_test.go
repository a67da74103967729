package exchange

import (
	"net/netip"
	"slices"
	"testing"
)

func TestFindClient(t *testing.T) {
	const remote = "[::ffff:192.0.2.1]:40000"
	tests := []struct {
		name    string
		trusted bool
		lines   []string // of X-Forwarded-For
		want    string   // empty: the zero Addr
		left    []string // lines
	}{
		{"nobody said anything", true, nil, "192.0.2.1", nil},
		{"an empty field", true, []string{""}, "", []string{""}},
		{"a stranger's", false, []string{"203.0.113.9"}, "192.0.2.1", []string{"203.0.113.9"}},
		{"one", true, []string{"203.0.113.9"}, "203.0.113.9", []string{"203.0.113.9"}},
		{"a list", true, []string{"10.0.0.1, 203.0.113.9"}, "203.0.113.9", []string{"10.0.0.1, 203.0.113.9"}},
		{"the client's line and the proxy's", true, []string{"10.0.0.1", "203.0.113.9"}, "203.0.113.9", []string{"10.0.0.1, 203.0.113.9"}},
		{"empty lines", true, []string{"", "10.0.0.1", "", "203.0.113.9", ""}, "203.0.113.9", []string{"10.0.0.1, 203.0.113.9"}},
		{"nothing but empty lines", true, []string{"", ""}, "", []string{""}},
		{"mapped", true, []string{"::ffff:203.0.113.9"}, "203.0.113.9", []string{"::ffff:203.0.113.9"}},
		{"IPv6", true, []string{"2001:db8::1"}, "2001:db8::1", []string{"2001:db8::1"}},
		{"in brackets", true, []string{"[2001:db8::1]"}, "2001:db8::1", []string{"[2001:db8::1]"}},
		{"with a port", true, []string{"203.0.113.9:80"}, "203.0.113.9", []string{"203.0.113.9:80"}},
		{"IPv6 with a port", true, []string{"[2001:db8::1]:80"}, "2001:db8::1", []string{"[2001:db8::1]:80"}},
		{"with a zone", true, []string{"fe80::1%eth0"}, "fe80::1", []string{"fe80::1%eth0"}},
		{"spaces", true, []string{"10.0.0.1,\t203.0.113.9 "}, "203.0.113.9", []string{"10.0.0.1,\t203.0.113.9 "}},
		{"unknown", true, []string{"10.0.0.1, unknown"}, "", []string{"10.0.0.1, unknown"}},
		{"nothing behind the comma", true, []string{"10.0.0.1,"}, "", []string{"10.0.0.1,"}},
		{"half a bracket", true, []string{"[2001:db8::1"}, "", []string{"[2001:db8::1"}},
		{"IPv4 in brackets", true, []string{"[10.0.0.1]"}, "", []string{"[10.0.0.1]"}},
		{"two without a comma", true, []string{"10.0.0.1 10.0.0.1"}, "", []string{"10.0.0.1 10.0.0.1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			x := &Exchange{Conn: &Conn{Remote: netip.MustParseAddrPort(remote)}}
			x.Request.Header.Add([]byte("Accept"), []byte("*/*"))
			for _, line := range test.lines {
				x.Request.Header.Add([]byte("x-forwarded-for"), []byte(line))
			}
			x.FindClient(test.trusted)
			if got := x.ClientAddress; got.IsValid() != (test.want != "") || got.IsValid() && got.String() != test.want {
				t.Errorf("got %v; want %q", got, test.want)
			}
			var left []string
			for _, f := range x.Request.Header.Fields() {
				if EqualFold(f.Name, "x-forwarded-for") {
					left = append(left, string(f.Value))
				}
			}
			if !slices.Equal(left, test.left) {
				t.Errorf("left %q; want %q", left, test.left)
			}
		})
	}
}

// FuzzFindClient: a field that a trusted proxy sent tells of its last element or of nobody,
// never of the connection and never of what stands before.
func FuzzFindClient(f *testing.F) {
	f.Add("10.0.0.1", "203.0.113.9")
	f.Add("10.0.0.1,", "[2001:db8::1]:80")
	f.Fuzz(func(t *testing.T, first, second string) {
		last := netip.MustParseAddr("203.0.113.77")
		for _, suffix := range []string{last.String(), last.String() + ":443", "::ffff:" + last.String()} {
			x := &Exchange{Conn: &Conn{Remote: netip.MustParseAddrPort("192.0.2.1:1")}}
			for _, line := range []string{first, second, suffix} {
				x.Request.Header.Add([]byte("X-Forwarded-For"), []byte(line))
			}
			x.FindClient(true)
			if x.ClientAddress != last {
				t.Errorf("%q, %q, %q: got %v", first, second, suffix, x.ClientAddress)
			}
		}
	})
}
