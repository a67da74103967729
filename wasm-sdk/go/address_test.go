package sdk

import (
	"net/netip"
	"testing"
)

func TestAddressesAreRead(t *testing.T) {
	mapped := "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x07"
	for b, want := range map[string]string{
		"\xc0\x00\x02\x07": "192.0.2.7", "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01": "2001:db8::1", mapped: "192.0.2.7",
		"": "", "\x7f": "", "\x7f\x00\x00": "", "\x7f\x00\x00\x01\x00": "", mapped + "\x00": "",
	} {
		checkAddress(t, b, want)(readAddress([]byte(b)))
	}
	b := []byte(mapped)
	if n := testing.AllocsPerRun(100, func() { readAddress(b) }); n != 0 {
		t.Errorf("%v allocations; want 0", n)
	}
}

func checkAddress(t *testing.T, of, want string) func(got netip.Addr, ok bool) {
	return func(got netip.Addr, ok bool) {
		t.Helper()
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%q: got %v, %v; want %q", of, got, ok, want)
		}
	}
}

func TestAddressesAreParsed(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.7:40000": "192.0.2.7", "192.0.2.7:0": "192.0.2.7", "192.0.2.7": "192.0.2.7", "0.0.0.0:65535": "0.0.0.0", "255.255.255.255": "255.255.255.255",
		"[2001:db8::1]:40000": "2001:db8::1", "[2001:DB8::1]": "2001:db8::1", "2001:db8::1": "2001:db8::1", "[::]:1": "::", "::": "::", "1::": "1::", "::1": "::1",
		"1:2:3:4:5:6:7:8": "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::": "1:2:3:4:5:6:7:0", "::2:3:4:5:6:7:8": "0:2:3:4:5:6:7:8", "1::8": "1::8", "0001:0:0:0:0:0:0:0abc": "1::abc",
		"[::ffff:192.0.2.7]:80": "192.0.2.7", "::ffff:c000:207": "192.0.2.7", "64:ff9b::192.0.2.7": "64:ff9b::c000:207", "1:2:3:4:5:6:192.0.2.7": "1:2:3:4:5:6:c000:207",

		"": "", "@": "", "\xff": "", "/run/socket": "", "localhost:80": "", " 192.0.2.7": "", "192.0.2.7 ": "", "192.0.2": "", "192.0.2.7.1": "", "192.0.2.256": "", "192.0.2.07": "", "192.0.2.": "", "192..2.7": "", "0300.0.2.7": "", "0xc0.0.2.7": "", "192.0.2.-7": "",
		"192.0.2.7:": "", "192.0.2.7:65536": "", "192.0.2.7:+80": "", "192.0.2.7:80 ": "", "192.0.2.7:80:": "", "[192.0.2.7]:80": "", "[192.0.2.7]": "", ":80": "",
		"2001:db8::1:40000": "", "[2001:db8::1]:": "", "[2001:db8::1]:65536": "", "[2001:db8::1": "", "2001:db8::1]": "", "[2001:db8::1]80": "", "[[2001:db8::1]]:80": "", "[]": "", "[]:80": "", "[": "", "[fe80::1%eth0]:80": "", "fe80::1%1": "",
		":": "", ":::": "", "1": "", "1:": "", ":1": "", "1:2:3:4:5:6:7": "", "1:2:3:4:5:6:7:8:9": "", "1:2:3:4:5:6:7:8::": "", "::1:2:3:4:5:6:7:8": "", "1::2::3": "", "1:::2": "", "1:2:3:4:5:6:7:": "", "12345::": "", "g::": "", "-1::": "",
		"1:2:3:4:5:6:7:192.0.2.7": "", "1:2:3:4:5:6::192.0.2.7": "", "::192.0.2.7:1": "", "::192.0.2": "", "::192.0.2.256": "", "::ffff:192.0.2.07": "",
	} {
		checkAddress(t, text, want)(parseAddress(text))
	}
}

func TestOnlyAMissingPropertyLeavesItToTheSource(t *testing.T) {
	const v4 = "\xc0\x00\x02\x07"
	source := func() string { return "192.0.2.9:80" }
	checkAddress(t, "known", "192.0.2.7")(clientAddress([]byte(v4), nil, source))
	checkAddress(t, "known to be unknown", "")(clientAddress(nil, nil, source))
	checkAddress(t, "of another length", "")(clientAddress([]byte(v4+"\x00"), nil, source))
	checkAddress(t, "no such property", "192.0.2.9")(clientAddress(nil, ErrNotFound, source))
	checkAddress(t, "refused", "")(clientAddress(nil, ErrBadArgument, source))
	checkAddress(t, "neither", "")(clientAddress(nil, ErrNotFound, func() string { return "" }))
	b := []byte(v4)
	if n := testing.AllocsPerRun(100, func() { clientAddress(b, nil, source) }); n != 0 {
		t.Errorf("%v allocations; want 0", n)
	}
}
