package main

import "strings"

// match reports whether a rule is for a normalised path and a method.
func (r *rule) match(path, method string) bool {
	if r.methods != nil {
		found := false
		for _, m := range r.methods {
			found = found || m == method
		}
		if !found {
			return false
		}
	}
	switch {
	case r.path == "" || r.prefix && r.path == "/":
		return true
	case r.prefix:
		return strings.HasPrefix(path, r.path) && (len(path) == len(r.path) || path[len(r.path)] == '/')
	}
	return path == r.path
}

// normalise returns a path, without a query, as rules match it: what is percent-encoded
// though it need not be is decoded (RFC 3986, 6.2.2). clear is false for a path that
// origins read in different ways: with dot segments, empty segments, backslashes,
// semicolons, encoded separators or percents, or a broken encoding. What such a request
// asks for cannot be told.
func normalise(path string) (normal string, clear bool) {
	plain := true
	for i := range len(path) {
		switch c := path[i]; c {
		case '\\', ';':
			return path, false
		case '%':
			plain = false
		default:
			if c < 0x20 || c == 0x7f {
				return path, false
			}
		}
	}
	if !plain {
		if path, clear = decode(path); !clear {
			return path, false
		}
	}
	for rest := path; rest != ""; {
		if rest[0] == '/' {
			rest = rest[1:]
		}
		var segment string
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			segment, rest = rest[:i], rest[i:]
			if segment == "" {
				return path, false
			}
		} else {
			segment, rest = rest, ""
		}
		if segment == "." || segment == ".." {
			return path, false
		}
	}
	return path, true
}

// decode undoes what needs no encoding, and writes the rest in upper case.
func decode(path string) (string, bool) {
	out := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			out = append(out, path[i])
			continue
		}
		if i+2 >= len(path) {
			return path, false
		}
		c, ok := hex(path[i+1], path[i+2])
		switch {
		case !ok || c < 0x20 || c == 0x7f || strings.IndexByte(`/\;%`, c) >= 0:
			return path, false
		case unreserved(c):
			out = append(out, c)
		default:
			out = append(out, strings.ToUpper(path[i:i+3])...)
		}
		i += 2
	}
	return string(out), true
}

// unreserved: RFC 3986, 2.3.
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func hex(a, b byte) (c byte, ok bool) {
	digit := func(c byte) int {
		switch {
		case '0' <= c && c <= '9':
			return int(c - '0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			return int(c|0x20-'a') + 10
		}
		return -1
	}
	x, y := digit(a), digit(b)
	return byte(x<<4 | y), x >= 0 && y >= 0
}
