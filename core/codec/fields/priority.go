package fields

import "penstock.dev/penstock/core/codec/rfc9110"

// DefaultUrgency is that of a request which says nothing of it (RFC 9218, 4.1).
const DefaultUrgency = 3

// Urgency returns the urgency that a Priority Field Value names, 0 to 7, the lower
// the more urgent (RFC 9218, 4.1); that of the last u there is. The result is was
// if there is none. Other members, and what is malformed, are passed over.
func Urgency(b []byte, was uint8) uint8 {
	for len(b) > 0 {
		n := member(b)
		m := b[:n]
		b = b[min(n+1, len(b)):]
		for i, c := range m {
			if c == ';' {
				m = m[:i] // parameters
				break
			}
		}
		if m = rfc9110.Trim(m); len(m) == 3 && m[0] == 'u' && m[1] == '=' && '0' <= m[2] && m[2] <= '7' {
			was = m[2] - '0'
		}
	}
	return was
}

// member returns the length of a dictionary's first member (RFC 8941, 3.2).
func member(b []byte) int {
	quoted := false
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '"':
			quoted = !quoted
		case b[i] == '\\' && quoted:
			i++
		case b[i] == ',' && !quoted:
			return i
		}
	}
	return len(b)
}
