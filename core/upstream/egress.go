package upstream

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock/core/config"
)

// Resolver looks the addresses of a hostname up.
type Resolver func(ctx context.Context, hostname string) ([]netip.Addr, error)

// ResolveDNS is a Resolver that asks the system's.
func ResolveDNS(ctx context.Context, hostname string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", hostname)
}

// finder finds the group of a call; it may ask the network.
type finder func(context.Context) (*Group, error)

// find reads the upstream's name and says whether it may be called
// (annotations.md, section 7.5).
// protocol is for hostnames; a Service has its own.
func (c *Caller) find(k *Call, protocol string) (finder, error) {
	name, port, ok := splitUpstream(k.Upstream, k.Secure)
	if !ok {
		return nil, ErrUnknown
	}
	service, namespace, isService := serviceName(name, k.Namespace)
	entry, allowed := allowedBy(k.Egress, name, port)
	if isService {
		if g := c.set.Group(namespace + "/" + service + ":" + strconv.Itoa(int(port))); g != nil {
			if namespace != k.Namespace && !allowed {
				return nil, ErrForbidden
			}
			return func(context.Context) (*Group, error) { return g, nil }, nil
		}
	}
	if !allowed {
		if isService && namespace != k.Namespace {
			return nil, ErrForbidden
		}
		return nil, ErrUnknown
	}
	to := outside{name: name, port: port, protocol: protocol, secure: k.Secure || port == portHTTPS, ca: entry.CA}
	return func(ctx context.Context) (*Group, error) { return c.external.group(ctx, to) }, nil
}

// portHTTPS is that of https (RFC 9110, 4.2.2).
const portHTTPS = 443

// splitUpstream reads a name and a port out of what a guest calls an upstream.
func splitUpstream(text string, secure bool) (name string, port uint16, ok bool) {
	name, port = text, 80
	if secure {
		port = portHTTPS
	}
	number := ""
	if rest, found := strings.CutPrefix(text, "outbound|"); found {
		parts := strings.Split(rest, "|")
		if len(parts) != 3 {
			return "", 0, false
		}
		number, name = parts[0], parts[2]
	} else if i := strings.LastIndexByte(text, ':'); i >= 0 {
		name, number = text[:i], text[i+1:]
	}
	if number != "" {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n == 0 {
			return "", 0, false
		}
		port = uint16(n)
	}
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".dns"), ".static")
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name, port, validName(name)
}

// validName allows DNS names and addresses.
func validName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return s != "" && len(s) <= 253 && !strings.Contains(s, "..") && s[0] != '.'
}

// serviceName reads "svc", "svc.ns" or "svc.ns.svc[.domain]"; a bare name is of
// the caller's namespace.
func serviceName(name, own string) (service, namespace string, ok bool) {
	parts := strings.Split(name, ".")
	switch {
	case len(parts) == 1:
		return parts[0], own, true
	case len(parts) == 2, parts[2] == "svc":
		return parts[0], parts[1], true
	}
	return "", "", false
}

// allowedBy returns the entry that lets a name and port be called: of several the one
// with the name itself, else the longest domain; among equals the first.
func allowedBy(list []config.Egress, name string, port uint16) (best config.Egress, ok bool) {
	for _, e := range list {
		if (len(e.Ports) == 0 || slices.Contains(e.Ports, port)) && covers(e.Hostname, name) && (!ok || closer(e.Hostname, best.Hostname)) {
			best, ok = e, true
		}
	}
	return best, ok
}

// covers reports whether an entry's hostname is name, or a domain that it is in.
func covers(hostname, name string) bool {
	if domain, ok := strings.CutPrefix(hostname, "*."); ok {
		return strings.HasSuffix(name, "."+domain)
	}
	return hostname == name
}

// closer reports whether, of two that cover a name, the first says more.
func closer(a, b string) bool {
	wide := func(s string) bool { return strings.HasPrefix(s, "*.") }
	return wide(b) && (!wide(a) || len(a) > len(b))
}

// Bounds on the hostnames that are known at one time.
const (
	maxExternals = 256
	externalFor  = 5 * time.Minute  // unused, until it is forgotten
	addressesFor = 30 * time.Second // until they are looked up again
	resolveTime  = 5 * time.Second
)

// externals are the groups of hostnames that plugins call.
type externals struct {
	set     *Set
	resolve Resolver
	p       *config.ProxyParameters

	mu     sync.Mutex
	groups map[string]*external
}

// outside is what a group of externals is told apart by.
type outside struct {
	name     string
	port     uint16
	protocol string
	secure   bool
	ca       *config.Authorities // with secure; nil: the system's
}

// String returns the name of the group, which its metrics have.
func (o outside) String() string {
	s := "egress/" + o.name + ":" + strconv.Itoa(int(o.port))
	if o.protocol != config.ProtocolHTTP {
		s += "/" + o.protocol
	}
	if o.secure {
		s += "/tls"
		if o.ca != nil {
			s += "/" + o.ca.Hash
		}
	}
	return s
}

// upstream returns the group's config.
func (o outside) upstream(p *config.ProxyParameters) *config.Upstream {
	u := &config.Upstream{Name: o.String(), Protocol: o.protocol, Parameters: p}
	if o.secure {
		u.TLS = &config.UpstreamTLS{ServerName: o.name}
		if o.ca != nil {
			u.TLS.Roots, u.TLS.Fault = o.ca.Roots, o.ca.Fault
		}
	}
	return u
}

// external is one hostname and port.
type external struct {
	g *Group

	mu       sync.Mutex // held while the addresses are looked up
	resolved time.Time
	used     time.Time // guarded by externals.mu
}

func newExternals(s *Set, resolve Resolver, p *config.ProxyParameters) *externals {
	return &externals{set: s, resolve: resolve, p: p, groups: map[string]*external{}}
}

// group returns the group of a hostname with addresses that are fresh.
func (e *externals) group(ctx context.Context, to outside) (*Group, error) {
	name, port := to.name, to.port
	one, err := e.get(to)
	if err != nil {
		return nil, err
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	if time.Since(one.resolved) < addressesFor {
		return one.g, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	addresses, err := e.lookup(ctx, name)
	if err != nil {
		if one.resolved.IsZero() {
			return nil, fmt.Errorf("look up %s: %w", name, err)
		}
		return one.g, nil // the last addresses serve
	}
	set := &config.EndpointSet{}
	for _, a := range addresses {
		if a = a.Unmap(); e.set.check(one.g.config.Name, netip.AddrPortFrom(a, port)) != nil || !reachable(a) {
			continue
		}
		set.Endpoints = append(set.Endpoints, config.Endpoint{Address: netip.AddrPortFrom(a, port), Ready: true, Serving: true})
	}
	if len(set.Endpoints) == 0 {
		one.g.apply(set) // nor where it led before
		return nil, fmt.Errorf("%s: %w", name, errNowhere)
	}
	one.g.apply(set)
	one.resolved = time.Now()
	return one.g, nil
}

func (e *externals) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a}, nil
	}
	return e.resolve(ctx, name)
}

// reachable says whether a plugin may reach an address that a name outside
// of its namespace stands for (annotations.md, section 7.5).
func reachable(a netip.Addr) bool {
	return a.IsValid() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && !a.IsUnspecified() && !a.IsLinkLocalMulticast()
}

// get returns the entry of a hostname, made if there is none.
func (e *externals) get(to outside) (*external, error) {
	key := to.String()
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	one := e.groups[key]
	if one == nil {
		for old, x := range e.groups {
			if now.Sub(x.used) > externalFor {
				e.forget(old, x)
			}
		}
		if len(e.groups) >= maxExternals {
			return nil, ErrTooMany
		}
		one = &external{g: e.set.newGroup(to.upstream(e.p))}
		e.groups[key] = one
		e.set.lend(key, one.g)
	}
	one.used = now
	return one, nil
}

func (e *externals) forget(key string, x *external) {
	delete(e.groups, key)
	e.set.lend(key, nil)
	x.g.apply(nil)
	x.g.forget()
}

func (e *externals) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for key, x := range e.groups {
		e.forget(key, x)
	}
}
