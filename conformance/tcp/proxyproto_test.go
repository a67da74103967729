package tcp

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/pires/go-proxyproto"

	"penstock.dev/penstock/conformance/harness"
)

// TestProxyProtocol: HAProxy's proxy-protocol.txt, 2.1 and 2.2: a Service is told who
// the client is, in front of what the client says.
func TestProxyProtocol(t *testing.T) {
	headers := make(chan *proxyproto.Header, 10)
	port := harness.UpstreamTCP(t, func(nc *net.TCPConn) {
		r := bufio.NewReader(nc)
		h, err := proxyproto.Read(r)
		if err != nil {
			return
		}
		headers <- h
		_, _ = io.Copy(nc, r)
	})
	cert, _ := certificate(t, "a.example")
	through := harness.UpstreamTCP(t, func(nc *net.TCPConn) {
		r := bufio.NewReader(nc)
		h, err := proxyproto.Read(r)
		if err != nil {
			return
		}
		headers <- h
		c := tls.Server(&buffered{nc, r}, &tls.Config{Certificates: []tls.Certificate{cert}})
		_, _ = io.WriteString(c, "tls")
	})
	second, third := harness.FreePort(t), harness.FreePort(t)
	p := start(t,
		gateway("{name: one, protocol: TCP, port: ${PORT}}", fmt.Sprintf("{name: two, protocol: TCP, port: %d}", second), fmt.Sprintf("{name: three, protocol: TLS, port: %d, tls: {mode: Passthrough}}", third)),
		parameters("{proxyProtocol: {sources: [127.0.0.0/8], upstreams: [{service: a, version: 1}, {service: default/b}, {service: c, version: 2}]}}"),
		service("a", "", port), service("b", "", port), service("c", "", through),
		route("TCPRoute", "one", "one", "", "{name: a, port: 80}"), route("TCPRoute", "two", "two", "", "{name: b, port: 80}"),
		route("TLSRoute", "three", "three", "hostnames: [a.example]", "{name: c, port: 80}"),
	)
	for to, version := range map[int]byte{p.Port: 1, second: 2} {
		for source, family := range map[string]proxyproto.AddressFamilyAndProtocol{"192.0.2.7": proxyproto.TCPv4, "2001:db8::7": proxyproto.TCPv6} {
			nc := dial(t, to)
			destination := "192.0.2.1"
			if family == proxyproto.TCPv6 {
				destination = "2001:db8::1"
			}
			// A load balancer in front of the proxy says who the client is.
			in := proxyproto.Header{Version: 2, Command: proxyproto.PROXY, TransportProtocol: family,
				SourceAddr: &net.TCPAddr{IP: net.ParseIP(source), Port: 4000}, DestinationAddr: &net.TCPAddr{IP: net.ParseIP(destination), Port: 443}}
			if _, err := in.WriteTo(nc); err != nil {
				t.Fatal(err)
			}
			io.WriteString(nc, "hello")
			if got := read(t, nc, 5); got != "hello" {
				t.Errorf("got %q", got)
			}
			h := <-headers
			if h.Version != version || h.Command != proxyproto.PROXY || h.TransportProtocol != family || h.SourceAddr.String() != in.SourceAddr.String() || h.DestinationAddr.String() != in.DestinationAddr.String() {
				t.Errorf("version %d, %s: got %+v", version, source, h)
			}
		}
	}
	nc := dial(t, third)
	in := proxyproto.Header{Version: 1, Command: proxyproto.PROXY, TransportProtocol: proxyproto.TCPv4,
		SourceAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4000}, DestinationAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}}
	if _, err := in.WriteTo(nc); err != nil {
		t.Fatal(err)
	}
	c := tls.Client(nc, &tls.Config{ServerName: "a.example", InsecureSkipVerify: true})
	if got := read(t, c, 3); got != "tls" {
		t.Errorf("got %q", got)
	}
	h := <-headers
	tlvs, err := h.TLVs()
	if err != nil || len(tlvs) != 1 || tlvs[0].Type != proxyproto.PP2_TYPE_AUTHORITY || string(tlvs[0].Value) != "a.example" {
		t.Errorf("got %v, %v", tlvs, err)
	}
}

// buffered is a connection of which r has read ahead.
type buffered struct {
	*net.TCPConn
	r *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }
