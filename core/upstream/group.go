package upstream

import (
	"sync"
	"sync/atomic"

	"penstock.dev/penstock/core/certs"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
)

// Group is the endpoints of one upstream. Its methods are safe for use by
// several goroutines.
type Group struct {
	set      *Set
	config   *config.Upstream
	classes  [6]counter // by first digit of the status; 0: an error
	failures counter
	tls      *certs.Client // nil: plain text
	told     seldom        // a failure of TLS

	pending atomic.Int64 // exchanges that wait for a connection
	next    atomic.Uint32
	current atomic.Pointer[endpoints]
	heir    atomic.Pointer[Group] // that replaced this one

	mu  sync.Mutex // one apply at a time
	src *config.EndpointSet
}

// endpoints is an endpoint set as it is used; immutable.
type endpoints struct {
	all   []*endpoint
	ready []*endpoint // the ready ones; else those that still serve
	used  []*endpoint // those of ready that are meant for the proxy's place
}

var classNames = [...]string{"error", "1xx", "2xx", "3xx", "4xx", "5xx"}

func (s *Set) newGroup(u *config.Upstream) *Group {
	g := &Group{set: s, config: u}
	if u.TLS != nil {
		g.tls = certs.NewClient(u.TLS, alpn(u.Protocol))
	}
	g.current.Store(&endpoints{})
	return g
}

// counter is a series that is there once it has counted: most groups never see most
// classes, and many no exchange.
type counter struct {
	made atomic.Pointer[telemetry.Counter]
}

func (c *counter) inc(first func() telemetry.Counter) {
	made := c.made.Load()
	if made == nil {
		one := first()
		made = &one
		c.made.Store(made)
	}
	made.Inc()
}

// answered counts an exchange by the first digit of its status; 0: an error.
func (g *Group) answered(class int) {
	g.classes[class].inc(func() telemetry.Counter { return g.set.requests.With(g.config.Name, classNames[class]) })
}

// failed counts a connection that could not be opened.
func (g *Group) failed() {
	g.failures.inc(func() telemetry.Counter { return g.set.failures.With(g.config.Name) })
}

// scheme returns that of URIs that the group is asked for.
func (g *Group) scheme() []byte {
	if g.tls != nil {
		return []byte("https")
	}
	return []byte("http")
}

// Protocol returns what is spoken to the group, as config.Upstream has it.
func (g *Group) Protocol() string { return g.config.Protocol }

// forget deletes the group's metrics.
func (g *Group) forget() {
	for _, name := range classNames {
		g.set.requests.Delete(g.config.Name, name)
	}
	g.set.failures.Delete(g.config.Name)
	g.set.refused.Delete(g.config.Name)
	g.set.insecure.Delete(g.config.Name)
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
	var hints []config.Endpoint // of the ready ones
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
				next.ready, hints = append(next.ready, e), append(hints, ep)
			case ep.Serving && ep.Terminating:
				serving = append(serving, e)
			}
		}
	}
	next.used = near(next.ready, hints, g.set.place)
	if len(next.ready) == 0 {
		next.ready, next.used = serving, serving
	}
	g.current.Store(next)
	for _, e := range known {
		e.leave()
	}
}

// choose returns the session's endpoint, else the next one, round robin; those that are
// meant for other places once the near ones were tried, and tried ones only if there is
// no other. nil: there is none at all.
func (g *Group) choose(tried []*endpoint, s *Session) *endpoint {
	if s != nil && s.Known {
		if e := g.tagged(s.Key, s.Want); e != nil && !contains(tried, e) {
			return e
		}
	}
	now := g.current.Load()
	used := now.used
	if len(used) == 0 {
		return nil
	}
	n := int(g.next.Add(1) - 1)
	if e := untried(used, n, tried); e != nil {
		return e
	}
	if e := untried(now.ready, n, tried); e != nil {
		return e
	}
	return used[n%len(used)]
}

// more reports whether choose has an endpoint that was not tried: they may be others
// than when the first one was.
func (g *Group) more(tried []*endpoint) bool {
	now := g.current.Load()
	return untried(now.used, 0, tried) != nil || untried(now.ready, 0, tried) != nil
}

// untried returns the n-th of a list, or the next one that was not tried; nil: there is
// none.
func untried(list []*endpoint, n int, tried []*endpoint) *endpoint {
	if len(list) == 0 {
		return nil
	}
	first := n % len(list)
	for i := range list {
		if e := list[(first+i)%len(list)]; !contains(tried, e) {
			return e
		}
	}
	return nil
}

func contains(list []*endpoint, e *endpoint) bool {
	for _, x := range list {
		if x == e {
			return true
		}
	}
	return false
}
