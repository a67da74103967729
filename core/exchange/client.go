package exchange

import (
	"bytes"
	"net/netip"
	"strings"
)

// The lists in which proxies say who the client is.
var (
	xForwardedFor = []byte("X-Forwarded-For")
	forwarded     = []byte("Forwarded")
)

// FindClient sets ClientAddress, once the request's head is there. trusted: the peer is a
// trusted proxy, whose X-Forwarded-For counts. What it sent as several lines of that list,
// or of Forwarded, becomes one, in their order (RFC 9110, 5.3): it may have added its
// client's address as a line of its own, behind one that the client itself sent, and who
// looks at the first line alone would believe the client.
func (x *Exchange) FindClient(trusted bool) {
	x.ClientAddress = plain(x.Conn.Remote.Addr())
	if !trusted {
		return
	}
	x.oneLine(xForwardedFor)
	x.oneLine(forwarded)
	if list, ok := x.Request.Header.Get("X-Forwarded-For"); ok {
		x.ClientAddress = readAddress(string(bytes.TrimSpace(list[bytes.LastIndexByte(list, ',')+1:])))
	}
}

func (x *Exchange) oneLine(name []byte) {
	q := &x.Request.Header
	if q.Count(string(name)) < 2 {
		return
	}
	n := 0
	for _, f := range q.fields {
		n += len(f.Value) + len(", ")
	}
	all := x.Arena.Alloc(n)[:0]
	for _, f := range q.fields {
		if !EqualFold(f.Name, name) || len(f.Value) == 0 {
			continue
		}
		if len(all) > 0 {
			all = append(all, ", "...)
		}
		all = append(all, f.Value...)
	}
	q.Set(name, all)
}

// readAddress reads an address as proxies write it: some write the port too, or brackets
// around one of IPv6. The zero Addr: it is none.
func readAddress(text string) netip.Addr {
	inner, opened := strings.CutPrefix(text, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	if ip, err := netip.ParseAddr(inner); err == nil && opened == closed && (!opened || ip.Is6()) {
		return plain(ip)
	}
	with, err := netip.ParseAddrPort(text)
	if err != nil {
		return netip.Addr{}
	}
	return plain(with.Addr())
}

// plain makes one address of what are two forms of the same client's.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
