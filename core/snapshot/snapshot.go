package snapshot

import (
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/router"
	"penstock.dev/penstock/core/upstream"
)

// Snapshot is the compiled form of one config; immutable. An exchange loads it
// once, and again only when what it pinned has closed.
type Snapshot struct {
	config *config.Config
	ports  map[string]*Port // by config.Socket.Key
	tables map[*config.RouteTable]*table
	raw    map[*config.RawRoute]*RawRoute
	chains map[string]*Chain // by chainKey
	// consumers are the chains of Consumer objects that have filters, followed what they
	// were compiled from.
	consumers map[string]*Chain
	followed  map[string]*config.Chain
}

// Consumer returns the chain of a Consumer object, "namespace/name"; nil: it has no
// filters. there is false if filters may be missing: others have some, and it is no object
// of the configuration.
func (s *Snapshot) Consumer(object string) (c *Chain, there bool) {
	if len(s.consumers) == 0 {
		return nil, true
	}
	if c = s.consumers[object]; c != nil {
		return c, true
	}
	return nil, s.config.Consumers.Of(object) != nil
}

// Config returns what the snapshot was compiled from.
func (s *Snapshot) Config() *config.Config { return s.config }

// Chains returns every chain, for reports.
func (s *Snapshot) Chains() map[string]*Chain { return s.chains }

// Port is the listeners that share a socket.
type Port struct {
	names[Listener]
	first *Listener
}

// Listener is one listener of a Gateway with its routes.
type Listener struct {
	Name    string // "namespace/gateway/listener"
	Secure  bool   // it is reached over TLS only
	Gateway *Gateway
	Chain   *Chain               // the Gateway's part; nil: none
	Table   *router.Table[*Rule] // nil: it takes no requests
	Raw     *RawTable            // nil: it takes no raw connections or datagrams
}

// Gateway is what the listeners of one Gateway share.
type Gateway struct {
	Name       string // "namespace/name"
	Parameters *config.ProxyParameters
}

// Rule is a compiled rule of a route.
type Rule struct {
	Config   *config.Rule
	Route    string // "namespace/name"
	Name     string // for logs and metrics
	Backends []Backend
	Weights  uint64    // sum
	Chain    *Chain    // without a backend; nil: none
	Counters *Counters // of exchanges without a backend
	Mirrors  []Mirror  // of Config.Steps, in their order
}

// Backend is one choice of a rule.
type Backend struct {
	Config   *config.Backend
	Upstream *upstream.Group // nil: invalid reference
	Chain    *Chain          // nil: none
	Counters *Counters
	Mirrors  []Mirror // of Config.Steps, in their order
	// CacheScope is what keys of the response cache begin with; empty: there is none.
	CacheScope string
}

// Port returns the listeners of a socket, nil if there is none.
func (s *Snapshot) Port(key string) *Port { return s.ports[key] }

// Listener returns the listener with the most specific hostname for a request;
// nil if there is none. hostname is lower case, without port.
func (p *Port) Listener(hostname []byte) *Listener { return find(p, hostname) }

// Named returns the listener whose certificates a client is shown that asks for
// this server name, in lower case. Without one it is the listener without a
// hostname, else the first. It chooses as core/certs does.
func (p *Port) Named(server string) *Listener {
	if p != nil && server == "" && p.any == nil {
		return p.first
	}
	return find(p, server)
}

func find[T string | []byte](p *Port, hostname T) *Listener {
	if p == nil {
		return nil
	}
	return lookup(&p.names, hostname)
}

// add puts a listener under its hostname; the first one keeps it.
func (p *Port) add(hostname string, l *Listener) {
	if p.first == nil {
		p.first = l
	}
	p.names.add(hostname, l)
}
