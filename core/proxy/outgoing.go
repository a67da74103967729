package proxy

import (
	"bytes"
	"errors"
	"strconv"

	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/router"
)

var (
	via            = []byte("Via")
	xForwardedFor  = []byte("X-Forwarded-For")
	xForwardedHost = []byte("X-Forwarded-Host")
	xForwardedPort = []byte("X-Forwarded-Port")
	xForwardedPro  = []byte("X-Forwarded-Proto")
	forwarded      = []byte("Forwarded")
	xConsumerName  = []byte("X-Consumer-Username")
	xConsumerGroup = []byte("X-Consumer-Groups")
	maxForwards    = []byte("Max-Forwards")
	allow          = []byte("Allow")
	altSvc         = []byte("Alt-Svc")
	methods        = []byte("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH")
)

// outgoing readies the request for the upstream: who the consumer is, and where the
// request came from. After it the header is frozen.
func outgoing(x *exchange.Exchange, p *config.ProxyParameters) {
	consumer(x)
	if p.Forwarded {
		forward(x)
	}
	certificates(x, p)
	if p.Via != "" {
		addVia(x, p.Via)
	}
}

// rewriteAuthority returns the authority of a request for another hostname. The
// target of a CONNECT keeps its port, which it must have.
func rewriteAuthority(x *exchange.Exchange, hostname string) []byte {
	name := x.Arena.CopyString(hostname)
	if !x.Request.Connect() {
		return name
	}
	a := x.Request.Authority
	return concat(&x.Arena, name, a[max(bytes.LastIndexByte(a, ':'), 0):])
}

var errHops = errors.New("Max-Forwards is not a number")

// hops does what Max-Forwards asks of TRACE and OPTIONS (RFC 9110, 7.6.2): at 0
// the request ends here, else it is one less. A TRACE is not answered with what
// it said: that would show credentials which filters and proxies have added.
func (s *state) hops() *exchange.Error {
	x := s.x
	trace := string(x.Request.Method) == "TRACE"
	if !trace && string(x.Request.Method) != "OPTIONS" {
		return nil
	}
	value, ok := x.Request.Header.Get("Max-Forwards")
	if !ok {
		return nil
	}
	n, err := strconv.ParseUint(string(value), 10, 31)
	if err != nil || x.Request.Header.Count("Max-Forwards") > 1 {
		return fault(exchange.PhaseMatch, exchange.SideClient, 400, "max-forwards", errHops)
	}
	if n > 0 {
		x.Request.Header.Set(maxForwards, strconv.AppendUint(x.Arena.Alloc(10)[:0], n-1, 10))
		return nil
	}
	status := 200
	if trace {
		status = 405
	}
	s.options(status)
	return errDone
}

// options answers with the methods that there are.
func (s *state) options(status int) {
	l := local(s.x, status)
	l.Header.Add(allow, methods)
	s.run.Replace(l)
}

// consumer writes the headers that only the proxy may write (annotations.md, 7.2), and
// takes away what a filter or a route wrote in their place. What a trusted proxy said
// stays while nobody here knows the consumer.
func consumer(x *exchange.Exchange) {
	q := &x.Request.Header
	known := x.Consumer.Name != ""
	if known || !x.Conn.Trusted {
		q.DeleteFunc(isConsumer)
	}
	if !known {
		return
	}
	q.Add(xConsumerName, x.Arena.CopyString(x.Consumer.Name))
	if len(x.Consumer.Groups) > 0 {
		var list []byte
		for i, g := range x.Consumer.Groups {
			if i > 0 {
				list = append(list, ',')
			}
			list = append(list, g...)
		}
		q.Add(xConsumerGroup, x.Arena.Copy(list))
	}
}

func isConsumer(f exchange.Field) bool { return rfc9110.Consumer(f.Name) }

// forward says where the request came from: appended for a trusted peer,
// which alone can have sent such fields, else set.
func forward(x *exchange.Exchange) {
	q := &x.Request.Header
	ip := x.Conn.RemoteIP
	if before, ok := q.Get("X-Forwarded-For"); ok && len(before) > 0 {
		q.Set(xForwardedFor, concat(&x.Arena, before, commaSpace, ip))
	} else {
		q.Set(xForwardedFor, ip)
	}
	if _, ok := q.Get("X-Forwarded-Proto"); !ok {
		q.Add(xForwardedPro, x.Request.Scheme)
	}
	if _, ok := q.Get("X-Forwarded-Host"); !ok && len(x.Original.Authority) > 0 {
		q.Add(xForwardedHost, x.Original.Authority)
	}
	if _, ok := q.Get("X-Forwarded-Port"); !ok {
		q.Add(xForwardedPort, x.Conn.LocalPort)
	}
	addForwarded(x, q, ip)
}

var (
	commaSpace = []byte(", ")
	forIs      = []byte("for=")
	forIPv6    = []byte(`for="[`)
	endIPv6    = []byte(`]"`)
	hostIs     = []byte(`;host="`)
	protoIs    = []byte(`";proto=`)
	noHost     = []byte(`;proto=`)
)

// addForwarded adds this hop (RFC 7239, 4).
func addForwarded(x *exchange.Exchange, q *exchange.Header, ip []byte) {
	var parts [8][]byte
	p := parts[:0]
	if before, ok := q.Get("Forwarded"); ok && len(before) > 0 {
		p = append(p, before, commaSpace)
	}
	if bytes.IndexByte(ip, ':') >= 0 {
		p = append(p, forIPv6, ip, endIPv6)
	} else {
		p = append(p, forIs, ip)
	}
	if len(x.Original.Authority) > 0 {
		p = append(p, hostIs, x.Original.Authority, protoIs)
	} else {
		p = append(p, noHost)
	}
	p = append(p, x.Request.Scheme)
	q.Set(forwarded, concat(&x.Arena, p...))
}

func concat(a *exchange.Arena, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	out := a.Alloc(n)[:0]
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// addVia appends this hop (RFC 9110, 7.6.3).
func addVia(x *exchange.Exchange, name string) {
	version := "1.1 "
	switch x.Request.Version {
	case exchange.HTTP10:
		version = "1.0 "
	case exchange.HTTP2:
		version = "2.0 "
	case exchange.HTTP3:
		version = "3.0 "
	}
	value := x.Arena.Alloc(len(version) + len(name))
	copy(value[copy(value, version):], name)
	x.Request.Header.Add(via, value)
}

// rewritePath returns the request's path and query with m applied to the path
// (Gateway API, HTTPPathModifier). A prefix is replaced in whole segments.
func rewritePath(x *exchange.Exchange, m *config.PathModifier, match *config.Match) []byte {
	path, query := router.SplitQuery(x.Request.Path)
	hasQuery := len(path) < len(x.Request.Path)
	if m.IsFull {
		return join(&x.Arena, []byte(m.Full), query, hasQuery)
	}
	if match.PathType != config.PathPrefix {
		return x.Request.Path
	}
	normal, _, err := router.Normalise(path, x.Arena.Alloc)
	if err != nil {
		return x.Request.Path
	}
	matched := bytes.TrimSuffix([]byte(match.Path), slash)
	if !bytes.HasPrefix(normal, matched) { // the Service's chain moved the request elsewhere
		return x.Request.Path
	}
	rest := normal[len(matched):]
	prefix := bytes.TrimSuffix([]byte(m.Prefix), slash)
	out := concat(&x.Arena, prefix, rest)
	if len(out) == 0 {
		out = slash
	}
	return join(&x.Arena, out, query, hasQuery)
}

var slash = []byte("/")

// StatusText returns the standard phrase of a status, or its number.
func StatusText(status int) string {
	if text, ok := statusTexts[status]; ok {
		return text
	}
	return strconv.Itoa(status)
}

var statusTexts = map[int]string{
	400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 408: "Request Timeout",
	413: "Content Too Large", 421: "Misdirected Request", 429: "Too Many Requests", 499: "Client Closed Request",
	500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}
