package rfc9110

// Identity reports whether a field says who the client is or how it came: such
// fields are believed from trusted proxies only. Names are compared without
// regard to case, an underscore counting as a dash: X-Forwarded-*, Forwarded,
// X-Real-IP, X-Envoy-*, Client-Cert*, X-Consumer-*.
func Identity(name []byte) bool {
	if len(name) < 9 {
		return false
	}
	switch name[0] | 0x20 {
	case 'x':
		switch name[2] | 0x20 {
		case 'f':
			return dashed(name, "x-forwarded-", true)
		case 'r':
			return dashed(name, "x-real-ip", false)
		case 'e':
			return dashed(name, "x-envoy-", true)
		case 'c':
			return dashed(name, "x-consumer-", true)
		}
	case 'f':
		return dashed(name, "forwarded", false)
	case 'c':
		return dashed(name, "client-cert", true)
	}
	return false
}

// Consumer reports whether a field is one of X-Consumer-*, as Identity compares names:
// the proxy alone says so who the consumer is.
func Consumer(name []byte) bool { return dashed(name, "x-consumer-", true) }

// dashed reports whether name is s, or starts with it, an underscore counting
// as a dash.
func dashed(name []byte, s string, prefix bool) bool {
	if len(name) < len(s) || !prefix && len(name) != len(s) {
		return false
	}
	for i := range len(s) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		} else if c == '_' {
			c = '-'
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

// lower copies name into buf in lower case; ok is false if it does not fit,
// which no name that we know is.
func lower(buf *[32]byte, name []byte) (b []byte, ok bool) {
	if len(name) > len(buf) {
		return nil, false
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		buf[i] = c
	}
	return buf[:len(name)], true
}

// Protected reports whether Connection may not take the field away: it frames,
// routes, authenticates or says who the client is.
func Protected(name []byte) bool {
	var buf [32]byte
	b, ok := lower(&buf, name)
	if !ok {
		return Identity(name)
	}
	switch string(b) {
	case "host", "content-length", "content-type", "content-encoding", "content-range", "transfer-encoding",
		"authorization", "proxy-authorization", "cookie", "set-cookie", "cache-control", "date", "via", "vary",
		"range", "origin", "traceparent", "location", "www-authenticate":
		return true
	}
	return Identity(name)
}

// Hop reports whether the field belongs to one connection or to the framing,
// so that the codec alone writes it.
func Hop(name []byte) bool {
	switch len(name) {
	case 2:
		return Fold(name, "te")
	case 4:
		return Fold(name, "host")
	case 6:
		return Fold(name, "expect")
	case 7:
		return Fold(name, "upgrade")
	case 10:
		return Fold(name, "connection") || Fold(name, "keep-alive")
	case 14:
		return Fold(name, "content-length")
	case 16:
		return Fold(name, "proxy-connection")
	case 17:
		return Fold(name, "transfer-encoding")
	}
	return false
}

// MayTrail reports whether a field may come in a trailer section: nothing that
// frames, routes, authenticates or changes how the content is read (RFC 9110, 6.5.1).
func MayTrail(name []byte, trusted bool) bool {
	if Hop(name) || !trusted && Identity(name) {
		return false
	}
	var buf [32]byte
	b, ok := lower(&buf, name)
	if !ok {
		return true
	}
	switch string(b) {
	case "trailer", "authorization", "proxy-authorization", "proxy-authenticate", "www-authenticate",
		"cookie", "set-cookie", "content-encoding", "content-type", "content-range", "cache-control",
		"max-forwards", "pragma", "range", "if-match", "if-none-match", "if-modified-since",
		"if-unmodified-since", "if-range", "age", "expires", "date", "location", "retry-after", "vary",
		"warning", "via", "set-cookie2", "origin", "traceparent":
		return false
	}
	return true
}
