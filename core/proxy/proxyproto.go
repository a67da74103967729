package proxy

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"penstock.dev/penstock/core/exchange"
)

// appendProxyHeader appends the PROXY protocol header, version 1 or 2, that tells
// who the client is (HAProxy, proxy-protocol.txt, 2.1 and 2.2); version 0: nothing.
// Addresses of two families are both written as IPv6. Version 2 names what the client
// asked for by TLS (PP2_TYPE_AUTHORITY).
func appendProxyHeader(b []byte, version uint8, c *exchange.Conn) []byte {
	from, to := c.Remote, c.Local
	if version == 0 {
		return b
	}
	four := from.Addr().Is4() && to.Addr().Is4()
	if !four {
		from, to = six(from), six(to)
	}
	if version == 1 {
		return appendProxyV1(b, from, to, four)
	}
	name := c.ServerName
	if c.TLS != nil {
		name = c.TLS.ServerName
	}
	if len(name) > maxAuthority {
		name = ""
	}
	return appendProxyV2(b, from, to, four, name)
}

func six(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
}

func appendProxyV1(b []byte, from, to netip.AddrPort, four bool) []byte {
	family := "PROXY TCP6 "
	if four {
		family = "PROXY TCP4 "
	}
	b = append(b, family...)
	b = from.Addr().AppendTo(b)
	b = to.Addr().AppendTo(append(b, ' '))
	b = strconv.AppendUint(append(b, ' '), uint64(from.Port()), 10)
	b = strconv.AppendUint(append(b, ' '), uint64(to.Port()), 10)
	return append(b, '\r', '\n')
}

const (
	proxyV2       = "\r\n\r\n\x00\r\nQUIT\n\x21" // version 2, command PROXY
	proxyTCP4     = 0x11
	proxyTCP6     = 0x21
	typeAuthority = 0x02
	maxAuthority  = 255 // no hostname is longer (RFC 1035, 2.3.4)
)

func appendProxyV2(b []byte, from, to netip.AddrPort, four bool, name string) []byte {
	b = append(b, proxyV2...)
	family, size := byte(proxyTCP6), 36
	if four {
		family, size = proxyTCP4, 12
	}
	if name != "" {
		size += 3 + len(name)
	}
	b = append(b, family)
	b = binary.BigEndian.AppendUint16(b, uint16(size))
	b = append(b, from.Addr().AsSlice()...)
	b = append(b, to.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	if name != "" {
		b = binary.BigEndian.AppendUint16(append(b, typeAuthority), uint16(len(name)))
		b = append(b, name...)
	}
	return b
}
