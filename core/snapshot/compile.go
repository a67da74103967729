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
}

func (c *compiler) compile(cfg *config.Config) []config.Socket {
	c.new = &Snapshot{
		config: cfg,
		ports:  map[string]*Port{},
		tables: map[*config.RouteTable]*router.Table[*Rule]{},
		rules:  map[*config.Rule]*Rule{},
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
				s.Names = append(s.Names, config.ServerName{Hostname: l.Hostname, TLS: l.TLS, Raw: l.Raw()})
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
				compiled.Table = c.table(l.Routes, c.oldTable(g.Object, i))
			}
			port.add(l.Hostname, compiled)
		}
	}
	return sockets
}

// oldTable returns the table that the same listener had before.
func (c *compiler) oldTable(object config.Object, listener int) *router.Table[*Rule] {
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

// routeKey is what a route's compiled form depends on.
type routeKey struct {
	route *config.Route
	first *Rule // rules are compiled anew together
}

func (c *compiler) table(t *config.RouteTable, old *router.Table[*Rule]) *router.Table[*Rule] {
	if done := c.new.tables[t]; done != nil {
		return done
	}
	var routes []router.Route[*Rule]
	for _, e := range t.Entries {
		r := router.Route[*Rule]{
			Hostnames: e.Hostnames,
			Created:   e.Route.Created,
			Name:      e.Route.Object.Namespace + "/" + e.Route.Object.Name,
		}
		key := routeKey{route: e.Route}
		for _, rule := range e.Route.Rules {
			compiled := c.rule(rule, r.Name)
			if key.first == nil {
				key.first = compiled
			}
			r.Rules = append(r.Rules, router.Rule[*Rule]{Matches: rule.Matches, Value: compiled})
		}
		r.Key = key
		routes = append(routes, r)
	}
	done := router.New(old, routes)
	c.new.tables[t] = done
	return done
}

// rule takes the compiled rule over from the old snapshot if nothing that it
// refers to has changed.
func (c *compiler) rule(cfg *config.Rule, route string) *Rule {
	if done := c.new.rules[cfg]; done != nil {
		return done
	}
	r := &Rule{Config: cfg, Route: route, Name: cfg.Name, Chain: c.chain(cfg.Chain), Counters: c.metrics.of(cfg.Name, ""), Mirrors: c.mirrors(cfg.Name, cfg.Steps)}
	for i := range cfg.Backends {
		b := &cfg.Backends[i]
		r.Weights += uint64(b.Weight)
		r.Backends = append(r.Backends, Backend{Config: b, Upstream: c.group(b.Upstream), Chain: c.chain(b.Chain), Counters: c.metrics.of(cfg.Name, b.Service), Mirrors: c.mirrors(cfg.Name, b.Steps)})
	}
	if c.old != nil {
		if old := c.old.rules[cfg]; old != nil && old.same(r) {
			r = old
		}
	}
	c.new.rules[cfg] = r
	return r
}

func (r *Rule) same(o *Rule) bool {
	return r.Chain == o.Chain && r.Route == o.Route && sameMirrors(r.Mirrors, o.Mirrors) && slices.EqualFunc(r.Backends, o.Backends, func(a, b Backend) bool {
		return a.Config == b.Config && a.Upstream == b.Upstream && a.Chain == b.Chain && sameMirrors(a.Mirrors, b.Mirrors)
	})
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
