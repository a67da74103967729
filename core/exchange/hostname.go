package exchange

import "bytes"

// Hostname returns an authority (RFC 3986, 3.2) without its port, in lower case and
// without the final dot; an IPv6 address keeps its brackets. It is a part of authority, or
// in a if letters had to be changed.
func Hostname(a *Arena, authority []byte) []byte {
	name := authority
	if i := bytes.LastIndexByte(name, ':'); i >= 0 && bytes.IndexByte(name[i:], ']') < 0 {
		name = name[:i]
	}
	name = bytes.TrimSuffix(name, []byte("."))
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			lower := a.Copy(name)
			for j := i; j < len(lower); j++ {
				if c := lower[j]; 'A' <= c && c <= 'Z' {
					lower[j] = c | 0x20
				}
			}
			return lower
		}
	}
	return name
}
