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

// ValidConnectTarget reports whether b is what a CONNECT asks for: host and port,
// each of which must be there (RFC 9110, 9.3.6; RFC 9112, 3.2.3). Port 0, which is
// nothing to connect to, is refused, and so is a zero before another digit.
func ValidConnectTarget(b []byte) bool {
	i := bytes.LastIndexByte(b, ':')
	return i > 0 && i+1 < len(b) && b[i+1] != '0' && ValidAuthority(b) && b[len(b)-1] != ']'
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

// ValidTarget reports whether a request of any method but CONNECT can be sent to this
// path and authority: origin-form or "*" (RFC 9110, 7.1), and an authority that is valid
// if there is one.
func ValidTarget(path, authority []byte) bool {
	return len(path) > 0 && (path[0] == '/' || string(path) == "*") && All(path, Target) &&
		(len(authority) == 0 || ValidAuthority(authority))
}
