package h1

import (
	"bytes"

	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/exchange"
)

// parseResponse reads a response head (RFC 9112, 4) into x.Response and hd: n
// is its size in bytes, 0 if b does not hold all of it yet. Body and length
// are left to the caller. The reason phrase is checked and dropped. The slices
// point into b.
func parseResponse(b []byte, lim *limits, hd *head, p *exchange.Response) (n int, err *Refused) {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		if len(b) > lim.line {
			return 0, errStatusLine
		}
		const proto = "HTTP/1."
		if k := min(len(b), len(proto)); string(b[:k]) != proto[:k] {
			return 0, errStatusLine
		}
		return 0, nil
	}
	if err := parseStatusLine(b[:end], lim, p); err != nil {
		return 0, err
	}
	*hd = head{length: -1}
	p.Header.Reset()
	section := b[end+1:]
	n, err = parseFields(section, lim, hd, &p.Header, true)
	if n == 0 || err != nil {
		return 0, err
	}
	if p.Version == exchange.HTTP10 && hd.codings > 0 {
		return 0, errCoding
	}
	if hd.named {
		dropNamed(section[:n], &p.Header)
	}
	return end + 1 + n, nil
}

// parseStatusLine reads a status line that ends before its LF. The space after
// the status may be missing where there is no reason phrase.
func parseStatusLine(line []byte, lim *limits, p *exchange.Response) *Refused {
	if len(line) < 13 || len(line) > lim.line || line[len(line)-1] != '\r' {
		return errStatusLine
	}
	line = line[:len(line)-1]
	switch string(line[:9]) {
	case "HTTP/1.1 ":
		p.Version = exchange.HTTP11
	case "HTTP/1.0 ":
		p.Version = exchange.HTTP10
	default:
		return errStatusLine
	}
	a, b, c := line[9], line[10], line[11]
	if a < '1' || a > '5' || !rfc9110.Digit(b) || !rfc9110.Digit(c) {
		return errStatusLine
	}
	p.Status = int(a-'0')*100 + int(b-'0')*10 + int(c-'0')
	if len(line) > 12 && line[12] != ' ' || !rfc9110.ValidValue(line[12:]) {
		return errStatusLine
	}
	return nil
}

// bodyless reports whether a response with this status has no content
// (RFC 9112, 6.3, rule 1).
func bodyless(status int) bool { return status < 200 || status == 204 || status == 304 }
