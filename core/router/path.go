package router

import (
	"bytes"
	"errors"
)

// ErrBadPath is returned for a path that climbs above its root, or holds a bad
// percent-encoding.
var ErrBadPath = errors.New("path leaves its root or has a bad percent-encoding")

// SplitQuery cuts a request target in origin-form (RFC 9112, 3.2.1) at its
// first question mark. query is without it.
func SplitQuery(target []byte) (path, query []byte) {
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		return target[:i], target[i+1:]
	}
	return target, nil
}

// Normalise returns path as it is matched: percent-encoded unreserved
// characters decoded, other encodings in upper case (RFC 3986, 6.2.2), dot
// segments removed (5.2.4) and repeated slashes merged. dots says that a dot
// segment was removed, so that the path as sent must not be forwarded. path
// has no query. The result is path itself if nothing had to change, else it is
// made with alloc, which returns n bytes. %2F stays: it is not a separator.
func Normalise(path []byte, alloc func(n int) []byte) (normal []byte, dots bool, err error) {
	if isNormal(path) {
		return path, false, nil
	}
	decoded, err := decodeUnreserved(alloc(len(path))[:0], path)
	if err != nil {
		return nil, false, err
	}
	return removeDots(decoded)
}

// isNormal is the fast check that holds for nearly every request.
func isNormal(path []byte) bool {
	if len(path) == 0 || path[0] != '/' {
		return len(path) == 1 && path[0] == '*'
	}
	for i, c := range path {
		switch c {
		case '%':
			return false
		case '/', '.':
			if i > 0 && path[i-1] == '/' {
				return false
			}
		}
	}
	return true
}

func decodeUnreserved(out, path []byte) ([]byte, error) {
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c != '%' {
			out = append(out, c)
			continue
		}
		if i+2 >= len(path) {
			return nil, ErrBadPath
		}
		hi, lo := unhex(path[i+1]), unhex(path[i+2])
		if hi < 0 || lo < 0 {
			return nil, ErrBadPath
		}
		i += 2
		if d := byte(hi<<4 | lo); unreserved(d) {
			out = append(out, d)
		} else {
			out = append(out, '%', upperHex[hi], upperHex[lo])
		}
	}
	return out, nil
}

// removeDots works in place: it never writes past what it has read.
func removeDots(p []byte) (out []byte, dots bool, err error) {
	if len(p) == 0 || p[0] != '/' {
		return nil, false, ErrBadPath
	}
	out = p[:0]
	for i := 0; i < len(p); {
		i++ // the slash
		end := bytes.IndexByte(p[i:], '/')
		last := end < 0
		if last {
			end = len(p) - i
		}
		segment := p[i : i+end]
		i += end
		switch {
		case len(segment) == 1 && segment[0] == '.':
			dots = true
			if last {
				out = append(out, '/')
			}
		case len(segment) == 2 && segment[0] == '.' && segment[1] == '.':
			dots = true
			cut := bytes.LastIndexByte(out, '/')
			if cut < 0 {
				return nil, true, ErrBadPath
			}
			out = out[:cut]
			if last {
				out = append(out, '/')
			}
		case len(segment) == 0 && !last: // a repeated slash
		default:
			out = append(out, '/')
			out = append(out, segment...)
		}
	}
	if len(out) == 0 {
		out = append(out, '/')
	}
	return out, dots, nil
}

const upperHex = "0123456789ABCDEF"

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}
