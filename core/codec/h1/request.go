package h1

import (
	"bytes"

	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/exchange"
)

// parseRequest reads a request head (RFC 9112, 3) into x.Request and hd: n is
// its size in bytes, 0 if b does not hold all of it yet. Body and length are
// left to the caller. The slices point into b, or to x.Arena where the target
// was rewritten.
func parseRequest(b []byte, lim *limits, hd *head, x *exchange.Exchange) (n int, err *Refused) {
	skipped := 0
	if len(b) > 1 && b[0] == '\r' && b[1] == '\n' { // RFC 9112, 2.2
		b, skipped = b[2:], 2
	}
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return 0, unfinishedLine(b, lim)
	}
	target, err := parseRequestLine(b[:end], lim, &x.Request)
	if err != nil {
		return 0, err
	}
	trusted := x.Conn != nil && x.Conn.Trusted
	*hd = head{length: -1}
	x.Request.Header.Reset()
	section := b[end+1:]
	n, err = parseFields(section, lim, hd, &x.Request.Header, trusted)
	if n == 0 || err != nil {
		return 0, err
	}
	if hd.named {
		dropNamed(section[:n], &x.Request.Header)
	}
	if x.Request.Version == exchange.HTTP10 && hd.codings > 0 {
		return 0, errCoding // RFC 9112, 6.1
	}
	if err := setTarget(x, target, hd); err != nil {
		return 0, err
	}
	x.Request.TE = hd.trailers
	return skipped + end + 1 + n, nil
}

// unfinishedLine judges a request line whose end has not come yet.
func unfinishedLine(b []byte, lim *limits) *Refused {
	if len(b) > lim.line+2 {
		return errLineLong
	}
	if len(b) == 1 && b[0] == '\r' {
		return nil
	}
	for _, c := range b {
		if c == ' ' {
			break
		}
		if !rfc9110.Is(c, rfc9110.Token) {
			return errStartLine
		}
	}
	return nil
}

// parseRequestLine reads method and version and returns the target; line ends
// before its LF. RFC 9112, 3: single spaces, nothing else.
func parseRequestLine(line []byte, lim *limits, q *exchange.Request) (target []byte, err *Refused) {
	if len(line) > lim.line+1 {
		return nil, errLineLong
	}
	if len(line) == 0 || line[len(line)-1] != '\r' {
		return nil, errLineEnd
	}
	line = line[:len(line)-1]
	i := 0
	for i < len(line) && rfc9110.Is(line[i], rfc9110.Token) {
		i++
	}
	if i == 0 || i == len(line) || line[i] != ' ' {
		return nil, errMethod
	}
	q.Method = line[:i:i]
	line = line[i+1:]
	for i = 0; i < len(line) && rfc9110.Is(line[i], rfc9110.Target); {
		i++
	}
	if i == 0 || i == len(line) || line[i] != ' ' {
		return nil, errTarget
	}
	target = line[:i:i]
	switch v := line[i+1:]; {
	case string(v) == "HTTP/1.1":
		q.Version = exchange.HTTP11
	case string(v) == "HTTP/1.0":
		q.Version = exchange.HTTP10
	case len(v) == 8 && string(v[:5]) == "HTTP/" && rfc9110.Digit(v[5]) && v[6] == '.' && rfc9110.Digit(v[7]):
		return nil, errVersion
	default:
		return nil, errStartLine
	}
	return target, nil
}

// setTarget fills Scheme, Authority, Path and Original from the target and the
// Host field (RFC 9112, 3.2). The absolute form's authority wins over Host.
func setTarget(x *exchange.Exchange, target []byte, hd *head) *Refused {
	q := &x.Request
	if q.Connect() {
		return setConnect(x, target, hd)
	}
	if hd.hosts > 1 || hd.hosts == 0 && q.Version == exchange.HTTP11 {
		return errHost
	}
	if hd.hosts == 1 && !rfc9110.ValidAuthority(hd.host) && (len(hd.host) > 0 || q.Version == exchange.HTTP11) {
		return errHost
	}
	q.Scheme = schemeOf(x.Conn)
	q.Authority = hd.host
	switch {
	case target[0] == '/':
		q.Path = target
	case len(target) == 1 && target[0] == '*':
		if string(q.Method) != "OPTIONS" {
			return errTarget
		}
		q.Path = target
	default:
		if err := setAbsolute(x, target); err != nil {
			return err
		}
	}
	if !rfc9110.ValidEscapes(q.Path) || rfc9110.Backslash(q.Path) {
		return errTarget
	}
	x.Original.Method, x.Original.Authority, x.Original.Path = q.Method, q.Authority, q.Path
	return nil
}

// setConnect reads the authority form (RFC 9112, 3.2.3). Host must say the same (3.2):
// whoever routes by the one and connects by the other could be led astray. A CONNECT
// has no content (RFC 9110, 9.3.6): what follows its head is for the tunnel, so that a
// length would say two things. One of HTTP/1.0 has no Host that could agree.
func setConnect(x *exchange.Exchange, target []byte, hd *head) *Refused {
	q := &x.Request
	switch {
	case q.Version < exchange.HTTP11:
		return errConnect
	case !rfc9110.ValidConnectTarget(target):
		return errTarget
	case hd.hosts != 1 || !exchange.EqualFold(hd.host, target):
		return errHost
	case hd.length >= 0 || hd.codings > 0:
		return errTunnelContent
	}
	q.Scheme, q.Authority, q.Path = schemeOf(x.Conn), target, nil
	x.Original.Method, x.Original.Authority, x.Original.Path = q.Method, q.Authority, nil
	return nil
}

var (
	schemeHTTP  = []byte("http")
	schemeHTTPS = []byte("https")
)

func schemeOf(c *exchange.Conn) []byte {
	if c != nil && c.TLS != nil {
		return schemeHTTPS
	}
	return schemeHTTP
}

// setAbsolute reads the absolute form (RFC 9112, 3.2.2). The scheme must be
// the connection's; user information is refused (RFC 9110, 4.2.4).
func setAbsolute(x *exchange.Exchange, target []byte) *Refused {
	q := &x.Request
	n := len(q.Scheme)
	if len(target) < n+3 || !rfc9110.Fold(target[:n], string(q.Scheme)) || string(target[n:n+3]) != "://" {
		return errTarget
	}
	rest := target[n+3:]
	i := bytes.IndexAny(rest, "/?")
	if i < 0 {
		i = len(rest)
	}
	q.Authority = rest[:i:i]
	if !rfc9110.ValidAuthority(q.Authority) {
		return errTarget
	}
	switch rest = rest[i:]; {
	case len(rest) == 0 && string(q.Method) == "OPTIONS":
		q.Path = x.Arena.CopyString("*") // RFC 9112, 3.2.4
	case len(rest) == 0:
		q.Path = x.Arena.CopyString("/")
	case rest[0] == '?':
		q.Path = x.Arena.Alloc(len(rest) + 1)
		q.Path[0] = '/'
		copy(q.Path[1:], rest)
	default:
		q.Path = rest
	}
	return nil
}

// validTarget reports whether q's target can be sent, as Path or, of a CONNECT, as
// Authority.
func validTarget(q *exchange.Request) bool {
	if q.Connect() {
		return len(q.Path) == 0 && q.Body == nil && len(q.Upgrade) == 0 && rfc9110.ValidConnectTarget(q.Authority)
	}
	return rfc9110.ValidTarget(q.Path, q.Authority)
}

// isHead reports whether the request is a HEAD, whose response has no body.
func isHead(x *exchange.Exchange) bool { return string(x.Request.Method) == "HEAD" }
