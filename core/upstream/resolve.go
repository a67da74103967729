package upstream

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"penstock.dev/penstock/core/config"
)

// Resolve looks up a hostname of egress entries, whatever their ports, for a
// plugin; Services have no address of their own here. done is called exactly
// once on another goroutine, never before Resolve returned, with an address
// that the plugin could call; not at all after cancel. Errors wrap ErrUnknown
// or ErrTooMany.
func (c *Caller) Resolve(egress []config.Egress, hostname string, done func(netip.Addr, error)) (cancel func(), err error) {
	name := strings.ToLower(strings.TrimSuffix(hostname, "."))
	if !validName(name) || !slices.ContainsFunc(egress, func(e config.Egress) bool { return covers(e.Hostname, name) }) {
		return nil, fmt.Errorf("resolve %.256q: %w", hostname, ErrUnknown)
	}
	if c.inFlight.Add(1) > maxCalls || c.ctx.Err() != nil {
		c.inFlight.Add(-1)
		return nil, ErrTooMany
	}
	ctx, end := context.WithTimeout(c.ctx, resolveTime)
	var cancelled atomic.Bool
	began := make(chan struct{})
	defer close(began)
	c.group.Go(func() {
		defer end()
		defer c.inFlight.Add(-1)
		addresses, err := c.external.lookup(ctx, name)
		address := netip.Addr{}
		if i := slices.IndexFunc(addresses, func(a netip.Addr) bool { return reachable(a.Unmap()) && c.set.allows(a) }); i >= 0 {
			address = addresses[i].Unmap()
		} else if err == nil {
			err = fmt.Errorf("%s: %w", name, errNowhere)
		}
		if <-began; !cancelled.Load() {
			done(address, err)
		}
	})
	return func() {
		cancelled.Store(true)
		end()
	}, nil
}
