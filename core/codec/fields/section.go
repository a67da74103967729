package fields

import (
	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/exchange"
)

// Limits bound a field section once it is decoded.
type Limits struct {
	Line   int // :path, bytes
	Bytes  int // all fields as RFC 9113, 6.5.2, and RFC 9114, 4.2.2, count them
	Fields int // number of fields; crumbs of a cookie are one
	// Extended allows for :protocol with CONNECT (RFC 8441, 4; RFC 9220, 3).
	Extended bool
}

// overhead is what a field counts for beside its name and value (RFC 9113, 6.5.2).
const overhead = 32

// crumbFactor times the limit of fields is how many crumbs a cookie may have.
const crumbFactor = 4

// The pseudo-fields of a request, as bits.
const (
	pseudoMethod = 1 << iota
	pseudoScheme
	pseudoAuthority
	pseudoPath
	pseudoProtocol
	pseudoStatus // of a response
)

// Section gathers one header or trailer section of a message (RFC 9113, 8.2 and
// 8.3; RFC 9114, 4.2 and 4.3). It is for one goroutine, and ready once Begin or
// BeginResponse was called.
type Section struct {
	// Err is the first thing that is wrong; nil: nothing yet.
	Err *Refused
	// Length is Content-Length; -1: there is none.
	Length int64
	// Expect says that the client waits for a 100 (Continue).
	Expect bool
	// Urgency is what the Priority field says (RFC 9218, 5).
	Urgency uint8
	// Status is a response's; 0: none came yet.
	Status int
	// Size is all fields' so far, in bytes as Limits.Bytes counts them.
	Size int

	lim      *Limits
	trusted  bool // identity fields are kept
	trailer  bool
	response bool
	h        *exchange.Header
	arena    *exchange.Arena

	count   int
	seen    uint8 // pseudo-fields
	regular bool  // a field that is not one came

	method, scheme, authority, path, host, protocol []byte

	hosts   int
	te      bool // TE: trailers
	cookies int
}

// Begin readies hd for a section within lim, of a trailer or a request's head.
// Fields go to h, copies of names and values to arena. trusted: identity fields are kept.
func (hd *Section) Begin(lim *Limits, h *exchange.Header, arena *exchange.Arena, trusted, trailer bool) {
	*hd = Section{lim: lim, trusted: trusted, trailer: trailer, h: h, arena: arena, Length: -1, Urgency: DefaultUrgency}
	h.Reset()
}

// BeginResponse is Begin for a response's head. Identity fields are kept.
func (hd *Section) BeginResponse(lim *Limits, h *exchange.Header, arena *exchange.Arena) {
	hd.Begin(lim, h, arena, true, false)
	hd.response = true
}

// Take adds a field, which it copies; false if something is wrong, so that no more
// need come.
func (hd *Section) Take(name, value string) bool {
	if hd.fits(len(name) + len(value)) {
		hd.Err = hd.add(hd.arena.CopyString(name), hd.arena.CopyString(value))
	}
	return hd.Err == nil
}

// TakeBytes is Take of bytes that live as long as the exchange: they are kept.
func (hd *Section) TakeBytes(name, value []byte) bool {
	if hd.fits(len(name) + len(value)) {
		hd.Err = hd.add(name, value)
	}
	return hd.Err == nil
}

// fits counts a field of that many bytes; false if it is not to be added.
func (hd *Section) fits(n int) bool {
	if hd.Err == nil {
		if hd.Size += n + overhead; hd.Size > hd.lim.Bytes {
			hd.Err = ErrHeadLarge
		}
	}
	return hd.Err == nil
}

func (hd *Section) add(n, v []byte) *Refused {
	if len(n) > 0 && n[0] == ':' {
		return hd.addPseudo(n, v)
	}
	hd.regular = true
	if !validName(n) {
		return ErrFieldName
	}
	if !rfc9110.ValidValue(v) || len(v) > 0 && (space(v[0]) || space(v[len(v)-1])) {
		return ErrFieldValue // RFC 9113, 8.2.1
	}
	if string(n) == "cookie" {
		if hd.cookies++; hd.cookies > 1 && hd.cookies <= crumbFactor*hd.lim.Fields {
			hd.count--
		}
	}
	if hd.count++; hd.count > hd.lim.Fields {
		return ErrHeadMany
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

func (hd *Section) addPseudo(name, value []byte) *Refused {
	if hd.trailer || hd.regular {
		return ErrPseudo
	}
	if hd.response {
		return hd.addStatus(name, value)
	}
	var bit uint8
	var to *[]byte
	switch string(name) {
	case ":method":
		bit, to = pseudoMethod, &hd.method
	case ":scheme":
		bit, to = pseudoScheme, &hd.scheme
	case ":authority":
		bit, to = pseudoAuthority, &hd.authority
	case ":path":
		bit, to = pseudoPath, &hd.path
	case ":protocol":
		if !hd.lim.Extended {
			return ErrPseudo
		}
		bit, to = pseudoProtocol, &hd.protocol
	default:
		return ErrPseudo
	}
	if hd.seen&bit != 0 {
		return ErrPseudo
	}
	hd.seen |= bit
	*to = value
	return nil
}

// addStatus takes the pseudo-field of a response (RFC 9113, 8.3.2).
func (hd *Section) addStatus(name, value []byte) *Refused {
	if string(name) != ":status" || hd.seen != 0 {
		return ErrPseudo
	}
	hd.seen = pseudoStatus
	if len(value) != 3 || value[0] < '1' || value[0] > '5' || !rfc9110.Digit(value[1]) || !rfc9110.Digit(value[2]) {
		return ErrStatus
	}
	hd.Status = int(value[0]-'0')*100 + int(value[1]-'0')*10 + int(value[2]-'0')
	return nil
}

// look looks at one field; keep is false if it is not for the other side.
func (hd *Section) look(name, value []byte) (keep bool, err *Refused) {
	switch string(name) {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return false, ErrConnection // RFC 9113, 8.2.2
	case "te":
		if !hd.response && !rfc9110.Fold(value, "trailers") {
			return false, ErrConnection
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
			return false, ErrExpect
		}
		hd.Expect = true
		return false, nil
	case "content-length":
		n, ok := rfc9110.ParseLength(value)
		if !ok || hd.Length >= 0 {
			return false, ErrLength
		}
		hd.Length = n
		return true, nil
	case "priority":
		hd.Urgency = Urgency(value, hd.Urgency)
	}
	return hd.trusted || !rfc9110.Identity(name), nil
}

// The schemes of connections; never changed.
var (
	SchemeHTTP  = []byte("http")
	SchemeHTTPS = []byte("https")
)

// What an extended CONNECT is in HTTP/1.1; never changed.
var (
	methodGet = []byte("GET")
	websocket = []byte("websocket")
)

// FinishResponse judges the whole section of a response's head. It cannot switch
// protocols (RFC 9113, 8.6; RFC 9114, 4.5).
func (hd *Section) FinishResponse() *Refused {
	switch {
	case hd.Err != nil:
		return hd.Err
	case hd.seen == 0:
		return ErrPseudo
	case hd.Status == 101:
		return ErrStatus
	}
	return nil
}

// Finish judges the whole section of a request's head and fills x.Request and x.Original.
// Body, length and version are left to the caller. scheme is the connection's. An
// extended CONNECT for WebSocket becomes the GET with Request.Upgrade that it is in
// HTTP/1.1; what RFC 6455 wants of its key is left to the caller.
func (hd *Section) Finish(x *exchange.Exchange, scheme []byte) *Refused {
	if hd.Err != nil {
		return hd.Err
	}
	const always = pseudoMethod | pseudoScheme | pseudoPath
	if hd.seen&pseudoMethod == 0 || !rfc9110.ValidToken(hd.method) {
		return ErrMethod
	}
	extended, connect := hd.seen&pseudoProtocol != 0, string(hd.method) == "CONNECT"
	switch {
	case extended && !connect: // RFC 8441, 4
		return ErrPseudo
	case connect && !extended && (hd.seen&(pseudoScheme|pseudoPath) != 0 || len(hd.authority) == 0): // RFC 9113, 8.5; RFC 9114, 4.4
		return ErrPseudo
	case connect && !extended:
		return hd.connect(x, scheme)
	case hd.seen&always != always || len(hd.path) == 0:
		return ErrPseudo
	case extended && !rfc9110.Fold(hd.protocol, "websocket"): // RFC 9220, 3
		return ErrConnect
	}
	authority, err := hd.target(scheme)
	if err != nil {
		return err
	}
	hd.joinCookies()
	q := &x.Request
	q.Method, q.Scheme, q.Authority, q.Path, q.TE = hd.method, scheme, authority, hd.path, hd.te
	if extended {
		q.Method, q.Upgrade = methodGet, websocket
	}
	x.Original.Method, x.Original.Authority, x.Original.Path = q.Method, q.Authority, q.Path
	return nil
}

// connect is Finish for a CONNECT, which has a method and an authority alone (RFC 9113,
// 8.5; RFC 9114, 4.4). Host, if it is there, says the same. A length would say that
// what follows is content, which it is not (RFC 9110, 9.3.6).
func (hd *Section) connect(x *exchange.Exchange, scheme []byte) *Refused {
	switch {
	case !rfc9110.ValidConnectTarget(hd.authority):
		return ErrTarget
	case hd.hosts > 1 || hd.hosts == 1 && !exchange.EqualFold(hd.host, hd.authority):
		return ErrHost
	case hd.Length >= 0:
		return ErrTunnelContent
	}
	hd.joinCookies()
	q := &x.Request
	q.Method, q.Scheme, q.Authority, q.Path = hd.method, scheme, hd.authority, nil
	x.Original.Method, x.Original.Authority, x.Original.Path = q.Method, q.Authority, nil
	return nil
}

// target checks :scheme and :path and returns the authority (RFC 9113, 8.3.1; RFC
// 9114, 4.3.1):
// :authority and Host must be the same if both are there. A trusted proxy may
// have ended TLS itself: its scheme need not be the connection's.
func (hd *Section) target(scheme []byte) ([]byte, *Refused) {
	if len(hd.path) > hd.lim.Line {
		return nil, ErrLineLong
	}
	known := rfc9110.Fold(hd.scheme, "http") || rfc9110.Fold(hd.scheme, "https")
	if !known || !hd.trusted && !rfc9110.Fold(hd.scheme, string(scheme)) {
		return nil, ErrTarget
	}
	if hd.path[0] != '/' && (string(hd.path) != "*" || string(hd.method) != "OPTIONS") ||
		!rfc9110.All(hd.path, rfc9110.Target) || !rfc9110.ValidEscapes(hd.path) || rfc9110.Backslash(hd.path) {
		return nil, ErrTarget
	}
	authority := hd.authority
	if hd.seen&pseudoAuthority == 0 {
		authority = hd.host
	} else if hd.hosts > 0 && !exchange.EqualFold(hd.host, authority) {
		return nil, ErrHost
	}
	if hd.hosts > 1 || !rfc9110.ValidAuthority(authority) {
		return nil, ErrHost
	}
	return authority, nil
}

// joinCookies makes one field of a cookie's crumbs (RFC 9113, 8.2.3).
func (hd *Section) joinCookies() {
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
