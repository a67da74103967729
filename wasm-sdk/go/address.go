package sdk

import (
	"errors"
	"net/netip"
)

// clientAddress reads the proxy's own property of the address, or why there is none. Only a
// proxy that has no such property leaves it to the text of source: one that has it, and
// nothing in it, does not know the client, and source is a proxy before it.
func clientAddress(own []byte, err error, source func() string) (address netip.Addr, ok bool) {
	switch {
	case err == nil:
		return readAddress(own)
	case errors.Is(err, ErrNotFound):
		return parseAddress(source())
	}
	return netip.Addr{}, false
}

// readAddress reads an address of 4 or 16 bytes, in network order.
func readAddress(b []byte) (address netip.Addr, ok bool) {
	address, ok = netip.AddrFromSlice(b)
	return address.Unmap(), ok
}

// parseAddress reads a text such as "192.0.2.7:40000" or "[2001:db8::1]:40000", also without
// a port, and then with or without brackets; not one with a zone.
func parseAddress(text string) (address netip.Addr, ok bool) {
	both, err := netip.ParseAddrPort(text)
	address = both.Addr()
	if err != nil {
		address, err = netip.ParseAddr(text)
	}
	if err != nil { // "[2001:db8::1]"
		both, err = netip.ParseAddrPort(text + ":0")
		address = both.Addr()
	}
	if err != nil || address.Zone() != "" {
		return netip.Addr{}, false
	}
	return address.Unmap(), true
}
