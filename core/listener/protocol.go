package listener

import (
	"net"

	"penstock.dev/penstock/core/codec/h1"
	"penstock.dev/penstock/core/codec/h2"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

var (
	_ served = (*h1.Conn)(nil)
	_ served = (*h2.Conn)(nil)
)

// choose returns the codec's connection for nc: with TLS what ALPN says, else
// HTTP/1.1, until the first bytes are HTTP/2's preface.
func (l *Listeners) choose(nc net.Conn, about *exchange.Conn, p *config.ProxyParameters) served {
	if about.TLS != nil && about.TLS.NegotiatedProtocol == "h2" {
		return l.http2.NewConn(nc, about, p)
	}
	c := l.http1.NewConn(nc, about, p)
	if about.TLS == nil {
		c.AcceptPriorKnowledge()
	}
	return c
}

// succeed returns what goes on with nc after c was served: HTTP/2 where the
// client had prior knowledge of it (RFC 9113, 3.3); nil if nothing does.
func (l *Listeners) succeed(c served, nc net.Conn, about *exchange.Conn, p *config.ProxyParameters) served {
	first, ok := c.(*h1.Conn)
	if !ok || first.PriorKnowledge() == nil {
		return nil
	}
	next := l.http2.NewConn(nc, about, p)
	next.Preread(first.PriorKnowledge())
	return next
}
