package listener

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
)

// proxyHeader is what a PROXY protocol header says. Without addresses (LOCAL,
// UNKNOWN) the connection is the sender's own: both are zero.
type proxyHeader struct {
	source, destination netip.AddrPort
}

var (
	errProxyHeader = errors.New("no PROXY protocol header")
	errProxyFamily = errors.New("a PROXY protocol header for something else than TCP over IP")
)

const (
	// maxProxyV1 is the size of the longest line of version 1, with its CRLF.
	maxProxyV1 = 107
	// maxProxyV2 bounds the addresses and TLVs of version 2.
	maxProxyV2 = 4096
	proxyHead  = 16
)

var (
	proxyV1 = []byte("PROXY ")
	proxyV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")
)

// parseProxyHeader reads a PROXY protocol header, version 1 or 2 (HAProxy,
// proxy-protocol.txt, 2.1 and 2.2). n is its size in bytes; 0 if b does not hold
// all of it yet. What begins otherwise is an error.
func parseProxyHeader(b []byte) (h proxyHeader, n int, err error) {
	switch {
	case prefixed(b, proxyV1):
		return parseProxyV1(b)
	case prefixed(b, proxyV2):
		return parseProxyV2(b)
	}
	return h, 0, errProxyHeader
}

// prefixed reports whether b begins with prefix, as far as it goes.
func prefixed(b, prefix []byte) bool {
	n := min(len(b), len(prefix))
	return bytes.Equal(b[:n], prefix[:n])
}

func parseProxyV1(b []byte) (h proxyHeader, n int, err error) {
	end := bytes.IndexByte(b[:min(len(b), maxProxyV1)], '\n')
	if end < 0 {
		if len(b) >= maxProxyV1 {
			return h, 0, errProxyHeader
		}
		return h, 0, nil
	}
	if end < len(proxyV1) || b[end-1] != '\r' {
		return h, 0, errProxyHeader
	}
	parts := bytes.Split(b[len(proxyV1):end-1], []byte(" "))
	if string(parts[0]) == "UNKNOWN" {
		return h, end + 1, nil
	}
	four := string(parts[0]) == "TCP4"
	if len(parts) != 5 || !four && string(parts[0]) != "TCP6" {
		return h, 0, errProxyHeader
	}
	h.source, err = proxyAddress(parts[1], parts[3], four)
	if err == nil {
		h.destination, err = proxyAddress(parts[2], parts[4], four)
	}
	if err != nil {
		return proxyHeader{}, 0, errProxyHeader
	}
	return h, end + 1, nil
}

func proxyAddress(ip, port []byte, four bool) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(string(ip))
	if err != nil || a.Is4() != four || a.Zone() != "" {
		return netip.AddrPort{}, errProxyHeader
	}
	p, err := strconv.ParseUint(string(port), 10, 16)
	if err != nil || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, errProxyHeader
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), nil
}

func parseProxyV2(b []byte) (h proxyHeader, n int, err error) {
	if len(b) < proxyHead {
		return h, 0, nil
	}
	command, family, size := b[12], b[13], int(binary.BigEndian.Uint16(b[14:]))
	if command>>4 != 2 || command&0xf > 1 || size > maxProxyV2 {
		return h, 0, errProxyHeader
	}
	if len(b) < proxyHead+size {
		return h, 0, nil
	}
	n = proxyHead + size
	if command&0xf == 0 { // LOCAL: addresses are to be ignored
		return h, n, nil
	}
	content := b[proxyHead:n]
	switch family {
	case 0x00: // UNSPEC
		return h, n, nil
	case 0x11:
		if size < 12 {
			return h, 0, errProxyHeader
		}
		h.source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(content)), binary.BigEndian.Uint16(content[8:]))
		h.destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte(content[4:])), binary.BigEndian.Uint16(content[10:]))
	case 0x21:
		if size < 36 {
			return h, 0, errProxyHeader
		}
		h.source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(content)).Unmap(), binary.BigEndian.Uint16(content[32:]))
		h.destination = netip.AddrPortFrom(netip.AddrFrom16([16]byte(content[16:])).Unmap(), binary.BigEndian.Uint16(content[34:]))
	default:
		return h, 0, errProxyFamily
	}
	return h, n, nil
}
