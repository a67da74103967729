package rfc9111

import (
	"bytes"

	"penstock.dev/penstock/core/exchange"
)

// response is the cache directives of a response (RFC 9111, 5.2.2).
type response struct {
	said     bool // there is one at all
	targeted bool // they are CDN-Cache-Control's: Cache-Control and Expires do not count

	noStore, noCache, private, public       bool
	mustRevalidate, mustUnderstand          bool // mustRevalidate: or proxy-revalidate, or s-maxage
	mustRevalidateAllows, sMaxAgeAllows     bool // well formed, so that they permit (3.5)
	mustUnderstandAllows                    bool // well formed, so that no-store may not count (5.2.2.3)
	immutable                               bool
	maxAge, sMaxAge, staleWhile, staleError Seconds
	noCacheFields, privateFields            nameList
}

// maxNames bounds the fields that no-cache or private name; with more the directive
// counts as the one without names.
const maxNames = 16

// nameList is the names of fields, borrowed. Most responses name none.
type nameList struct{ names [][]byte }

// add takes the names of a directive's argument and reports whether all of them are
// names, at least one, and none too many.
func (l *nameList) add(list []byte) bool {
	found := false
	for len(list) > 0 {
		name, rest, _ := bytes.Cut(list, []byte{','})
		list = rest
		if name = trim(name); len(name) == 0 {
			continue
		}
		if tokenLen(name) != len(name) || len(l.names) == maxNames {
			return false
		}
		l.names = append(l.names, name)
		found = true
	}
	return found
}

func (l *nameList) has(name []byte) bool {
	for _, n := range l.names {
		if exchange.EqualFold(name, n) {
			return true
		}
	}
	return false
}

// read reads the directives that hold: CDN-Cache-Control's if it can be read and says
// anything (RFC 9213, 2.2), else Cache-Control's.
func (d *response) read(h *exchange.Header) {
	size, targeted := 0, false
	for i := range h.Len() {
		switch f := h.At(i); {
		case exchange.EqualFold(f.Name, "cdn-cache-control"):
			targeted = true
			size += len(f.Value)
		case exchange.EqualFold(f.Name, "cache-control"):
			size += len(f.Value)
		}
	}
	if size == 0 {
		return
	}
	if size > maxControlBytes {
		*d = response{said: true, noStore: true}
		return
	}
	if targeted {
		if d.readTargeted(h) {
			d.said, d.targeted = true, true
			return
		}
		*d = response{}
	}
	for i := range h.Len() {
		f := h.At(i)
		if !exchange.EqualFold(f.Name, "cache-control") {
			continue
		}
		for rest := f.Value; len(rest) > 0; {
			var v directive
			if v, rest = nextDirective(rest); v.name != nil || v.arg != nil {
				d.said = true
				d.apply(v)
			}
		}
	}
}

// apply takes one directive in. Those that forbid hold whatever argument they have,
// those that permit only without one.
func (d *response) apply(v directive) {
	if v.form == argJunk {
		d.applyJunk(v.arg)
		return
	}
	n, valid := v.seconds() // invalid: 0, which is stale
	switch name := v.name; {
	case exchange.EqualFold(name, "max-age"):
		d.maxAge.least(n)
	case exchange.EqualFold(name, "s-maxage"):
		// 5.2.2.10: it means proxy-revalidate too.
		d.sMaxAgeAllows = valid && (d.sMaxAge == 0 || d.sMaxAgeAllows)
		d.sMaxAge.least(n)
		d.mustRevalidate = true
	case exchange.EqualFold(name, "no-store"):
		d.noStore = true
	case exchange.EqualFold(name, "no-cache"):
		d.noCache = d.noCache || v.form == argNone || !d.noCacheFields.add(v.arg)
	case exchange.EqualFold(name, "private"):
		d.private = d.private || v.form == argNone || !d.privateFields.add(v.arg)
	case exchange.EqualFold(name, "public"):
		d.public = d.public || v.form == argNone
	case exchange.EqualFold(name, "must-revalidate"):
		d.mustRevalidate = true
		d.mustRevalidateAllows = d.mustRevalidateAllows || v.form == argNone
	case exchange.EqualFold(name, "proxy-revalidate"):
		d.mustRevalidate = true
	case exchange.EqualFold(name, "must-understand"):
		d.mustUnderstand = true
		d.mustUnderstandAllows = d.mustUnderstandAllows || v.form == argNone
	case exchange.EqualFold(name, "stale-while-revalidate"):
		d.staleWhile.least(n)
	case exchange.EqualFold(name, "stale-if-error"):
		d.staleError.least(n)
	case exchange.EqualFold(name, "immutable"):
		d.immutable = d.immutable || v.form == argNone
	}
}

// applyJunk takes what breaks the grammar as saying every prohibition that it mentions,
// and as stale if it mentions a lifetime: "private; max-age=60" is private.
func (d *response) applyJunk(b []byte) {
	d.noStore = d.noStore || mentions(b, "no-store")
	d.noCache = d.noCache || mentions(b, "no-cache")
	d.private = d.private || mentions(b, "private")
	if mentions(b, "max-age") {
		d.maxAge.least(NewSeconds(0))
	}
	if mentions(b, "s-maxage") {
		d.sMaxAge.least(NewSeconds(0))
		d.sMaxAgeAllows = false
		d.mustRevalidate = true
	}
	if mentions(b, "must-revalidate") || mentions(b, "proxy-revalidate") {
		d.mustRevalidate = true
	}
	if mentions(b, "must-understand") {
		d.mustUnderstand = true
	}
}

// trim cuts white space off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && space(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && space(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}
