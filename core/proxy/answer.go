package proxy

import (
	"errors"
	"strconv"

	"penstock.dev/penstock/core/codec/grpc"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// Field names and values that the proxy writes.
var (
	contentType = []byte("Content-Type")
	plainText   = []byte("text/plain; charset=utf-8")
	retryAfter  = []byte("Retry-After")
	oneSecond   = []byte("1")
	location    = []byte("Location")
)

// local begins a response of the proxy's own, without fields and content.
func local(x *exchange.Exchange, status int) *exchange.Local {
	l := &x.Local
	l.Header.Reset()
	l.Status, l.Details, l.GRPCStatus, l.Body, l.Content, l.Length = status, "", -1, nil, nil, 0
	return l
}

// answerError makes err the exchange's response: a short text that names no
// detail. The response's way back is still to come.
func (h *HTTP) answerError(s *state, err *exchange.Error) {
	x := s.x
	x.Err = err
	l := local(x, err.Status)
	l.Header.Add(contentType, plainText)
	switch err.Reason {
	case "chain-pending", "overflow", "plugin-busy", "body-budget":
		l.Header.Add(retryAfter, oneSecond)
	}
	text := StatusText(err.Status)
	var broken *brokenChain
	if errors.As(err, &broken) {
		text = broken.reason
		if x.Service != "" {
			text = "Service " + x.Service + ": " + text
		}
	}
	if err.Reason == "response-timeout" || s.pastDeadline() { // it may have been done all the same
		l.GRPCStatus = grpc.DeadlineExceeded
	}
	text = strconv.Itoa(err.Status) + " " + text
	if t, _ := x.Request.Header.Get("content-type"); grpc.KindOf(t) == grpc.None {
		text += "\n"
	}
	l.Body = x.Arena.CopyString(text)
	s.run.Replace(l)
}

// redirect answers as a RequestRedirect says (Gateway API,
// HTTPRequestRedirectFilter).
func (h *HTTP) redirect(s *state, r *config.Redirect) *exchange.Error {
	x := s.x
	if x.Request.Connect() { // no other place has the tunnel
		return s.unknown(501, "connect", errConnect)
	}
	scheme := r.Scheme
	if scheme == "" {
		scheme = string(x.Request.Scheme)
	}
	name := r.Hostname
	if name == "" {
		name = string(s.request.Hostname)
	}
	port := redirectPort(s, r.Scheme, r.Port)
	wellKnown := scheme == "http" && port == 80 || scheme == "https" && port == 443
	if port != 0 && !wellKnown {
		name += ":" + strconv.Itoa(int(port))
	}
	target := x.Request.Path
	if r.Path != nil {
		target = rewritePath(x, r.Path, s.match)
	}
	l := local(x, r.Status)
	l.Header.Add(location, x.Arena.CopyString(scheme+"://"+name+string(target)))
	s.run.Replace(l)
	return errDone
}

// redirectPort: the filter's port; else the well-known one of the filter's
// scheme; else the port of the listener that was reached.
func redirectPort(s *state, scheme string, port uint16) uint16 {
	if port != 0 {
		return port
	}
	switch scheme {
	case "http":
		return 80
	case "https":
		return 443
	}
	return s.x.Conn.Local.Port()
}
