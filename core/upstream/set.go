package upstream

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/codec/h1"
	"penstock.dev/penstock/core/codec/h2"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
)

// Set is the groups of a proxy, by name. Apply and Close are for one goroutine
// at a time; Group may be called by any.
type Set struct {
	log      *zap.Logger
	dialer   Dialer
	barred   atomic.Pointer[barred] // nil: a folder of files
	requests telemetry.Counters
	failures telemetry.Counters
	refused  telemetry.Counters
	insecure telemetry.Counters
	told     seldom // a refusal
	buffers  h1.Buffers
	client   *h2.Client
	place    Place
	links    sync.WaitGroup // goroutines of shared connections
	sweeper  sweeper
	ctx      context.Context // ended by Close: dialling stops
	cancel   context.CancelFunc

	mu     sync.RWMutex
	groups map[string]*Group
	lent   map[string]*Group // of a Caller's; not found by Group
	closed bool

	// What was applied last, for the goroutine that calls Apply.
	upstreams map[string]*config.Upstream
	endpoints config.Overlay[string, *config.EndpointSet]
}

// New returns an empty Set. Metrics: penstock_upstream_requests_total by
// upstream and code_class ("2xx", "error"), and
// penstock_upstream_connect_failures_total, penstock_upstream_refused_total and
// penstock_upstream_tls_failures_total by upstream.
func New(log *zap.Logger, m *telemetry.Metrics, d Dialer) *Set {
	s := &Set{
		log:    log.Named("upstream"),
		dialer: d,
		requests: m.Counters("penstock_upstream_requests_total",
			"Requests sent to an upstream, by the class of its answer.", "upstream", "code_class"),
		failures: m.Counters("penstock_upstream_connect_failures_total",
			"Connections to an upstream that could not be opened.", "upstream"),
		refused: m.Counters("penstock_upstream_refused_total",
			"Connections that were not opened since the address may not be dialled.", "upstream"),
		insecure: m.Counters("penstock_upstream_tls_failures_total",
			"Connections to an upstream on which no TLS could be agreed on.", "upstream"),
		client: h2.NewClient(m),
		groups: map[string]*Group{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.sweeper.init()
	return s
}

// Locate says where the proxy runs, so that endpoints that are meant for that place are
// preferred. To be called before Apply.
func (s *Set) Locate(p Place) { s.place = p }

// Apply makes the Set hold these upstreams with these endpoints, both by
// Upstream.Name. A group whose *Upstream is the same keeps its connections;
// one whose *EndpointSet is the same is left alone altogether. Idle connections
// to endpoints and of groups that are gone are closed; busy ones finish. steady
// says that every name that there was, and still is, has the same group.
func (s *Set) Apply(upstreams map[string]*config.Upstream, endpoints config.Overlay[string, *config.EndpointSet]) (steady bool) {
	s.sweeper.start()
	if s.upstreams != nil && config.SameMap(upstreams, s.upstreams) {
		one := func(name string, set *config.EndpointSet) {
			if g := s.groups[name]; g != nil { // which only this goroutine replaces
				g.apply(set)
			}
		}
		endpoints.Differ(s.endpoints, one, func(name string) { one(name, nil) })
		s.endpoints = endpoints
		return true
	}
	s.upstreams, s.endpoints = upstreams, endpoints
	steady = true
	next := make(map[string]*Group, len(upstreams))
	for name, u := range upstreams {
		g := s.groups[name]
		if g == nil || g.config != u {
			steady = steady && g == nil
			g = s.newGroup(u)
		}
		g.apply(endpoints.Of(name))
		next[name] = g
	}
	s.mu.Lock()
	old := s.groups
	s.groups = next
	s.mu.Unlock()
	for name, g := range old {
		if next[name] == g {
			continue
		}
		g.heir.Store(next[name])
		g.apply(nil)
		if next[name] == nil {
			g.forget()
		}
	}
	return steady
}

// ApplyEndpoints replaces the endpoints of these groups; nil: it has none any
// more. Names of no group are left out. For the goroutine that calls Apply.
func (s *Set) ApplyEndpoints(changed map[string]*config.EndpointSet) {
	s.endpoints = s.endpoints.With(changed)
	for name, set := range changed {
		if g := s.groups[name]; g != nil {
			g.apply(set)
		}
	}
}

// Group returns the group of that name, nil if there is none. A group that was
// removed since answers 503, "no-endpoint"; one that was replaced sends by the new one.
func (s *Set) Group(name string) *Group {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.groups[name]
}

// Close removes all groups and waits for the Set's goroutines. Exchanges in
// flight finish; those on connections that are shared are waited for.
func (s *Set) Close() {
	s.Apply(nil, config.Overlay[string, *config.EndpointSet]{})
	s.cancel()
	s.sweeper.close()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.links.Wait()
}

// serve reads a shared connection on a goroutine of its own; false: the Set is
// closed.
func (s *Set) serve(run func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.links.Go(run)
	}
	return !s.closed
}

// lend has the sweeper look after a group that is not the config's; nil ends that.
func (s *Set) lend(name string, g *Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g == nil {
		delete(s.lent, name)
		return
	}
	if s.lent == nil {
		s.lent = map[string]*Group{}
	}
	s.lent[name] = g
}

// silence is how long an upstream is silent before its exchange looks for the
// client's disconnect, and how often the sweeper looks for such exchanges.
const silence = 10 * time.Millisecond
