package proxy

import (
	"errors"
	"math/rand/v2"
	"net"
	"time"

	"penstock.dev/penstock/core/exchange"
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
	errNoCallback = errors.New("a filter of its chain has no callbacks for raw connections")
)

// choose finds the route and the backend for what the client reached. After an
// error, the counters are those of what was found until then.
func (h *Raw) choose(about *exchange.Conn, record *exchange.Raw) (*snapshot.RawBackend, *snapshot.RawCounters, *exchange.Error) {
	none := h.metrics.RawNone
	current := h.store.Load()
	if current == nil {
		return nil, none, fault(exchange.PhaseGateway, exchange.SideProxy, 503, "not-ready", errNotServing)
	}
	name := about.ServerName
	if about.TLS != nil {
		name = about.TLS.ServerName
	}
	l := current.Port(about.Socket).Named(name)
	if l == nil || l.Raw == nil {
		return nil, none, fault(exchange.PhaseGateway, exchange.SideClient, 404, "no-listener", errNoListener)
	}
	if l.Chain != nil {
		return nil, none, inapplicable()
	}
	route := l.Raw.Find(name)
	if route == nil {
		return nil, none, fault(exchange.PhaseMatch, exchange.SideClient, 404, "no-route", errNoRawRoute)
	}
	record.Route = route.Name
	if route.Weights == 0 {
		return nil, route.Counters, fault(exchange.PhaseMatch, exchange.SideProxy, 503, "no-backend", errNoBackend)
	}
	b := pickRaw(route)
	record.Service = b.Config.Service
	switch {
	case b.Upstream == nil:
		return nil, b.Counters, fault(exchange.PhaseMatch, exchange.SideProxy, 503, "no-backend", errNoBackend)
	case b.Chain != nil:
		return nil, b.Counters, inapplicable()
	}
	return b, b.Counters, nil
}

// inapplicable refuses what has a chain: its filters, or the fault that keeps them
// from running, must not be walked around (annotations.md, section 2).
func inapplicable() *exchange.Error {
	return fault(exchange.PhaseRequest, exchange.SidePlugin, 503, "plugins-not-applicable", errNoCallback)
}

// pickRaw chooses a backend by weight.
func pickRaw(r *snapshot.RawRoute) *snapshot.RawBackend {
	n := rand.Uint64N(r.Weights)
	for i := range r.Backends {
		weight := uint64(r.Backends[i].Config.Weight)
		if n < weight {
			return &r.Backends[i]
		}
		n -= weight
	}
	panic("BUG: weights do not add up")
}

// done logs what has ended.
func (h *Raw) done(record *exchange.Raw) {
	if h.log != nil {
		h.log.Raw(record, time.Since(record.Start))
	}
}
