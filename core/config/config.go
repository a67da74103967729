package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"time"
)

// Config is everything one proxy serves.
type Config struct {
	// Gateways in a stable order.
	Gateways []*Gateway
	// Upstreams by Upstream.Name.
	Upstreams map[string]*Upstream
	// Endpoints by Upstream.Name. An upstream without an entry has none. They
	// change often; nothing is recompiled for it.
	Endpoints Overlay[string, *EndpointSet]
	// Totals by namespace; one without an entry has the defaults.
	Totals map[string]*Totals
	// Forbidden is where no connection may lead; nil: with a folder of files.
	Forbidden *Forbidden
	// Purges are to be carried out, each once, by ID.
	Purges []*Purge
	// Consumers by "namespace/name". They change often, and nothing is recompiled for it.
	Consumers Overlay[string, *Consumer]
	// ConsumerGrants say who may use Consumers of another namespace; nil: nobody.
	ConsumerGrants *ConsumerGrants
}

// Object names a Kubernetes object.
type Object struct{ Kind, Namespace, Name string }

// String returns "Kind/namespace/name", or "Kind/name" without a namespace.
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + "/" + o.Name
	}
	return o.Kind + "/" + o.Namespace + "/" + o.Name
}

// Gateway is a Gateway API Gateway: its listeners and its part of the chain.
type Gateway struct {
	Object     Object
	Listeners  []*Listener
	Parameters *ProxyParameters // never nil
}

// Listener is one listener of a Gateway. Listeners with one socket port
// share it, and are told apart by Hostname (Gateway API: most specific first).
type Listener struct {
	Name string // section name
	Port uint16 // 1..65535, as clients see it
	// BindPort is the port of its socket, behind a Service that translates; 0: Port.
	BindPort uint16
	Protocol string // "HTTP", "HTTPS", "TCP", "TLS", "UDP"
	Hostname string // "", "a.example" or "*.example"; lower case
	TLS      *TLS   // of an HTTPS or TLS listener that ends TLS; nil: plain text, or with TLS passed through
	// Chain is the Gateway's part, which runs before a route is matched; nil: none.
	Chain  *Chain
	Routes *RouteTable // of HTTP and HTTPS; else nil
	// RawRoutes of TCP, TLS and UDP; else nil.
	RawRoutes *RawTable
}

// Socket returns the port of the listener's socket.
func (l *Listener) Socket() uint16 { return cmp.Or(l.BindPort, l.Port) }

// RouteTable is a set of routes that one or more listeners refer to.
type RouteTable struct{ Entries []*RouteEntry }

// RouteEntry attaches a route under the hostnames that it shares with the listener.
// Tables share those that are equal.
type RouteEntry struct {
	// Hostnames: lower case, "*.example" allowed; empty: any.
	Hostnames []string
	Route     *Route
}

// Route is one HTTPRoute or GRPCRoute. Among equal matches the older route wins, then
// the lower namespace/name (Gateway API).
type Route struct {
	Object  Object
	Created time.Time
	Rules   []*Rule
}

// Rule is one rule of a Route: any of Matches leads to it.
type Rule struct {
	Name    string  // "HTTPRoute/ns/name/0", for logs and metrics; or the rule's name in place of the index
	Matches []Match // never empty
	// Steps are its filters in the order in which the request comes to them, after
	// the chain's parts of the Route, before those of the Service.
	Steps    []Step
	Redirect *Redirect // answered after the whole chain; then Backends is empty
	// Timeout bounds the whole exchange, BackendTimeout one try; 0: the default of
	// ProxyParameters, NoTimeout: none.
	Timeout, BackendTimeout time.Duration
	Retry                   *Retry   // nil: only where nothing can have been done
	Session                 *Session // nil: none
	Backends                []Backend
	// Chain runs for a rule without a Service: a redirect, or when nothing can be chosen.
	Chain *Chain
	// Status is answered when Backends is empty and Redirect nil: 500 for an
	// invalid reference or filter (Gateway API); 503 for a GRPCRoute, which is
	// UNAVAILABLE to its clients.
	Status int
}

// PathType is how a path is compared.
type PathType uint8

// The path types. PathPrefix compares whole segments. PathMethod is an expression over
// the whole path, "/service/method", that gives way to every prefix but "/"; among
// themselves the one with the higher Match.Rank counts.
const (
	PathExact PathType = iota
	PathPrefix
	PathRegex
	PathMethod
)

// ValueMatch compares one header field or query parameter.
type ValueMatch struct {
	Name  string // header: lower case
	Value string // unless Regex
	Regex *regexp.Regexp
}

// Match is one set of conditions that all must hold.
type Match struct {
	PathType PathType
	Path     string         // normalised; not for PathRegex
	Regex    *regexp.Regexp // RE2, matches the whole path; PathRegex and PathMethod only
	Rank     int            // PathMethod only
	Method   string         // empty: any
	GRPC     bool           // requests of gRPC or gRPC-Web only
	Headers  []ValueMatch
	Query    []ValueMatch
}

// HeaderModifier is a RequestHeaderModifier or ResponseHeaderModifier. Set is
// applied first, then Add, then Remove.
type HeaderModifier struct {
	Set, Add []HeaderValue
	Remove   []string
}

// HeaderValue is a field to set or add.
type HeaderValue struct{ Name, Value string }

// PathModifier replaces the whole path or the prefix that matched.
type PathModifier struct {
	Full   string // if IsFull
	IsFull bool
	Prefix string // replacement for the matched prefix, unless IsFull
}

// Redirect is a RequestRedirect filter.
type Redirect struct {
	Scheme   string // empty: as requested
	Hostname string // empty: as requested
	Port     uint16 // 0: by scheme
	Path     *PathModifier
	Status   int // 301, 302, 303, 307, 308
}

// Rewrite is a URLRewrite filter.
type Rewrite struct {
	Hostname string // empty: as requested
	Path     *PathModifier
}

// Backend is a Service port that a rule sends to.
type Backend struct {
	Weight   int    // 0..1000000
	Upstream string // Upstream.Name; empty: invalid reference, answers Status
	Service  string // "namespace/name", for logs and metrics
	Status   int    // 500 for an invalid reference
	Chain    *Chain // the joined chain after the Gateway part
	// CacheScope is what the keys of stored responses begin with: "namespace/uid:port"
	// of the Service, so that one deleted and made again has none of the old; with the
	// Service's name if it has no UID. Empty: no filter of Chain is a cache. A rule
	// without Service has none, and its caches do nothing.
	CacheScope string
	// ProxyProtocol is the version of the header that a raw connection to the
	// Service begins with, 1 or 2; 0: none.
	ProxyProtocol uint8
	// Steps are the backendRef's own filters: the last before the request is sent.
	Steps    []Step
	Redirect *Redirect // answered in place of the Service; nil: none
}

// What is spoken to an upstream.
const (
	ProtocolHTTP = "http" // HTTP/1.1
	ProtocolUDP  = "udp"  // datagrams
	ProtocolH2C  = "h2c"  // HTTP/2: by prior knowledge, or agreed on with TLS
)

// Upstream is a named group of endpoints: one port of a Service.
type Upstream struct {
	Name     string // "namespace/service:port", with "/udp" for datagrams, "/h2c" where gRPC alone needs HTTP/2
	Protocol string // ProtocolHTTP or ProtocolH2C, for raw connections too; ProtocolUDP: datagrams
	// TLS encrypts its connections; nil: plain text.
	TLS *UpstreamTLS
	// Parameters holds timeouts and limits; never nil.
	Parameters *ProxyParameters
}

// EndpointSet is the endpoints of an upstream at one moment.
type EndpointSet struct{ Endpoints []Endpoint }

// Endpoint is one address of an upstream.
type Endpoint struct {
	Address netip.AddrPort
	Zone    string
	Node    string
	// ForZones and ForNodes are where it is meant to be used from (topology hints of an
	// EndpointSlice); empty: no hint.
	ForZones, ForNodes []string
	Identity           string // of the peer, for mutual TLS; empty: none
	Tunnel             netip.AddrPort
	// Ready endpoints are used; Serving ones that are terminating only when no other is left.
	Ready, Serving, Terminating bool
}

// Validate reports every value that translate should never have made; the
// errors are joined. It is the last guard before a config is compiled.
func (c *Config) Validate() error { return c.ValidateAfter(&Config{}) }

// ValidateAfter is Validate for a config that comes after one that is valid: routes and
// upstreams that both have are not looked at again.
func (c *Config) ValidateAfter(valid *Config) error {
	var errs joined
	seen := valid.tables()
	if !c.hasUpstreamsOf(valid) {
		seen = nil
	}
	kinds := map[string]string{}
	for _, g := range c.Gateways {
		if g.Parameters == nil {
			errs.add("%s: no parameters", g.Object)
		}
		for _, l := range g.Listeners {
			if l.Port == 0 {
				errs.add("%s: listener %s: port 0", g.Object, l.Name)
			}
			port := fmt.Sprint(l.Socket(), l.transport())
			if before, known := kinds[port]; known && (before != l.kind() || before == "TCP" || before == "UDP") || l.Protocol == "HTTPS" && l.TLS == nil || l.Protocol == "HTTP" && l.TLS != nil {
				errs.add("%s: listener %s: TLS and plain text, or two protocols, on port %d", g.Object, l.Name, l.Socket())
			}
			kinds[port] = l.kind()
			if l.Raw() {
				c.validateRaw(g, l, &errs)
				continue
			}
			if l.Routes == nil {
				errs.add("%s: listener %s: no route table", g.Object, l.Name)
				continue
			}
			before := seen[listenerKey{g.Object, l.Name}]
			if before == nil {
				before = &RouteTable{}
			}
			first, last := before.Common(l.Routes)
			for _, e := range l.Routes.Entries[first : len(l.Routes.Entries)-last] {
				c.validateRoute(e.Route, &errs)
			}
		}
	}
	if c.Forbidden != nil && c.Forbidden != valid.Forbidden {
		for _, a := range c.Forbidden.Addresses {
			if !a.IsValid() || a.Is4In6() {
				errs.add("forbidden addresses: %s is none, or not unmapped", a)
			}
		}
	}
	for i, p := range c.Purges {
		if p.validate(&errs); i > 0 && c.Purges[i-1].ID >= p.ID {
			errs.add("purge %s: twice, or not in order", p.ID)
		}
	}
	c.Consumers.Differ(valid.Consumers, func(key string, one *Consumer) { one.validate(key, &errs) }, func(string) {})
	if SameMap(c.Upstreams, valid.Upstreams) {
		return errs.err()
	}
	for name, u := range c.Upstreams {
		if u != valid.Upstreams[name] && (u.Name != name || u.Parameters == nil) {
			errs.add("upstream %s: wrong name or no parameters", name)
		}
	}
	return errs.err()
}

// listenerKey names a listener among those of all Gateways.
type listenerKey struct {
	gateway Object
	name    string
}

// tables returns the route tables by listener.
func (c *Config) tables() map[listenerKey]*RouteTable {
	all := map[listenerKey]*RouteTable{}
	for _, g := range c.Gateways {
		for _, l := range g.Listeners {
			all[listenerKey{g.Object, l.Name}] = l.Routes
		}
	}
	return all
}

// hasUpstreamsOf reports whether no name of other's upstreams is missing.
func (c *Config) hasUpstreamsOf(other *Config) bool {
	if SameMap(c.Upstreams, other.Upstreams) {
		return true
	}
	for name := range other.Upstreams {
		if c.Upstreams[name] == nil {
			return false
		}
	}
	return true
}

// SameMap reports whether two maps are one, and so equal, without looking into them.
func SameMap[K comparable, V any](a, b map[K]V) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// Common returns how many entries two tables share at their beginning and, of the rest,
// at their end.
func (t *RouteTable) Common(other *RouteTable) (first, last int) {
	a, b := t.Entries, other.Entries
	n := min(len(a), len(b))
	if n > 0 && len(a) == len(b) && &a[0] == &b[0] {
		return n, 0
	}
	for first < n && a[first].same(b[first]) {
		first++
	}
	for last < n-first && a[len(a)-1-last].same(b[len(b)-1-last]) {
		last++
	}
	return first, last
}

func (e *RouteEntry) same(other *RouteEntry) bool {
	if e == other {
		return true
	}
	if e.Route != other.Route || len(e.Hostnames) != len(other.Hostnames) {
		return false
	}
	return len(e.Hostnames) == 0 || &e.Hostnames[0] == &other.Hostnames[0] || slices.Equal(e.Hostnames, other.Hostnames)
}

func (c *Config) validateRoute(r *Route, errs *joined) {
	for i, rule := range r.Rules {
		if len(rule.Matches) == 0 {
			errs.add("%s: rules[%d]: no match", r.Object, i)
		}
		c.validateBackends(r.Object, i, rule.Backends, errs)
		c.validateSteps(r.Object, i, rule.Steps, errs)
		for j := range rule.Backends {
			c.validateSteps(r.Object, i, rule.Backends[j].Steps, errs)
		}
	}
}

func (c *Config) validateSteps(o Object, rule int, list []Step, errs *joined) {
	for _, s := range list {
		if m := s.Mirror; m != nil && (c.Upstreams[m.Upstream] == nil || m.Denominator == 0) {
			errs.add("%s: rules[%d]: mirror to %s: it is not in the config, or of no share", o, rule, m.Upstream)
		}
	}
}

func (c *Config) validateBackends(o Object, rule int, list []Backend, errs *joined) {
	for j, b := range list {
		if b.Weight < 0 || b.Weight > 1_000_000 {
			errs.add("%s: rules[%d].backendRefs[%d].weight: %d is not in 0..1000000", o, rule, j, b.Weight)
		}
		if b.Upstream != "" && c.Upstreams[b.Upstream] == nil {
			errs.add("%s: rules[%d].backendRefs[%d]: upstream %s is not in the config", o, rule, j, b.Upstream)
		}
	}
}

type joined []error

func (j *joined) add(format string, args ...any) { *j = append(*j, fmt.Errorf(format, args...)) }

func (j joined) err() error { return errors.Join(j...) }
