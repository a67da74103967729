package rfc9110

import "math/bits"

// Class is a set of bytes, as bits: several may be joined.
type Class uint8

// The classes.
const (
	Token    Class = 1 << iota // tchar, RFC 9110, 5.6.2
	Target                     // may stand in a request-target: visible ASCII but '#'
	Hostname                   // reg-name without pct-encoded, RFC 3986, 3.2.2
	Hex
)

// classes is a table, never changed.
var classes = func() (t [256]Class) {
	for c := 0x21; c < 0x7f; c++ {
		if c != '#' {
			t[c] |= Target
		}
	}
	mark := func(chars string, class Class) {
		for i := range len(chars) {
			t[chars[i]] |= class
		}
	}
	const alnum = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	mark(alnum+"!#$%&'*+-.^_`|~", Token)
	mark(alnum+"-._~!$&'()*+,;=", Hostname)
	mark("0123456789abcdefABCDEF", Hex)
	return t
}()

// Is reports whether c is of the class.
func Is(c byte, class Class) bool { return classes[c]&class != 0 }

// Digit reports whether c is a decimal digit.
func Digit(c byte) bool { return '0' <= c && c <= '9' }

// All reports whether every byte of b is of the class.
func All(b []byte, class Class) bool {
	for _, c := range b {
		if classes[c]&class == 0 {
			return false
		}
	}
	return true
}

// ValidToken reports whether b is a token (RFC 9110, 5.6.2).
func ValidToken(b []byte) bool { return len(b) > 0 && All(b, Token) }

// ValidValue reports whether b may be a field value (RFC 9110, 5.5): visible
// ASCII, obs-text, space and tab; no other control byte.
func ValidValue(b []byte) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for len(b) >= 8 {
		x := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
		control := (x - ones*0x20) & ^x & high
		del := x ^ ones*0x7f
		// The lowest bit set is exact; a false one can only follow a true one.
		if bad := control | (del-ones)&^del&high; bad != 0 {
			first := bits.TrailingZeros64(bad) / 8
			if b[first] != '\t' {
				return false
			}
			b = b[first+1:]
			continue
		}
		b = b[8:]
	}
	for _, c := range b {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// Fold reports whether b equals s, which is lower case, ignoring ASCII case.
func Fold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range len(s) {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

// Trim removes optional white space (RFC 9110, 5.6.3) from both ends.
func Trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// Element cuts the first element off a comma-separated list.
func Element(list []byte) (first, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return Trim(list[:i]), list[i+1:]
		}
	}
	return Trim(list), nil
}

// ParseLength reads a Content-Length: digits alone, RFC 9110, 8.6. Numbers of
// more than 18 digits are refused.
func ParseLength(v []byte) (n int64, ok bool) {
	if len(v) == 0 || len(v) > 18 {
		return 0, false
	}
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
