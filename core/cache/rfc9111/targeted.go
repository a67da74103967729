package rfc9111

import "penstock.dev/penstock/core/exchange"

// readTargeted reads CDN-Cache-Control as a dictionary (RFC 9651, 4.2.2) and reports
// whether it could be read and has a member (RFC 9213, 2.2). Parameters do not count. A
// value of a kind that the directive does not have counts as in apply: what it forbids
// holds, a lifetime is 0.
func (d *response) readTargeted(h *exchange.Header) bool {
	found := false
	for i := range h.Len() {
		f := h.At(i)
		if !exchange.EqualFold(f.Name, "cdn-cache-control") {
			continue
		}
		p := dictionary{rest: f.Value}
		for p.spaces(" "); len(p.rest) > 0; {
			v, ok := p.member()
			if !ok {
				return false
			}
			found = true
			if v.form == argJunk { // a value of another kind
				v.form, v.arg = argToken, nil
			}
			if v.name != nil {
				d.apply(v)
			}
			if p.spaces(" \t"); len(p.rest) == 0 {
				break
			}
			if !p.byte(',') {
				return false
			}
			if p.spaces(" \t"); len(p.rest) == 0 {
				return false // a trailing comma
			}
		}
	}
	return found
}

// dictionary reads the members of a structured field.
type dictionary struct{ rest []byte }

func (p *dictionary) spaces(set string) {
	for len(p.rest) > 0 && (p.rest[0] == ' ' || len(set) > 1 && p.rest[0] == '\t') {
		p.rest = p.rest[1:]
	}
}

func (p *dictionary) byte(c byte) bool {
	if len(p.rest) == 0 || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// member reads key, value and parameters. A member that is false has no name; one whose
// value is neither true, an integer, a token nor a string is argJunk.
func (p *dictionary) member() (d directive, ok bool) {
	if d.name = p.key(); d.name == nil {
		return d, false
	}
	if p.byte('=') {
		if d, ok = p.value(d); !ok {
			return d, false
		}
	}
	return d, p.parameters()
}

func (p *dictionary) value(d directive) (directive, bool) {
	if p.byte('(') { // an inner list: its items count for nothing
		d.form = argJunk
		for {
			p.spaces(" ")
			if p.byte(')') {
				return d, true
			}
			if _, _, ok := p.bare(); !ok || !p.parameters() {
				return d, false
			}
			if len(p.rest) == 0 || p.rest[0] != ' ' && p.rest[0] != ')' {
				return d, false
			}
		}
	}
	arg, form, ok := p.bare()
	switch {
	case form == argNone && len(arg) == 1 && arg[0] == '0':
		d.name = nil // false
	case form != argNone:
		d.arg = arg
	}
	d.form = form
	return d, ok
}

func (p *dictionary) parameters() bool {
	for p.byte(';') {
		p.spaces(" ")
		if p.key() == nil {
			return false
		}
		if p.byte('=') {
			if _, _, ok := p.bare(); !ok {
				return false
			}
		}
	}
	return true
}

func (p *dictionary) key() []byte {
	b, n := p.rest, 0
	for n < len(b) {
		c := b[n]
		if c >= 'a' && c <= 'z' || c == '*' || n > 0 && (c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.') {
			n++
			continue
		}
		break
	}
	if n == 0 {
		return nil
	}
	p.rest = b[n:]
	return b[:n]
}

// bare reads one item (RFC 9651, 4.2.3.1): argNone is a boolean, its digit in arg;
// argToken an integer or a token; argQuoted a string; argJunk any other kind.
func (p *dictionary) bare() (arg []byte, form argForm, ok bool) {
	b := p.rest
	if len(b) == 0 {
		return nil, 0, false
	}
	switch c := b[0]; {
	case c == '-' || c >= '0' && c <= '9':
		n, form := numberLen(b, 15, 12)
		p.rest = b[max(n, 0):]
		return b[:max(n, 0)], form, n > 0
	case c == '"':
		return p.text()
	case c == '?':
		if len(b) < 2 || b[1] != '0' && b[1] != '1' {
			return nil, 0, false
		}
		p.rest = b[2:]
		return b[1:2], argNone, true
	case c == '*' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
		n := 1
		for n < len(b) && (tchar(b[n]) || b[n] == ':' || b[n] == '/') {
			n++
		}
		p.rest = b[n:]
		return b[:n], argToken, true
	case c == ':':
		return nil, argJunk, p.binary()
	case c == '@':
		n, form := numberLen(b[1:], 15, 0)
		p.rest = b[1+max(n, 0):]
		return nil, argJunk, n > 0 && form == argToken
	case c == '%':
		return nil, argJunk, p.display()
	}
	return nil, 0, false
}

// numberLen returns the length of the number that b begins with: argToken an integer,
// argJunk a decimal; -1 for what is neither.
func numberLen(b []byte, integer, decimal int) (int, argForm) {
	n := 0
	if len(b) > 0 && b[0] == '-' {
		n = 1
	}
	start := n
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	digits := n - start
	if digits == 0 || digits > integer {
		return -1, 0
	}
	if decimal == 0 || n == len(b) || b[n] != '.' {
		return n, argToken
	}
	n++
	point := n
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	if digits > decimal || n == point || n-point > 3 {
		return -1, 0
	}
	return n, argJunk
}

func (p *dictionary) text() ([]byte, argForm, bool) {
	b := p.rest
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			p.rest = b[i+1:]
			return b[1:i], argQuoted, true
		case c == '\\':
			if i++; i == len(b) || b[i] != '"' && b[i] != '\\' {
				return nil, 0, false
			}
		case c < 0x20 || c > 0x7e:
			return nil, 0, false
		}
	}
	return nil, 0, false
}

func (p *dictionary) binary() bool {
	for i, c := range p.rest[1:] {
		switch {
		case c == ':':
			p.rest = p.rest[i+2:]
			return true
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '+', c == '/', c == '=':
		default:
			return false
		}
	}
	return false
}

// display reads a display string (RFC 9651, 4.2.10); whether its bytes are UTF-8 does
// not matter here.
func (p *dictionary) display() bool {
	b := p.rest
	if len(b) < 2 || b[1] != '"' {
		return false
	}
	for i := 2; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			p.rest = b[i+1:]
			return true
		case c == '%':
			if i+2 >= len(b) || !lowerHex(b[i+1]) || !lowerHex(b[i+2]) {
				return false
			}
			i += 2
		case c < 0x20 || c > 0x7e:
			return false
		}
	}
	return false
}

func lowerHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }
