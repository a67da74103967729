package proxy

import (
	"errors"
	"fmt"
	"net"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/internal/bufpool"
	"penstock.dev/penstock/core/snapshot"
)

// RawLog records raw connections and flows that have ended.
type RawLog interface {
	// Raw writes one record. It keeps nothing of r.
	Raw(r *exchange.Raw, took time.Duration)
}

// Raw serves raw connections and flows of datagrams, from the snapshot that is
// current when they begin.
type Raw struct {
	store   *snapshot.Store
	log     RawLog // nil: none
	metrics *snapshot.Metrics
	pool    bufpool.Pool
}

// NewRaw returns what the listeners call for raw connections and datagrams.
func NewRaw(store *snapshot.Store, log RawLog) *Raw {
	return &Raw{store: store, log: log, metrics: store.Metrics()}
}

// link is a raw connection, or a socket of datagrams, to an endpoint.
type link interface {
	net.Conn
	// Stale reports whether the endpoint is no longer one of its upstream's.
	Stale() bool
}

// What refuses a raw connection.
var (
	errNoRawRoute = errors.New("no raw route has this name or port")
	errDatagrams  = errors.New("datagrams pass no filter, and its chain has one")
)

// choice is the backend of a raw connection or flow, and the filters on the way.
type choice struct {
	backend *snapshot.RawBackend
	// counters are those of what was found, also after an error.
	counters *snapshot.RawCounters
	gateway  *snapshot.Gateway
	chains   []*snapshot.Chain
	// filters and pins are of chains, once they are pinned.
	filters []*filter.Chain
	pins    []*snapshot.Link
}

// choose finds the route and the backend for what the client reached.
func (h *Raw) choose(about *exchange.Conn, record *exchange.Raw) (*choice, *exchange.Error) {
	c := &choice{counters: h.metrics.RawNone}
	current := h.store.Load()
	if current == nil {
		return c, fault(exchange.PhaseGateway, exchange.SideProxy, 503, "not-ready", errNotServing)
	}
	name := about.ServerName
	if about.TLS != nil {
		name = about.TLS.ServerName
	}
	l := current.Port(about.Socket).Named(name)
	if l == nil || l.Raw == nil {
		return c, fault(exchange.PhaseGateway, exchange.SideClient, 404, "no-listener", errNoListener)
	}
	c.gateway = l.Gateway
	c.add(l.Chain)
	route := l.Raw.Find(name)
	if route == nil {
		return c, fault(exchange.PhaseMatch, exchange.SideClient, 404, "no-route", errNoRawRoute)
	}
	record.Route, c.counters = route.Name, route.Counters
	if route.Weights == 0 {
		return c, fault(exchange.PhaseMatch, exchange.SideProxy, 503, "no-backend", errNoBackend)
	}
	c.backend = pick(route.Backends, route.Weights, func(b *snapshot.RawBackend) int { return b.Config.Weight })
	record.Service, c.counters = c.backend.Config.Service, c.backend.Counters
	if c.backend.Upstream == nil {
		return c, fault(exchange.PhaseMatch, exchange.SideProxy, 503, "no-backend", errNoBackend)
	}
	c.add(c.backend.Chain)
	return c, nil
}

func (c *choice) add(chain *snapshot.Chain) {
	if chain != nil {
		c.chains = append(c.chains, chain)
	}
}

// pin takes what the chains run now. A chain that is broken, or has a filter that
// is not for raw connections, refuses: nothing is walked around (annotations.md,
// section 2).
func (c *choice) pin() *exchange.Error {
	for _, chain := range c.chains {
		link, err := chain.Acquire()
		if err != nil {
			return fault(exchange.PhaseRequest, exchange.SidePlugin, 503, "chain-pending", err)
		}
		c.pins = append(c.pins, link)
		if link.Fault != nil {
			return fault(exchange.PhaseRequest, exchange.SidePlugin, 503, "chain-broken", &brokenChain{link.Fault.Reason, link.Fault.Message})
		}
		chains, notRaw := link.Raw()
		if notRaw != "" {
			return fault(exchange.PhaseRequest, exchange.SidePlugin, 503, "plugins-not-applicable", fmt.Errorf("filter %s is not for raw connections", notRaw))
		}
		c.filters = append(c.filters, chains[:]...)
	}
	return nil
}

func (c *choice) release() {
	for _, link := range c.pins {
		link.Release()
	}
}

// done logs what has ended.
func (h *Raw) done(record *exchange.Raw) {
	if h.log != nil {
		h.log.Raw(record, time.Since(record.Start))
	}
}
