package rfc9111

import (
	"bytes"

	"penstock.dev/penstock/core/exchange"
)

// maxChoices bounds the members of a field that are put in order; more stay as they are.
const maxChoices = 32

// choice is one member of a field that negotiates (RFC 9110, 12.5).
type choice struct {
	value  []byte // the range with its parameters, without the weight
	weight int    // thousandths
}

// before is the order of choices.
func (c choice) before(d choice) bool {
	return c.weight > d.weight || c.weight == d.weight && bytes.Compare(c.value, d.value) < 0
}

func negotiated(name string) bool {
	switch name {
	case "accept", "accept-charset", "accept-encoding", "accept-language":
		return true
	}
	return false
}

// appendChoices appends the list in one form for all that mean the same: empty members
// and repetitions gone, the range and the names of its parameters in lower case, a weight
// of 1 left out and others without trailing zeros, greater weights first and equal ones in
// the order of their bytes. ok is false for a list that breaks the grammar, has more than
// maxChoices members or weighs one range twice. list is overwritten.
func appendChoices(dst, list []byte, name string) (out []byte, ok bool) {
	var choices [maxChoices]choice // no append, copy or package slices: they would put list on the heap
	n := 0
	for more := len(list) > 0; more; {
		var member []byte
		if member, list, more = cutElement(list); len(member) == 0 {
			continue
		}
		c, ok := parseChoice(member, name == "accept")
		if !ok || n == maxChoices {
			return dst, false
		}
		at, doubled := n, false
		for i := range choices[:n] {
			if bytes.Equal(choices[i].value, c.value) {
				if choices[i].weight != c.weight {
					return dst, false
				}
				doubled = true
			}
			if at == n && c.before(choices[i]) {
				at = i
			}
		}
		if doubled {
			continue
		}
		for i := n; i > at; i-- {
			choices[i] = choices[i-1]
		}
		choices[at] = c
		n++
	}
	for i, c := range choices[:n] {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendWeight(append(dst, c.value...), c.weight)
	}
	return dst, true
}

// appendWeight appends ";q=0.5", or nothing for 1.
func appendWeight(dst []byte, weight int) []byte {
	switch weight {
	case 1000:
		return dst
	case 0:
		return append(dst, ";q=0"...)
	}
	dst = append(dst, ";q=0."...)
	for unit := 100; weight > 0; unit /= 10 {
		dst = append(dst, '0'+byte(weight/unit))
		weight %= unit
	}
	return dst
}

// parseChoice reads one member: a range, parameters if it is a media range, and a weight
// at its end. c.value is made in the place of b.
func parseChoice(b []byte, media bool) (c choice, ok bool) {
	n := tokenLen(b)
	if media {
		if n == 0 || n == len(b) || b[n] != '/' {
			return c, false
		}
		subtype := tokenLen(b[n+1:])
		if subtype == 0 {
			return c, false
		}
		n += 1 + subtype
	}
	if n == 0 {
		return c, false
	}
	c.weight = 1000
	c.value = appendLower(b[:0], b[:n])
	for b = b[n:]; ; {
		if b = trim(b); len(b) == 0 {
			return c, true
		}
		if b[0] != ';' {
			return c, false
		}
		b = trim(b[1:])
		n := tokenLen(b)
		if n == 0 || n == len(b) || b[n] != '=' {
			return c, false
		}
		name, rest := b[:n], b[n+1:]
		value := tokenLen(rest)
		if len(rest) > 0 && rest[0] == '"' {
			value = quotedEnd(rest)
		}
		if value < 1 {
			return c, false
		}
		if exchange.EqualFold(name, "q") {
			c.weight, ok = parseWeight(rest[:value])
			return c, ok && value == len(rest) // nothing follows a weight
		}
		if !media {
			return c, false
		}
		// What is written never passes what was read.
		c.value = appendLower(append(c.value, ';'), name)
		c.value = append(append(c.value, '='), rest[:value]...)
		b = rest[value:]
	}
}

// parseWeight reads a qvalue (RFC 9110, 12.4.2) in thousandths.
func parseWeight(b []byte) (int, bool) {
	if len(b) == 0 || len(b) > 5 || b[0] != '0' && b[0] != '1' || len(b) > 1 && b[1] != '.' {
		return 0, false
	}
	n, unit := int(b[0]-'0')*1000, 100
	for i := 2; i < len(b); i++ {
		if b[i] < '0' || b[i] > '9' {
			return 0, false
		}
		n += int(b[i]-'0') * unit
		unit /= 10
	}
	return n, n <= 1000
}

func appendLower(dst, b []byte) []byte {
	for _, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
