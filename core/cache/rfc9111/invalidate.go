package rfc9111

import (
	"bytes"

	"penstock.dev/penstock/core/exchange"
)

// Invalidates reports whether an answer makes stored responses of the request's URI and
// of Targets stale (RFC 9111, 4.4): the method is not known to be safe, and the status is
// 2xx or 3xx.
func Invalidates(method []byte, status int) bool {
	return status >= 200 && status <= 399 && !safe(method)
}

// safe lists the methods that are registered as safe; CONNECT is no request for a
// resource.
func safe(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "REPORT", "SEARCH", "QUERY":
		return true
	}
	return false
}

// Targets calls yield with the path and query of each URI in Location and
// Content-Location of an answer that is of the request's origin, so that these are
// invalidated too; other origins are passed over (RFC 9111, 4.4). References are resolved
// against the request's path (RFC 3986, 5.2); what cannot be read is passed over. At most
// four are looked at. A path that is yielded may borrow from h.
func Targets(scheme, authority, path []byte, h *exchange.Header, yield func(path []byte)) {
	seen := 0
	for i := range h.Len() {
		f := h.At(i)
		if !exchange.EqualFold(f.Name, "location") && !exchange.EqualFold(f.Name, "content-location") {
			continue
		}
		if seen++; seen > 4 {
			return
		}
		if target, ok := resolve(scheme, authority, path, f.Value); ok {
			yield(target)
		}
	}
}

// resolve returns the path and query that ref leads to if it stays in the origin.
func resolve(scheme, authority, base, ref []byte) ([]byte, bool) {
	for _, c := range ref {
		if c <= ' ' || c == 0x7f || c == '\\' {
			return nil, false
		}
	}
	ref, _, _ = bytes.Cut(ref, []byte{'#'})
	if n := schemeLen(ref); n > 0 {
		if !exchange.EqualFold(ref[:n], scheme) {
			return nil, false
		}
		if ref = ref[n+1:]; !bytes.HasPrefix(ref, []byte("//")) {
			return nil, false
		}
	}
	absolute := false
	if bytes.HasPrefix(ref, []byte("//")) {
		ref = ref[2:]
		n := bytes.IndexAny(ref, "/?")
		if n < 0 {
			n = len(ref)
		}
		if !sameAuthority(scheme, authority, ref[:n]) {
			return nil, false
		}
		ref, absolute = ref[n:], true
	}
	query := bytes.IndexByte(ref, '?')
	if query < 0 {
		query = len(ref)
	}
	p := ref[:query]
	basePath, _, _ := bytes.Cut(base, []byte{'?'})
	switch {
	case len(p) > 0 && p[0] == '/':
	case absolute && len(p) == 0:
		p = []byte{'/'}
	case len(p) == 0:
		if query == len(ref) {
			return base, len(base) > 0
		}
		p = basePath
	default:
		p = append(bytes.Clone(basePath[:bytes.LastIndexByte(basePath, '/')+1]), p...)
	}
	if len(p) == 0 || p[0] != '/' { // the request's was "*"
		return nil, false
	}
	return append(removeDots(p), ref[query:]...), true
}

// schemeLen returns the length of the scheme that ref begins with; 0: it has none.
func schemeLen(ref []byte) int {
	for i, c := range ref {
		switch {
		case c == ':':
			return i
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		case i > 0 && (c >= '0' && c <= '9' || c == '+' || c == '-' || c == '.'):
		default:
			return 0
		}
	}
	return 0
}

// sameAuthority compares hostnames in any case and ports with the scheme's default.
func sameAuthority(scheme, a, b []byte) bool {
	return len(b) > 0 && exchange.EqualFold(withoutPort(scheme, a), withoutPort(scheme, b))
}

// withoutPort cuts the scheme's default port off, or an empty one.
func withoutPort(scheme, authority []byte) []byte {
	port := ":80"
	if exchange.EqualFold(scheme, "https") {
		port = ":443"
	}
	if b, ok := bytes.CutSuffix(authority, []byte(port)); ok {
		return b
	}
	b, _ := bytes.CutSuffix(authority, []byte{':'})
	return b
}

// removeDots removes dot segments from an absolute path (RFC 3986, 5.2.4).
func removeDots(p []byte) []byte {
	out := make([]byte, 0, len(p))
	for len(p) > 0 {
		n := bytes.IndexByte(p[1:], '/') + 1 // p begins with a slash
		if n == 0 {
			n = len(p)
		}
		segment, last := p[1:n], n == len(p)
		p = p[n:]
		switch string(segment) {
		case ".", "..":
			if len(segment) == 2 {
				out = out[:max(bytes.LastIndexByte(out, '/'), 0)]
			}
			if last {
				out = append(out, '/')
			}
		default:
			out = append(append(out, '/'), segment...)
		}
	}
	return out
}
