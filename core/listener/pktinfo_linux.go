package listener

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// controlRoom is what the control message of one datagram takes at most.
const controlRoom = 64

// tellLocal makes a socket that is bound to all addresses tell which one a
// datagram was sent to (ip(7), IP_PKTINFO; RFC 3542, 6): a reply must come from there.
func tellLocal(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		if c.LocalAddr().(*net.UDPAddr).IP.To4() == nil {
			set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		} else {
			set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
	})
	if err != nil {
		return err
	}
	return set
}

// Offsets in a control message: its head, and what follows in in_pktinfo and
// in6_pktinfo.
const (
	cmsgHead     = unix.SizeofCmsghdr
	v4Index      = cmsgHead     // ipi_ifindex
	v4Local      = cmsgHead + 4 // ipi_spec_dst: the address itself, also of a broadcast
	v6Local      = cmsgHead
	v6Index      = cmsgHead + 16
	v4Size       = cmsgHead + unix.SizeofInet4Pktinfo
	v6Size       = cmsgHead + unix.SizeofInet6Pktinfo
	cmsgLevelAt  = cmsgHead - 8
	cmsgTypeAt   = cmsgHead - 4
	levelIP      = unix.IPPROTO_IP
	levelIPv6    = unix.IPPROTO_IPV6
	typePktinfo  = unix.IP_PKTINFO
	typePktinfo6 = unix.IPV6_PKTINFO
)

// localOf returns the address that a datagram was sent to; the zero value if the
// control message does not tell.
func localOf(control []byte) netip.Addr {
	if len(control) < cmsgHead {
		return netip.Addr{}
	}
	level, kind := binary.NativeEndian.Uint32(control[cmsgLevelAt:]), binary.NativeEndian.Uint32(control[cmsgTypeAt:])
	switch {
	case level == levelIP && kind == typePktinfo && len(control) >= v4Size:
		return netip.AddrFrom4([4]byte(control[v4Local:]))
	case level == levelIPv6 && kind == typePktinfo6 && len(control) >= v6Size:
		return netip.AddrFrom16([16]byte(control[v6Local:]))
	}
	return netip.Addr{}
}

// replyControl returns the control message with which a reply leaves from the
// address that the datagram was sent to. It may take any interface, unless the
// address means nothing without one.
func replyControl(control []byte) []byte {
	a := localOf(control)
	if !a.IsValid() {
		return nil
	}
	own := append([]byte(nil), control...)
	at := v6Index
	if a.Is4() {
		at = v4Index
	}
	if !a.IsLinkLocalUnicast() {
		binary.NativeEndian.PutUint32(own[at:], 0)
	}
	return own
}
