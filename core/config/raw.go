package config

import (
	"slices"
	"time"
)

// RawTable is the routes of a listener of raw connections (TCP, TLS) or of
// datagrams (UDP).
type RawTable struct{ Entries []RawEntry }

// RawEntry attaches a raw route. Where two have one hostname the older route
// counts, then the lower namespace/name (Gateway API).
type RawEntry struct {
	// Hostnames that a TLS client asks for, lower case, "*.example" allowed;
	// empty: any, and whatever is no TLS.
	Hostnames []string
	Route     *RawRoute
}

// RawRoute is one TCPRoute, TLSRoute or UDPRoute: it has one rule.
type RawRoute struct {
	Object  Object
	Created time.Time
	Name    string // "TCPRoute/ns/name/0", for logs and metrics; or the rule's name in place of the index
	// Backends: one that is invalid has a Status, and refuses its share. None, or
	// no weight: every connection is refused.
	Backends []Backend
}

// Raw reports whether the listener takes raw routes.
func (l *Listener) Raw() bool { return slices.Contains([]string{"TCP", "TLS", "UDP"}, l.Protocol) }

// transport of a listener: those with different ones may share a port.
func (l *Listener) transport() string {
	if l.Protocol == "UDP" {
		return "udp"
	}
	return "tcp"
}

// kind is what a port's listeners must have in common.
func (l *Listener) kind() string {
	if l.Protocol == "HTTPS" || l.Protocol == "TLS" {
		return "TLS"
	}
	return l.Protocol
}

// validateRaw looks at a listener of raw routes.
func (c *Config) validateRaw(g *Gateway, l *Listener, errs *joined) {
	if l.RawRoutes == nil || l.Routes != nil || l.TLS != nil && l.Protocol != "TLS" {
		errs.add("%s: listener %s: protocol %s without raw routes, or with other ones or TLS", g.Object, l.Name, l.Protocol)
		return
	}
	for _, e := range l.RawRoutes.Entries {
		if len(e.Hostnames) > 0 && l.Protocol != "TLS" {
			errs.add("%s: listener %s: %s has hostnames", g.Object, l.Name, e.Route.Object)
		}
		c.validateBackends(e.Route.Object, 0, e.Route.Backends, errs)
		for _, b := range e.Route.Backends {
			if u := c.Upstreams[b.Upstream]; u != nil && (u.Protocol == "udp") != (l.Protocol == "UDP") {
				errs.add("%s: upstream %s is of protocol %s", e.Route.Object, b.Upstream, u.Protocol)
			}
		}
	}
}
