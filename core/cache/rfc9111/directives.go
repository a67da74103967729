package rfc9111

import (
	"time"

	"penstock.dev/penstock/core/exchange"
)

// Seconds is a directive's argument. The zero value means that it was not given.
type Seconds int64

// maxSeconds is what a greater argument counts as (RFC 9111, 1.2.2).
const maxSeconds = 1 << 31

// NewSeconds returns n seconds, within 0..2^31.
func NewSeconds(n int64) Seconds { return Seconds(min(max(n, 0), maxSeconds) + 1) }

// Get returns the argument, 0..2^31 s; ok is false if there was none.
func (s Seconds) Get() (d time.Duration, ok bool) {
	if s == 0 {
		return 0, false
	}
	return time.Duration(s-1) * time.Second, true
}

// least keeps the lesser of two arguments that were given.
func (s *Seconds) least(t Seconds) {
	if *s == 0 || t < *s {
		*s = t
	}
}

// RequestDirectives is Cache-Control and Pragma of a request (RFC 9111, 5.2.1, 5.4).
// The zero value is a request without either.
type RequestDirectives struct {
	NoCache, NoStore, NoTransform, OnlyIfCached bool
	MaxAge, MinFresh                            Seconds
	// MaxStale is 2^31 s if the request takes a response however stale it is.
	MaxStale Seconds
	// StaleIfError is RFC 5861, 4.
	StaleIfError Seconds
}

// Directives reads the directives of a request. What is given twice counts as the
// stricter; a max-age that is no number counts as 0, a min-fresh, max-stale or
// stale-if-error that is none as not given; so does every directive that is unknown.
// Fields of more than 16 KiB together count as no-store, no-cache. Pragma: no-cache
// counts only without Cache-Control. It allocates nothing.
func Directives(h *exchange.Header, ignore Ignore) RequestDirectives {
	var d RequestDirectives
	if ignore&IgnoreRequest != 0 {
		return d
	}
	control, pragma, size := false, false, 0
	for i := range h.Len() {
		switch f := h.At(i); {
		case exchange.EqualFold(f.Name, "cache-control"):
			control = true
			if size += len(f.Value); size > maxControlBytes {
				return RequestDirectives{NoCache: true, NoStore: true}
			}
			for rest := f.Value; len(rest) > 0; {
				var v directive
				v, rest = nextDirective(rest)
				d.apply(v)
			}
		case exchange.EqualFold(f.Name, "pragma"):
			pragma = true
		}
	}
	if pragma && !control {
		d.NoCache = pragmaNoCache(h)
	}
	return d
}

func (d *RequestDirectives) apply(v directive) {
	if v.form == argJunk {
		d.NoStore = d.NoStore || mentions(v.arg, "no-store")
		d.NoCache = d.NoCache || mentions(v.arg, "no-cache") || mentions(v.arg, "max-age")
		return
	}
	n, valid := v.seconds()
	switch {
	case exchange.EqualFold(v.name, "max-age"):
		d.MaxAge.least(n) // invalid: 0
	case exchange.EqualFold(v.name, "no-cache"):
		d.NoCache = true
	case exchange.EqualFold(v.name, "no-store"):
		d.NoStore = true
	case exchange.EqualFold(v.name, "no-transform"):
		d.NoTransform = true
	case exchange.EqualFold(v.name, "only-if-cached"):
		d.OnlyIfCached = true
	case exchange.EqualFold(v.name, "min-fresh"):
		if valid {
			d.MinFresh = max(d.MinFresh, n)
		}
	case exchange.EqualFold(v.name, "max-stale"):
		if v.form == argNone {
			n, valid = NewSeconds(maxSeconds), true
		}
		if valid {
			d.MaxStale.least(n)
		}
	case exchange.EqualFold(v.name, "stale-if-error"):
		if valid {
			d.StaleIfError.least(n)
		}
	}
}

// pragmaNoCache reports whether Pragma says no-cache (RFC 9111, 5.4).
func pragmaNoCache(h *exchange.Header) bool {
	for i := range h.Len() {
		f := h.At(i)
		if !exchange.EqualFold(f.Name, "pragma") {
			continue
		}
		for rest := f.Value; len(rest) > 0; {
			var v directive
			if v, rest = nextDirective(rest); exchange.EqualFold(v.name, "no-cache") {
				return true
			}
		}
	}
	return false
}

// maxControlBytes bounds what is read of one message's Cache-Control.
const maxControlBytes = 16 << 10

type argForm uint8

const (
	argNone   argForm = iota
	argToken          // maybe empty: "max-age="
	argQuoted         // arg is what stands between the quotes, escapes and all
	argJunk           // no directive; arg is all of it
)

// directive is one member of the list that Cache-Control is.
type directive struct {
	name, arg []byte
	form      argForm
}

// nextDirective cuts the first member off v, which is one field line. Of a member that
// breaks the grammar all is junk, up to the next comma, or to the line's end if it is a
// quote that does not end.
func nextDirective(v []byte) (d directive, rest []byte) {
	for len(v) > 0 && (v[0] == ',' || space(v[0])) {
		v = v[1:]
	}
	if len(v) == 0 {
		return directive{}, nil
	}
	n := tokenLen(v)
	d.name = v[:n]
	at := n
	if n > 0 && at < len(v) && v[at] == '=' {
		at++
		if at < len(v) && v[at] == '"' {
			end := quotedEnd(v[at:])
			if end < 0 {
				return directive{arg: v, form: argJunk}, nil
			}
			d.arg, d.form = v[at+1:at+end-1], argQuoted
			at += end
		} else {
			n = tokenLen(v[at:])
			d.arg, d.form = v[at:at+n], argToken
			at += n
		}
	}
	for at < len(v) && space(v[at]) {
		at++
	}
	if len(d.name) > 0 && (at == len(v) || v[at] == ',') {
		return d, v[at:]
	}
	for at < len(v) && v[at] != ',' {
		at++
	}
	return directive{arg: v[:at], form: argJunk}, v[at:]
}

// seconds reads the argument as delta-seconds (RFC 9111, 1.2.2), quoted or not; what
// is none counts as 0, and valid is false.
func (d directive) seconds() (n Seconds, valid bool) {
	if len(d.arg) == 0 {
		return NewSeconds(0), false
	}
	var sum int64
	for _, c := range d.arg {
		if c < '0' || c > '9' {
			return NewSeconds(0), false
		}
		sum = min(sum*10+int64(c-'0'), maxSeconds)
	}
	return NewSeconds(sum), true
}

// mentions reports whether one of the tokens in b, which is junk, is word.
func mentions(b []byte, word string) bool {
	for len(b) > 0 {
		n := tokenLen(b)
		if exchange.EqualFold(b[:n], word) {
			return true
		}
		b = b[min(n+1, len(b)):]
	}
	return false
}

func space(c byte) bool { return c == ' ' || c == '\t' }

// tokenLen returns how long the token is that b begins with (RFC 9110, 5.6.2).
func tokenLen(b []byte) int {
	for i, c := range b {
		if !tchar(c) {
			return i
		}
	}
	return len(b)
}

func tchar(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	case c == '!', c == '#', c == '$', c == '%', c == '&', c == '\'', c == '*', c == '+',
		c == '-', c == '.', c == '^', c == '_', c == '`', c == '|', c == '~':
		return true
	}
	return false
}

// quotedEnd returns the length of the quoted string that b begins with (RFC 9110,
// 5.6.4), both quotes counted; -1 if it does not end.
func quotedEnd(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return -1
}
