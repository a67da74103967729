package upstream

import (
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/certs"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
)

// Group is the endpoints of one upstream. Its methods are safe for use by
// several goroutines.
type Group struct {
	set      *Set
	config   *config.Upstream
	classes  [6]telemetry.Counter // by first digit of the status; 0: an error
	failures telemetry.Counter
	tls      *certs.Client // nil: plain text

	pending atomic.Int64 // exchanges that wait for a connection
	next    atomic.Uint32
	current atomic.Pointer[endpoints]
	heir    atomic.Pointer[Group] // that replaced this one

	mu  sync.Mutex // one apply at a time
	src *config.EndpointSet
}

// endpoints is an endpoint set as it is used; immutable.
type endpoints struct {
	all  []*endpoint
	used []*endpoint // the ready ones; else those that still serve
}

var classNames = [...]string{"error", "1xx", "2xx", "3xx", "4xx", "5xx"}

func (s *Set) newGroup(u *config.Upstream) *Group {
	g := &Group{set: s, config: u, failures: s.failures.With(u.Name)}
	for i, name := range classNames {
		g.classes[i] = s.requests.With(u.Name, name)
	}
	if u.TLS != nil {
		g.tls = certs.NewClient(u.TLS, alpn(u.Protocol))
	}
	g.current.Store(&endpoints{})
	return g
}

// Protocol returns what is spoken to the group, as config.Upstream has it.
func (g *Group) Protocol() string { return g.config.Protocol }

// forget deletes the group's metrics.
func (g *Group) forget() {
	for _, name := range classNames {
		g.set.requests.Delete(g.config.Name, name)
	}
	g.set.failures.Delete(g.config.Name)
}

// apply swaps the endpoint set; pools of endpoints that are in both stay.
func (g *Group) apply(src *config.EndpointSet) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.current.Load()
	if src == g.src && (src != nil || len(old.all) == 0) {
		return
	}
	g.src = src
	known := make(map[key]*endpoint, len(old.all))
	for _, e := range old.all {
		known[keyOf(e.config)] = e
	}
	next := &endpoints{}
	var serving []*endpoint
	if src != nil {
		for _, ep := range src.Endpoints {
			k := keyOf(ep)
			e := known[k]
			if e == nil {
				e = &endpoint{group: g, config: ep, text: ep.Address.String()}
				e.several = g.config.Protocol == config.ProtocolH2C
			}
			delete(known, k)
			next.all = append(next.all, e)
			switch {
			case ep.Ready:
				next.used = append(next.used, e)
			case ep.Serving && ep.Terminating:
				serving = append(serving, e)
			}
		}
	}
	if len(next.used) == 0 {
		next.used = serving
	}
	g.current.Store(next)
	for _, e := range known {
		e.leave()
	}
}

// choose returns the next endpoint, round robin; tried ones only if there is
// no other. nil: there is none at all.
func (g *Group) choose(tried []*endpoint) *endpoint {
	used := g.current.Load().used
	if len(used) == 0 {
		return nil
	}
	first := int(g.next.Add(1)-1) % len(used)
	for i := range used {
		e := used[(first+i)%len(used)]
		if !contains(tried, e) {
			return e
		}
	}
	return used[first]
}

func contains(list []*endpoint, e *endpoint) bool {
	for _, x := range list {
		if x == e {
			return true
		}
	}
	return false
}

// each calls f for every endpoint.
func (g *Group) each(f func(*endpoint)) {
	for _, e := range g.current.Load().all {
		f(e)
	}
}

// expire closes connections that are idle for too long.
func (g *Group) expire(now time.Time) {
	before := now.Add(-g.config.Parameters.IdleTimeout)
	g.each(func(e *endpoint) { e.expire(before) })
}
