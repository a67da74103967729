package cache

import "penstock.dev/penstock/core/exchange"

// overridden reports whether fields ask an origin to take the request for another one
// than it is: for another method, target or hostname. An underscore counts as a dash,
// which it is to many origins.
func overridden(h *exchange.Header) bool {
	for _, field := range h.Fields() {
		name := field.Name
		if len(name) < 6 || name[0]|0x20 != 'x' || name[1] != '-' && name[1] != '_' {
			continue
		}
		switch len(name) {
		case 6:
			if dashed(name, "x-host") {
				return true
			}
		case 13:
			if dashed(name, "x-http-method") || dashed(name, "x-rewrite-url") || dashed(name, "x-rewrite-uri") {
				return true
			}
		case 14:
			if dashed(name, "x-original-url") || dashed(name, "x-original-uri") {
				return true
			}
		case 15:
			if dashed(name, "x-original-host") || dashed(name, "x-host-override") {
				return true
			}
		case 17:
			if dashed(name, "x-method-override") {
				return true
			}
		case 20:
			if dashed(name, "x-http-host-override") {
				return true
			}
		case 22:
			if dashed(name, "x-http-method-override") {
				return true
			}
		}
	}
	return false
}

// dashed is exchange.EqualFold with an underscore for any dash of want.
func dashed(name []byte, want string) bool {
	for i, c := range name {
		if c == '_' {
			c = '-'
		}
		if c != want[i] && (c|0x20 != want[i] || c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}
