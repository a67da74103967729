package httpwasm

import "penstock.dev/penstock/core/exchange"

// What a guest writes goes onto the wire: these checks keep it from ending a
// line or a message (RFC 9110, 5.5 and 5.6.2).

const (
	maxNameBytes  = 1 << 10
	maxValueBytes = 64 << 10
	maxFields     = 1024
	maxCopied     = 4 << 20 // of one exchange, in bytes
)

func isToken(b []byte) bool {
	for _, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '!', c == '#', c == '$', c == '%', c == '&', c == '\'', c == '*', c == '+', c == '-', c == '.', c == '^', c == '_', c == '`', c == '|', c == '~':
		default:
			return false
		}
	}
	return len(b) > 0
}

// isValue allows visible characters, obs-text, spaces and tabs within.
func isValue(b []byte) bool {
	for _, c := range b {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return len(b) == 0 || !isSpace(b[0]) && !isSpace(b[len(b)-1])
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// trim takes leading and trailing white space away, which is not part of a value.
func trim(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// isPath allows an origin-form target (RFC 9112, 3.2.1).
func isPath(b []byte) bool {
	if len(b) == 0 || b[0] != '/' && (len(b) != 1 || b[0] != '*') {
		return false
	}
	for _, c := range b {
		if c <= 0x20 || c >= 0x7f || c == '#' {
			return false
		}
	}
	return true
}

// isAuthority allows host[:port] (RFC 3986, 3.2), roughly: the codec is exact.
func isAuthority(b []byte) bool {
	for _, c := range b {
		if c <= 0x20 || c >= 0x7f || c == '/' || c == '?' || c == '#' || c == '@' || c == '\\' || c == '"' || c == '<' || c == '>' {
			return false
		}
	}
	return len(b) > 0 && len(b) <= 512
}

// isFraming names fields that a guest cannot set: how a message is framed and
// what a connection does is decided by the codec.
func isFraming(name []byte) bool {
	switch len(name) {
	case 2:
		return exchange.EqualFold(name, "te")
	case 7:
		return exchange.EqualFold(name, "upgrade") || exchange.EqualFold(name, "trailer")
	case 10:
		return exchange.EqualFold(name, "connection") || exchange.EqualFold(name, "keep-alive")
	case 14:
		return exchange.EqualFold(name, "content-length")
	case 16:
		return exchange.EqualFold(name, "proxy-connection")
	case 17:
		return exchange.EqualFold(name, "transfer-encoding")
	}
	return false
}

// bodyless reports whether a response of that status has no content.
func bodyless(status int) bool { return status == 204 || status == 304 }
