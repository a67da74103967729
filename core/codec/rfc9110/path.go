package rfc9110

import "bytes"

// ValidEscapes reports whether every % of the path, not of the query, starts
// an escape (RFC 3986, 2.1).
func ValidEscapes(path []byte) bool {
	i := bytes.IndexByte(path, '%')
	if i < 0 {
		return true
	}
	if q := bytes.IndexByte(path, '?'); q >= 0 {
		path = path[:q]
	}
	for ; i < len(path); i++ {
		if path[i] != '%' {
			continue
		}
		if i+2 >= len(path) || classes[path[i+1]]&classes[path[i+2]]&Hex == 0 {
			return false
		}
	}
	return true
}

// Backslash reports whether the path, not the query, has one: some upstreams take it
// for a slash, past what the path was matched and guarded by.
func Backslash(path []byte) bool {
	i := bytes.IndexByte(path, '\\')
	return i >= 0 && bytes.IndexByte(path[:i], '?') < 0
}
