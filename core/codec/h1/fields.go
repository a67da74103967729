package h1

import (
	"bytes"

	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/exchange"
)

// limits bound a head.
type limits struct {
	line   int // start line, bytes
	bytes  int // all field lines, bytes
	fields int // number of field lines
}

// head is what the fields of one message say about its framing and its
// connection.
type head struct {
	length    int64 // Content-Length; -1: none
	chunked   bool
	close     bool // Connection: close
	keepAlive bool // Connection: keep-alive
	named     bool // Connection names other fields
	trailers  bool // TE: trailers
	expect    bool // Expect: 100-continue
	switches  bool // Connection: upgrade
	upgrades  int  // number of Upgrade fields
	upgrade   []byte
	hosts     int
	host      []byte
	codings   int // number of Transfer-Encoding fields
	coding    *Refused
}

// parseFields reads field lines up to and including the empty line (RFC 9112,
// 5). End-to-end fields are appended to h; what frames the message or
// belongs to the connection goes to hd. Content-Length stays in h for filters
// to see. trusted keeps identity fields. n is the number of bytes read, 0 if b
// does not hold the whole section.
func parseFields(b []byte, lim *limits, hd *head, h *exchange.Header, trusted bool) (n int, err *Refused) {
	pos, count := 0, 0
	for {
		if len(b)-pos < 2 {
			if pos > lim.bytes {
				return 0, errHeadLarge
			}
			if pos < len(b) && b[pos] == '\n' {
				return 0, errLineEnd
			}
			return 0, nil
		}
		line := b[pos:]
		if line[0] == '\r' {
			if line[1] != '\n' {
				return 0, errLineEnd
			}
			return pos + 2, hd.finish(h)
		}
		i := 0
		for i < len(line) && rfc9110.Is(line[i], rfc9110.Token) {
			i++
		}
		end := bytes.IndexByte(line[i:], '\n') + i
		if end < i {
			return 0, unfinished(line, i, len(b), lim)
		}
		if count++; count > lim.fields {
			return 0, errHeadMany
		}
		if pos += end + 1; pos > lim.bytes {
			return 0, errHeadLarge
		}
		if i == 0 || line[i] != ':' {
			return 0, badName(line, i)
		}
		if line[end-1] != '\r' {
			return 0, errLineEnd
		}
		name, value := line[:i], rfc9110.Trim(line[i+1:end-1])
		if !rfc9110.ValidValue(value) {
			return 0, errFieldValue
		}
		keep, err := hd.take(name, value, trusted)
		if err != nil {
			return 0, err
		}
		if keep {
			h.Add(name[:i:i], value)
		}
	}
}

// badName says what is wrong with a line whose token of i bytes is empty or not
// followed by a colon.
func badName(line []byte, i int) *Refused {
	switch c := line[i]; {
	case i == 0 && (c == ' ' || c == '\t'):
		return errFold
	case i == 0 && (c == '\n' || c == '\r'):
		return errLineEnd
	}
	return errFieldName
}

// unfinished judges a line whose end has not come yet.
func unfinished(line []byte, i, size int, lim *limits) *Refused {
	if size > lim.bytes {
		return errHeadLarge
	}
	if i < len(line) && (i == 0 || line[i] != ':') {
		return badName(line, i)
	}
	return nil
}

// take looks at one field; keep is false if it is not for the other side.
func (hd *head) take(name, value []byte, trusted bool) (keep bool, err *Refused) {
	switch len(name) {
	case 2:
		if rfc9110.Fold(name, "te") {
			hd.takeTE(value)
			return false, nil
		}
	case 4:
		if rfc9110.Fold(name, "host") {
			hd.hosts++
			hd.host = value
			return false, nil
		}
	case 6:
		if rfc9110.Fold(name, "expect") {
			if !rfc9110.Fold(value, "100-continue") {
				return false, errExpect
			}
			hd.expect = true
			return false, nil
		}
	case 7:
		if rfc9110.Fold(name, "upgrade") {
			hd.upgrades++
			hd.upgrade = value
			return false, nil
		}
	case 10:
		if rfc9110.Fold(name, "connection") {
			return false, hd.takeConnection(value)
		}
		if rfc9110.Fold(name, "keep-alive") {
			return false, nil
		}
	case 14:
		if rfc9110.Fold(name, "content-length") {
			return true, hd.takeLength(value)
		}
	case 16:
		if rfc9110.Fold(name, "proxy-connection") {
			return false, nil
		}
	case 17:
		if rfc9110.Fold(name, "transfer-encoding") {
			hd.takeCoding(value)
			return false, nil
		}
	}
	return trusted || !rfc9110.Identity(name), nil
}

func (hd *head) takeTE(value []byte) {
	for len(value) > 0 {
		var e []byte
		if e, value = rfc9110.Element(value); rfc9110.Fold(e, "trailers") {
			hd.trailers = true
		}
	}
}

func (hd *head) takeConnection(value []byte) *Refused {
	for len(value) > 0 {
		var e []byte
		e, value = rfc9110.Element(value)
		switch {
		case len(e) == 0:
		case rfc9110.Fold(e, "upgrade"):
			hd.switches = true
		case rfc9110.Fold(e, "close"):
			hd.close = true
		case rfc9110.Fold(e, "keep-alive"):
			hd.keepAlive = true
		case !rfc9110.All(e, rfc9110.Token):
			return errConnection
		default:
			hd.named = true
		}
	}
	return nil
}

// takeLength refuses a second Content-Length even if it is the same.
func (hd *head) takeLength(value []byte) *Refused {
	n, ok := rfc9110.ParseLength(value)
	if !ok || hd.length >= 0 {
		return errLength
	}
	hd.length = n
	return nil
}

// takeCoding accepts chunked, alone and once.
func (hd *head) takeCoding(value []byte) {
	hd.codings++
	switch {
	case hd.codings > 1:
		hd.coding = errCoding
	case rfc9110.Fold(value, "chunked"):
		hd.chunked = true
	default:
		hd.coding = errCodingUnknown
		for rest := value; len(rest) > 0 || len(value) == 0; {
			var e []byte
			e, rest = rfc9110.Element(rest)
			if !rfc9110.ValidToken(e) || rfc9110.Fold(e, "chunked") && (len(rest) > 0 || len(e) == len(value)) {
				hd.coding = errCoding
				break
			}
		}
	}
}

// finish judges the framing (RFC 9112, 6.3) once all fields were seen.
func (hd *head) finish(h *exchange.Header) *Refused {
	if hd.codings > 0 {
		if hd.length >= 0 {
			return errFraming
		}
		if hd.coding != nil {
			return hd.coding
		}
	}
	return nil
}

// dropNamed removes the fields that Connection fields of the section name
// (RFC 9110, 7.6.1), but none that a sender could smuggle something by.
// section is the field lines that parseFields read.
func dropNamed(section []byte, h *exchange.Header) {
	for len(section) > 2 {
		end := bytes.IndexByte(section, '\n')
		line := section[:end-1]
		section = section[end+1:]
		if len(line) < 11 || line[10] != ':' || !rfc9110.Fold(line[:10], "connection") {
			continue
		}
		for value := line[11:]; len(value) > 0; {
			var e []byte
			if e, value = rfc9110.Element(value); len(e) > 0 && !rfc9110.Protected(e) {
				h.DeleteFunc(func(f exchange.Field) bool { return exchange.EqualFold(f.Name, e) })
			}
		}
	}
}
