package rfc9111

import (
	"bytes"
	"time"

	"penstock.dev/penstock/core/exchange"
)

// Conditional evaluates a client's conditional request against the response that answers
// it (RFC 9110, 13.2.2; RFC 9111, 4.3.2), for GET and HEAD. It returns 0: send the
// response, and look at Range; 304: it is what the client has; or 412: a condition of the
// client does not hold. current: the origin has just answered with it, without being told
// the conditions. Otherwise If-Match and If-Unmodified-Since do not count, which only an
// origin can judge: it may have by now what the client asks for. Conditions on a response
// that is no 2xx do not count either (13.2.1). A date is compared with Last-Modified, or
// with Date or the time of reception without one. It allocates nothing.
func Conditional(method []byte, q, stored *exchange.Header, f *Facts, current bool) int {
	if m := string(method); m != "GET" && m != "HEAD" || f.Status < 200 || f.Status > 299 {
		return 0
	}
	if current && !unchanged(q, stored, f) {
		return 412
	}
	var noneMatch, modified bool
	for i := range q.Len() {
		switch name := q.At(i).Name; len(name) {
		case 13:
			noneMatch = noneMatch || exchange.EqualFold(name, "if-none-match")
		case 17:
			modified = modified || exchange.EqualFold(name, "if-modified-since")
		}
	}
	if noneMatch {
		if listed(q, "if-none-match", etagOf(stored), equalWeak) {
			return 304
		}
	} else if modified {
		if t, ok := condition(q, "if-modified-since", f); ok && !f.changed(stored).After(t) {
			return 304
		}
	}
	return 0
}

// unchanged reports whether If-Match, or without it If-Unmodified-Since, holds for the
// response; so it is without either.
func unchanged(q, stored *exchange.Header, f *Facts) bool {
	var match, unmodified bool
	for i := range q.Len() {
		switch name := q.At(i).Name; len(name) {
		case 8:
			match = match || exchange.EqualFold(name, "if-match")
		case 19:
			unmodified = unmodified || exchange.EqualFold(name, "if-unmodified-since")
		}
	}
	if match {
		return listed(q, "if-match", etagOf(stored), equalStrong)
	}
	if unmodified {
		t, ok := condition(q, "if-unmodified-since", f)
		return !ok || !f.changed(stored).After(t)
	}
	return true
}

// changed returns when the stored response was last changed, as far as is known.
func (f *Facts) changed(stored *exchange.Header) time.Time {
	if v, ok := stored.Get("last-modified"); ok {
		if t, ok := ParseDate(v, time.UnixMilli(f.Received)); ok {
			return t
		}
	}
	return time.UnixMilli(f.Date).Truncate(time.Second)
}

// condition returns the date that the field called name holds; ok is false unless it is
// there once and a date.
func condition(q *exchange.Header, name string, f *Facts) (time.Time, bool) {
	if q.Count(name) != 1 {
		return time.Time{}, false
	}
	v, _ := q.Get(name)
	return ParseDate(v, time.UnixMilli(f.Received))
}

// listed reports whether the fields called name list tag, or are "*". What is no entity
// tag in them is passed over, unless it is byte for byte tag itself.
func listed(q *exchange.Header, name string, tag []byte, equal func(a, b []byte) bool) bool {
	for i := range q.Len() {
		f := q.At(i)
		if !exchange.EqualFold(f.Name, name) {
			continue
		}
		if len(f.Value) == 1 && f.Value[0] == '*' {
			return true
		}
		for rest := f.Value; tag != nil && len(rest) > 0; {
			if rest[0] == ',' || space(rest[0]) {
				rest = rest[1:]
				continue
			}
			n := tagLen(rest)
			if n < 0 {
				if n = bytes.IndexByte(rest, ','); n < 0 {
					n = len(rest)
				}
			}
			if equal(trim(rest[:n]), tag) {
				return true
			}
			rest = rest[n:]
		}
	}
	return false
}

// dated reports whether v is an HTTP date; which century is meant does not matter.
func dated(v []byte) bool {
	_, ok := ParseDate(v, time.Unix(0, 0))
	return ok
}
