package h2

import (
	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/exchange"
)

// limits bound a header block once it is decoded.
type limits struct {
	line   int // :path, bytes
	bytes  int // all fields as RFC 9113, 6.5.2, counts them
	fields int // number of fields; crumbs of a cookie are one
}

// fieldOverhead is what a field counts for beside its name and value (RFC 9113, 6.5.2).
const fieldOverhead = 32

// crumbFactor times the limit of fields is how many crumbs a cookie may have.
const crumbFactor = 4

// The pseudo-fields, as bits.
const (
	pseudoMethod = 1 << iota
	pseudoScheme
	pseudoAuthority
	pseudoPath
	pseudoStatus
)

// head gathers one header or trailer section (RFC 9113, 8.2 and 8.3). Names and
// values are copied to arena, fields to h.
type head struct {
	lim      *limits
	trusted  bool // identity fields are kept
	trailer  bool
	response bool
	h        *exchange.Header
	arena    *exchange.Arena

	err         *refused // the first thing that is wrong
	size, count int
	seen        uint8 // pseudo-fields
	regular     bool  // a field that is not one came

	method, scheme, authority, path, host []byte
	status                                int // of a response

	hosts   int
	length  int64 // Content-Length; -1: none
	te      bool  // TE: trailers
	expect  bool  // Expect: 100-continue
	cookies int
}

func (hd *head) begin(lim *limits, h *exchange.Header, arena *exchange.Arena, trusted, trailer bool) {
	*hd = head{lim: lim, trusted: trusted, trailer: trailer, h: h, arena: arena, length: -1}
	h.Reset()
}

// take adds a field; false if something is wrong, so that no more need come.
func (hd *head) take(name, value string) bool {
	if hd.err == nil {
		hd.size += len(name) + len(value) + fieldOverhead
		hd.err = hd.add(name, value)
	}
	return hd.err == nil
}

func (hd *head) add(name, value string) *refused {
	if hd.size > hd.lim.bytes {
		return errHeadLarge
	}
	if len(name) > 0 && name[0] == ':' {
		return hd.addPseudo(name, value)
	}
	hd.regular = true
	n, v := hd.arena.CopyString(name), hd.arena.CopyString(value)
	if !validName(n) {
		return errFieldName
	}
	if !rfc9110.ValidValue(v) || len(v) > 0 && (space(v[0]) || space(v[len(v)-1])) {
		return errFieldValue // RFC 9113, 8.2.1
	}
	if name == "cookie" {
		if hd.cookies++; hd.cookies > 1 && hd.cookies <= crumbFactor*hd.lim.fields {
			hd.count--
		}
	}
	if hd.count++; hd.count > hd.lim.fields {
		return errHeadMany
	}
	keep, err := hd.look(n, v)
	if err == nil && keep {
		hd.h.Add(n, v)
	}
	return err
}

// validName reports whether b is a token without upper case letters.
func validName(b []byte) bool {
	for _, c := range b {
		if !rfc9110.Is(c, rfc9110.Token) || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return len(b) > 0
}

func space(c byte) bool { return c == ' ' || c == '\t' }

func (hd *head) addPseudo(name, value string) *refused {
	if hd.trailer || hd.regular {
		return errPseudo
	}
	if hd.response {
		return hd.addStatus(name, value)
	}
	var bit uint8
	var to *[]byte
	switch name {
	case ":method":
		bit, to = pseudoMethod, &hd.method
	case ":scheme":
		bit, to = pseudoScheme, &hd.scheme
	case ":authority":
		bit, to = pseudoAuthority, &hd.authority
	case ":path":
		bit, to = pseudoPath, &hd.path
	default:
		return errPseudo
	}
	if hd.seen&bit != 0 {
		return errPseudo
	}
	hd.seen |= bit
	*to = hd.arena.CopyString(value)
	return nil
}

// addStatus takes the pseudo-field of a response (RFC 9113, 8.3.2).
func (hd *head) addStatus(name, value string) *refused {
	if name != ":status" || hd.seen != 0 {
		return errPseudo
	}
	hd.seen = pseudoStatus
	if len(value) != 3 || value[0] < '1' || value[0] > '5' || !rfc9110.Digit(value[1]) || !rfc9110.Digit(value[2]) {
		return errStatus
	}
	hd.status = int(value[0]-'0')*100 + int(value[1]-'0')*10 + int(value[2]-'0')
	return nil
}

// look looks at one field; keep is false if it is not for the other side.
func (hd *head) look(name, value []byte) (keep bool, err *refused) {
	switch string(name) {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return false, errConnection // RFC 9113, 8.2.2
	case "te":
		if !hd.response && !rfc9110.Fold(value, "trailers") {
			return false, errConnection
		}
		hd.te = true
		return false, nil
	}
	if hd.trailer {
		return rfc9110.MayTrail(name, hd.trusted), nil
	}
	switch string(name) {
	case "host":
		hd.hosts++
		hd.host = value
		return false, nil
	case "expect":
		if !hd.response && !rfc9110.Fold(value, "100-continue") {
			return false, errExpect
		}
		hd.expect = true
		return false, nil
	case "content-length":
		n, ok := rfc9110.ParseLength(value)
		if !ok || hd.length >= 0 {
			return false, errLength
		}
		hd.length = n
		return true, nil
	}
	return hd.trusted || !rfc9110.Identity(name), nil
}

var (
	schemeHTTP  = []byte("http")
	schemeHTTPS = []byte("https")
)

// finish judges the whole section and fills x.Request and x.Original. Body and
// length are left to the caller. scheme is the connection's.
func (hd *head) finish(x *exchange.Exchange, scheme []byte) *refused {
	if hd.err != nil {
		return hd.err
	}
	const always = pseudoMethod | pseudoScheme | pseudoPath
	if hd.seen&pseudoMethod == 0 || !rfc9110.ValidToken(hd.method) {
		return errMethod
	}
	if string(hd.method) == "CONNECT" {
		return errConnect
	}
	if hd.seen&always != always || len(hd.path) == 0 {
		return errPseudo
	}
	authority, err := hd.target(scheme)
	if err != nil {
		return err
	}
	hd.joinCookies()
	q := &x.Request
	q.Version = exchange.HTTP2
	q.Method, q.Scheme, q.Authority, q.Path, q.TE = hd.method, scheme, authority, hd.path, hd.te
	x.Original.Method, x.Original.Authority, x.Original.Path = q.Method, q.Authority, q.Path
	return nil
}

// finishResponse judges the whole section of a response. It cannot switch
// protocols (RFC 9113, 8.6).
func (hd *head) finishResponse() *refused {
	switch {
	case hd.err != nil:
		return hd.err
	case hd.seen == 0:
		return errPseudo
	case hd.status == 101:
		return errStatus
	}
	return nil
}

// target checks :scheme and :path and returns the authority (RFC 9113, 8.3.1):
// :authority and Host must be the same if both are there. A trusted proxy may
// have ended TLS itself: its scheme need not be the connection's.
func (hd *head) target(scheme []byte) ([]byte, *refused) {
	if len(hd.path) > hd.lim.line {
		return nil, errLineLong
	}
	known := rfc9110.Fold(hd.scheme, "http") || rfc9110.Fold(hd.scheme, "https")
	if !known || !hd.trusted && !rfc9110.Fold(hd.scheme, string(scheme)) {
		return nil, errTarget
	}
	if hd.path[0] != '/' && (string(hd.path) != "*" || string(hd.method) != "OPTIONS") ||
		!rfc9110.All(hd.path, rfc9110.Target) || !rfc9110.ValidEscapes(hd.path) || rfc9110.Backslash(hd.path) {
		return nil, errTarget
	}
	authority := hd.authority
	if hd.seen&pseudoAuthority == 0 {
		authority = hd.host
	} else if hd.hosts > 0 && !exchange.EqualFold(hd.host, authority) {
		return nil, errHost
	}
	if hd.hosts > 1 || !rfc9110.ValidAuthority(authority) {
		return nil, errHost
	}
	return authority, nil
}

// joinCookies makes one field of a cookie's crumbs (RFC 9113, 8.2.3).
func (hd *head) joinCookies() {
	if hd.cookies < 2 {
		return
	}
	size := 0
	for _, f := range hd.h.Fields() {
		if string(f.Name) == "cookie" {
			size += len(f.Value) + 2
		}
	}
	joined, first := hd.arena.Alloc(size - 2)[:0], -1
	for i, f := range hd.h.Fields() {
		if string(f.Name) != "cookie" {
			continue
		}
		if first < 0 {
			first = i
		} else {
			joined = append(joined, ';', ' ')
		}
		joined = append(joined, f.Value...)
	}
	hd.h.Set(hd.h.At(first).Name, joined)
}
