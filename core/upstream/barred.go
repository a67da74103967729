package upstream

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
)

// errNowhere is why a name leads to nothing.
var errNowhere = fmt.Errorf("%w: loopback, link-local, the API server's, our own, or none", ErrNotAllowed)

// barred is config.Forbidden as each dial asks it.
type barred struct {
	from  *config.Forbidden
	addrs map[netip.Addr]bool
}

// Forbid says where no connection of the Set may lead from now on; nil: anywhere. It is
// for the goroutine that calls Apply, before Apply. Plugins' connections to addresses that
// are forbidden now are closed once they are idle; endpoints of the config are its own.
func (s *Set) Forbid(f *config.Forbidden) {
	if b := s.barred.Load(); b != nil && b.from == f || b == nil && f == nil {
		return
	}
	if f == nil {
		s.barred.Store(nil)
		return
	}
	b := &barred{from: f, addrs: make(map[netip.Addr]bool, len(f.Addresses))}
	for _, a := range f.Addresses {
		b.addrs[a.Unmap()] = true
	}
	s.barred.Store(b)
	s.mu.RLock()
	lent := slices.Collect(maps.Values(s.lent))
	s.mu.RUnlock()
	for _, g := range lent {
		g.sieve(s.allows)
	}
}

// allows says whether an address may be dialled.
func (s *Set) allows(a netip.Addr) bool {
	b := s.barred.Load()
	if b == nil {
		return true
	}
	a = a.Unmap().WithZone("")
	return reachable(a) && !b.addrs[a]
}

// sayEvery is how often one thing is logged at most.
const sayEvery = 10 * time.Second

// seldom is when something was logged last, Unix time in nanoseconds.
type seldom struct{ last atomic.Int64 }

// due reports whether it may be logged now; true counts as done.
func (s *seldom) due() bool {
	now, last := time.Now().UnixNano(), s.last.Load()
	return now-last > int64(sayEvery) && s.last.CompareAndSwap(last, now)
}

// check refuses an address that may not be dialled, counts that, and logs it now and then.
func (s *Set) check(upstream string, to netip.AddrPort) error {
	if s.allows(to.Addr()) {
		return nil
	}
	s.refused.With(upstream).Inc()
	if s.told.due() {
		s.log.Warn("an address may not be dialled: it is loopback, link-local, the API server's or our own",
			zap.String("upstream", upstream), zap.Stringer("address", to))
	}
	return fmt.Errorf("%s: %w", to, ErrNotAllowed)
}

// dial opens a connection for what is called upstream: the one way out.
func (s *Set) dial(ctx context.Context, upstream string, ep config.Endpoint, timeout time.Duration) (net.Conn, error) {
	if err := s.check(upstream, ep.Address); err != nil {
		return nil, err
	}
	return s.dialer.Dial(ctx, ep, timeout)
}

// Outward is the Set's way out for connections that are no group's.
type Outward struct {
	set  *Set
	name string
}

// Outward returns a Dialer that refuses what the Set does, and counts it under a name.
func (s *Set) Outward(name string) Outward { return Outward{s, name} }

// Dial implements Dialer.
func (o Outward) Dial(ctx context.Context, ep config.Endpoint, timeout time.Duration) (net.Conn, error) {
	return o.set.dial(ctx, o.name, ep, timeout)
}

var _ Dialer = Outward{}

// sieve takes the endpoints away that may not be dialled any more.
func (g *Group) sieve(allowed func(netip.Addr) bool) {
	g.mu.Lock()
	src := g.src
	g.mu.Unlock()
	gone := func(e config.Endpoint) bool { return !allowed(e.Address.Addr()) }
	if src == nil || !slices.ContainsFunc(src.Endpoints, gone) {
		return
	}
	g.apply(&config.EndpointSet{Endpoints: slices.DeleteFunc(slices.Clone(src.Endpoints), gone)})
}
