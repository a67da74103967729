package proxy

import (
	"bufio"
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"

	"penstock.dev/penstock/core/exchange"
)

// FuzzProxyHeader: what is written is what go-proxyproto reads.
func FuzzProxyHeader(f *testing.F) {
	f.Add(uint8(1), []byte{192, 0, 2, 1}, []byte{192, 0, 2, 2}, uint16(1), uint16(2), "")
	f.Add(uint8(2), []byte{192, 0, 2, 1}, netip.MustParseAddr("2001:db8::1").AsSlice(), uint16(1), uint16(65535), "a.example")
	f.Add(uint8(2), netip.IPv6LinkLocalAllNodes().AsSlice(), netip.MustParseAddr("::1").AsSlice(), uint16(0), uint16(0), strings.Repeat("a", 255))
	f.Fuzz(func(t *testing.T, version uint8, from, to []byte, fromPort, toPort uint16, name string) {
		a, ok := netip.AddrFromSlice(from)
		b, ok2 := netip.AddrFromSlice(to)
		if !ok || !ok2 || version < 1 || version > 2 || len(name) > 255 {
			return
		}
		c := &exchange.Conn{Remote: netip.AddrPortFrom(a.Unmap(), fromPort), Local: netip.AddrPortFrom(b.Unmap(), toPort), ServerName: name}
		out := appendProxyHeader([]byte("x"), version, c)
		r := bufio.NewReader(bytes.NewReader(append(out[1:], "rest"...)))
		h, err := proxyproto.Read(r)
		if err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		source, destination, _ := h.TCPAddrs()
		if int(version) != int(h.Version) || unmapped(source.AddrPort()) != c.Remote || unmapped(destination.AddrPort()) != c.Local || r.Buffered() != len("rest") {
			t.Errorf("%q: got %+v", out, h)
		}
		tlvs, err := h.TLVs()
		if err != nil || version == 2 && name != "" && (len(tlvs) != 1 || tlvs[0].Type != proxyproto.PP2_TYPE_AUTHORITY || string(tlvs[0].Value) != name) {
			t.Errorf("%q: got %v, %v", out, tlvs, err)
		}
	})
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func TestNoProxyHeader(t *testing.T) {
	if got := appendProxyHeader(nil, 0, &exchange.Conn{}); got != nil {
		t.Errorf("got %q", got)
	}
}
