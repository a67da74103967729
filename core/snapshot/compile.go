package snapshot

import (
	"slices"
	"strings"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/router"
	"penstock.dev/penstock/core/upstream"
)

// compiler makes a snapshot from a config and the snapshot before.
type compiler struct {
	old     *Snapshot
	groups  *upstream.Set
	metrics *Metrics
	new     *Snapshot
	socket  func(port uint16) config.Socket
	// steady: no upstream that there was is another group now.
	steady bool
	run    uint64 // counts compilations; a pointer to the compiler would keep its snapshots
	// routes are those of the snapshot before and, more and more, of the new one.
	routes map[*config.Route]*route
	gone   []*Rule // that have been replaced
}

func (c *compiler) compile(cfg *config.Config) []config.Socket {
	c.new = &Snapshot{
		config: cfg,
		ports:  map[string]*Port{},
		tables: map[*config.RouteTable]*table{},
		raw:    map[*config.RawRoute]*RawRoute{},
		chains: map[string]*Chain{},
	}
	var sockets []config.Socket
	at := map[string]int{} // in sockets
	for _, g := range cfg.Gateways {
		gateway := &Gateway{Name: g.Object.Namespace + "/" + g.Object.Name, Parameters: g.Parameters}
		for i, l := range g.Listeners {
			socket := c.socket(l.Socket())
			if l.BindPort != 0 {
				socket.Port = l.Port
			}
			socket.Parameters = g.Parameters
			socket.Raw, socket.UDP = l.Protocol == "TCP", l.Protocol == "UDP"
			key := socket.Key()
			port := c.new.ports[key]
			if port == nil {
				port = &Port{}
				c.new.ports[key] = port
				at[key] = len(sockets)
				sockets = append(sockets, socket)
			}
			if l.TLS != nil || l.Protocol == "TLS" {
				s := &sockets[at[key]]
				s.Names = append(s.Names, config.ServerName{Hostname: l.Hostname, TLS: l.TLS, Raw: l.Raw(), Owner: gateway.Name})
			}
			compiled := &Listener{
				Name:    gateway.Name + "/" + l.Name,
				Secure:  l.TLS != nil,
				Gateway: gateway,
				Chain:   c.chain(l.Chain),
			}
			if l.Raw() {
				compiled.Raw = c.raw(l.RawRoutes)
			} else {
				compiled.Table = c.table(l.Routes, c.oldTable(g.Object, i)).router
			}
			port.add(l.Hostname, compiled)
		}
	}
	c.consumers(cfg)
	return sockets
}

// oldTable returns the table that the same listener had before, nil if it had none.
func (c *compiler) oldTable(object config.Object, listener int) *table {
	if c.old == nil {
		return nil
	}
	for _, g := range c.old.config.Gateways {
		if g.Object == object && listener < len(g.Listeners) && g.Listeners[listener].Routes != nil {
			return c.old.tables[g.Listeners[listener].Routes]
		}
	}
	return nil
}

// at is the route under the hostnames of one listener.
func (r *route) at(e *config.RouteEntry) *router.Route[*Rule] {
	out := &router.Route[*Rule]{Hostnames: e.Hostnames, Created: e.Route.Created, Name: e.Route.Object.Namespace + "/" + e.Route.Object.Name}
	for i, rule := range r.rules {
		out.Rules = append(out.Rules, router.Rule[*Rule]{Matches: e.Route.Rules[i].Matches, Value: rule})
	}
	return out
}

// rule compiles a rule; old is its compiled form before, nil: there is none, which
// stays if nothing that it refers to has changed.
func (c *compiler) rule(cfg *config.Rule, route string, old *Rule) *Rule {
	if old != nil && c.holds(cfg, old) {
		return old
	}
	r := &Rule{Config: cfg, Route: route, Name: cfg.Name, Chain: c.chain(cfg.Chain), Counters: c.metrics.of(cfg.Name, ""), Mirrors: c.mirrors(cfg.Name, cfg.Steps)}
	for i := range cfg.Backends {
		b := &cfg.Backends[i]
		r.Weights += uint64(b.Weight)
		r.Backends = append(r.Backends, Backend{Config: b, Upstream: c.group(b.Upstream), Chain: c.chain(b.Chain), Counters: c.metrics.of(cfg.Name, b.Service), Mirrors: c.mirrors(cfg.Name, b.Steps), CacheScope: cacheScope(cfg, b)})
	}
	return r
}

// holds reports whether all that a compiled rule refers to is as it was. It keeps
// its chains.
func (c *compiler) holds(cfg *config.Rule, r *Rule) bool {
	same := c.chain(cfg.Chain) == r.Chain && c.mirrored(r.Mirrors)
	for i := range r.Backends {
		b := &r.Backends[i]
		same = c.chain(b.Config.Chain) == b.Chain && c.group(b.Config.Upstream) == b.Upstream && c.mirrored(b.Mirrors) && same
	}
	return same
}

func (c *compiler) mirrored(list []Mirror) bool {
	for i := range list {
		if c.group(list[i].Config.Upstream) != list[i].Upstream {
			return false
		}
	}
	return true
}

// plain reports whether a rule refers to upstreams alone.
func (r *Rule) plain() bool {
	return r.Chain == nil && len(r.Mirrors) == 0 && !slices.ContainsFunc(r.Backends, func(b Backend) bool { return b.Chain != nil || len(b.Mirrors) > 0 })
}

func (c *compiler) group(name string) *upstream.Group {
	if name == "" {
		return nil
	}
	return c.groups.Group(name)
}

// chain returns the chain with these parts, the old one if there is one, so
// that equal chains are one and live on.
func (c *compiler) chain(cfg *config.Chain) *Chain {
	if cfg == nil || len(cfg.Parts) == 0 {
		return nil
	}
	key := chainKey(cfg)
	if done := c.new.chains[key]; done != nil {
		return done
	}
	done := &Chain{}
	if c.old != nil && c.old.chains[key] != nil {
		done = c.old.chains[key]
	}
	done.config.Store(cfg)
	c.new.chains[key] = done
	return done
}

// chainKey names a chain by who declares its parts, so that a changed part
// finds the chain whose link it replaces.
func chainKey(cfg *config.Chain) string {
	var b strings.Builder
	for _, p := range cfg.Parts {
		b.WriteString(p.Name)
		b.WriteByte(' ')
		b.WriteString(p.Object.String())
		b.WriteByte(' ')
		b.WriteString(p.Scope)
		b.WriteByte('\n')
	}
	return b.String()
}

// Modify applies a RequestHeaderModifier or ResponseHeaderModifier (Gateway
// API, HTTPHeaderFilter).
func Modify(h *exchange.Header, m *config.HeaderModifier) {
	for _, f := range m.Set {
		h.Set([]byte(f.Name), []byte(f.Value))
	}
	for _, f := range m.Add {
		h.Add([]byte(f.Name), []byte(f.Value))
	}
	for _, name := range m.Remove {
		h.Del(name)
	}
}
