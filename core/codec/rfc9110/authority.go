package rfc9110

import (
	"bytes"
	"net/netip"
)

// ValidAuthority reports whether b is a host with an optional port (RFC 9110,
// 4.2): a reg-name without escapes, an IPv4 address, or an IPv6 address in
// brackets without a zone; not empty. User information is refused. An empty
// port is allowed, as the grammar has it.
func ValidAuthority(b []byte) bool {
	if len(b) == 0 || len(b) > 255+6 {
		return false
	}
	if b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 || end > 48 {
			return false
		}
		a, err := netip.ParseAddr(string(b[1:end]))
		return err == nil && a.Is6() && a.Zone() == "" && validPort(b[end+1:])
	}
	for i, c := range b {
		if classes[c]&Hostname == 0 {
			return i > 0 && validPort(b[i:])
		}
	}
	return true
}

// validPort reports whether b is empty or a colon and a port.
func validPort(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != ':' || len(b) > 6 {
		return false
	}
	n := 0
	for _, c := range b[1:] {
		if !Digit(c) {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= 65535
}
