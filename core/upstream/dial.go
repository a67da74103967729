package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"penstock.dev/penstock/core/config"
)

// ErrNotAllowed means that an address may not be dialled.
var ErrNotAllowed = errors.New("address may not be dialled")

// Dialer opens a connection to an endpoint. It is safe for use by several
// goroutines.
type Dialer interface {
	// Dial returns a connection within timeout. ErrNotAllowed, or an error of
	// the network: nothing was sent in either case.
	Dial(ctx context.Context, ep config.Endpoint, timeout time.Duration) (net.Conn, error)
}

// NetDialer dials TCP.
type NetDialer struct {
	// Allowed says whether an address may be dialled, before each connect. It
	// depends on its argument alone. nil: any address.
	Allowed func(netip.AddrPort) bool
}

// Dial implements Dialer.
func (d NetDialer) Dial(ctx context.Context, ep config.Endpoint, timeout time.Duration) (net.Conn, error) {
	if d.Allowed != nil && !d.Allowed(ep.Address) {
		return nil, ErrNotAllowed
	}
	dialer := net.Dialer{Timeout: timeout}
	return dialer.DialContext(ctx, "tcp", ep.Address.String())
}

var _ Dialer = NetDialer{}
