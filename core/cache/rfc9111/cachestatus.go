package rfc9111

import (
	"strconv"
	"time"
)

// Why a request was forwarded: Status.Fwd (RFC 9211, 2.2).
const (
	FwdBypass   = "bypass"    // the cache was told not to handle it
	FwdMethod   = "method"    // the method asks for it
	FwdURIMiss  = "uri-miss"  // nothing is stored for the URI
	FwdVaryMiss = "vary-miss" // something is, but no variant that matches
	FwdMiss     = "miss"      // one of these two
	FwdRequest  = "request"   // what is stored is fresh, but the request asks for it
	FwdStale    = "stale"     // what is stored is stale
	FwdPartial  = "partial"   // what is stored lacks some of the bytes
)

// Status is what a cache did with one request: a member of Cache-Status (RFC 9211).
type Status struct {
	// Hit: it was answered without being forwarded; Fwd must be empty then.
	Hit bool
	// Fwd is why it was forwarded, one of the constants above; empty: it was not.
	Fwd string
	// FwdStatus is what the next hop answered; 0: it is not said.
	FwdStatus int
	// TTL is how much longer the response is fresh, negative if it is stale; said if
	// HasTTL.
	TTL    time.Duration
	HasTTL bool
	// Stored: the answer was stored; Collapsed: the request was joined with another.
	Stored, Collapsed bool
	// Key is the key of the stored response, Detail what else there is to say; empty:
	// it is not said. Neither is what cannot be sent: other than printable ASCII.
	Key, Detail string
}

// AppendTo appends the member, named for the cache: `Penstock; hit; ttl=376`. A name that
// is no token is quoted. It allocates nothing beyond what dst needs.
func (s *Status) AppendTo(dst []byte, name string) []byte {
	dst = appendItem(dst, name)
	if s.Hit {
		dst = append(dst, "; hit"...)
	} else if s.Fwd != "" {
		dst = append(append(dst, "; fwd="...), s.Fwd...)
	}
	if s.FwdStatus > 0 {
		dst = strconv.AppendInt(append(dst, "; fwd-status="...), int64(s.FwdStatus), 10)
	}
	if s.HasTTL {
		seconds := s.TTL / time.Second
		if s.TTL%time.Second < 0 {
			seconds-- // half a second over is stale: -1, not 0
		}
		dst = strconv.AppendInt(append(dst, "; ttl="...), int64(seconds), 10)
	}
	if s.Stored {
		dst = append(dst, "; stored"...)
	}
	if s.Collapsed {
		dst = append(dst, "; collapsed"...)
	}
	if s.Key != "" && printable(s.Key) {
		dst = appendString(append(dst, "; key="...), s.Key)
	}
	if s.Detail != "" && printable(s.Detail) {
		dst = appendItem(append(dst, "; detail="...), s.Detail)
	}
	return dst
}

// appendItem appends a token, or a string if s is none (RFC 9651, 3.3.3, 3.3.4).
func appendItem(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		first := c == '*' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !first && (i == 0 || !tchar(c) && c != ':' && c != '/') {
			return appendString(dst, s)
		}
	}
	if s == "" {
		return appendString(dst, s)
	}
	return append(dst, s...)
}

func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
