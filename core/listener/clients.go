package listener

import (
	"net/netip"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// clientOf returns what counts as one client: an address, or a network of IPv6,
// since whoever has one address of it has them all.
func clientOf(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// admit counts a connection for its client; false: it has as many as it may. What
// was admitted is to be left.
func (l *Listeners) admit(c *exchange.Conn, p *config.ProxyParameters) bool {
	client := clientOf(c.Remote.Addr())
	l.clientsMu.Lock()
	defer l.clientsMu.Unlock()
	if p.MaxPerClient > 0 && !c.Trusted && l.clients[client] >= p.MaxPerClient {
		return false
	}
	l.clients[client]++
	return true
}

// crowds reports whether a client has as many connections as it may.
func (l *Listeners) crowds(a netip.Addr, p *config.ProxyParameters) bool {
	if p.MaxPerClient == 0 || within(a, p.TrustedProxies) {
		return false
	}
	l.clientsMu.Lock()
	defer l.clientsMu.Unlock()
	return l.clients[clientOf(a)] >= p.MaxPerClient
}

// leave undoes one admit.
func (l *Listeners) leave(c *exchange.Conn) {
	client := clientOf(c.Remote.Addr())
	l.clientsMu.Lock()
	defer l.clientsMu.Unlock()
	if l.clients[client]--; l.clients[client] == 0 {
		delete(l.clients, client)
	}
}
