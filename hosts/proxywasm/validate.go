package proxywasm

// What a guest writes goes onto the wire: these checks keep it from ending a
// line or a message (RFC 9110, 5.5 and 5.6.2).

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
	return len(b) == 0 || b[0] != ' ' && b[0] != '\t' && b[len(b)-1] != ' ' && b[len(b)-1] != '\t'
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

// isPrintable allows what may stand in a list of names: no comma, no quote.
func isPrintable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= 0x20 || c >= 0x7f || c == ',' || c == '"' {
			return false
		}
	}
	return s != "" && len(s) <= 256
}
