package tcp

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

func dialUDP(t *testing.T, port int) *net.UDPConn {
	t.Helper()
	nc, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(60 * time.Second))
	return nc
}

// datagrams answers each with f and returns its port. froms gets the sender of each.
func datagrams(t *testing.T, f func([]byte) []byte) (port int, froms chan string) {
	t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	froms = make(chan string, 1000)
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, from, err := pc.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			froms <- from.String()
			_, _ = pc.WriteToUDPAddrPort(f(b[:n]), from)
		}
	}()
	return pc.LocalAddr().(*net.UDPAddr).Port, froms
}

func exchange(t *testing.T, nc *net.UDPConn, b []byte) []byte {
	t.Helper()
	if _, err := nc.Write(b); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 64<<10)
	n, err := nc.Read(got)
	if err != nil {
		t.Fatal(err)
	}
	return got[:n]
}

// TestUDPRoute: Gateway API, UDPRoute: a flow of each client, with replies.
func TestUDPRoute(t *testing.T) {
	// An answer as DNS gives it: the query's number, and more than was asked.
	port, froms := datagrams(t, func(q []byte) []byte {
		if len(q) > 2 && len(q) < 512 {
			return append(append(append([]byte(nil), q[:2]...), 0x81, 0x80), q...)
		}
		return q
	})
	p := start(t, gateway("{name: dns, protocol: UDP, port: ${PORT}}", "{name: tcp, protocol: TCP, port: ${PORT}}"),
		parameters("{timeouts: {udpIdle: 1s}, limits: {flowsPerClient: 3}}"), service("a", "", port),
		route("UDPRoute", "dns", "dns", "", "{name: a, port: 80}"))
	one, two := dialUDP(t, p.Port), dialUDP(t, p.Port)
	for i := range 5 {
		if got := exchange(t, one, []byte{0, byte(i), 'q'}); !bytes.Equal(got, []byte{0, byte(i), 0x81, 0x80, 0, byte(i), 'q'}) {
			t.Fatalf("got %q", got)
		}
		if got := exchange(t, two, []byte{1, byte(i), 'q'}); got[0] != 1 || got[1] != byte(i) {
			t.Fatalf("got %q", got)
		}
	}
	seen := map[string]int{}
	for range 10 {
		seen[<-froms]++
	}
	if len(seen) != 2 {
		t.Errorf("got senders %v; want one for each client", seen)
	}
	for _, size := range []int{0, 1472, 9000, 65507} {
		if got := exchange(t, one, make([]byte, size)); len(got) != size {
			t.Errorf("got %d bytes; want %d", len(got), size)
		}
	}
	exchange(t, dialUDP(t, p.Port), []byte("x"))
	fourth := dialUDP(t, p.Port)
	_, _ = fourth.Write([]byte("x"))
	socket := fmt.Sprintf("127.0.0.1:%d/udp", p.Port)
	dropped := fmt.Sprintf(`penstock_listener_datagrams_dropped_total{reason="client_flows",socket="%s"} 1`, socket)
	p.Eventually(dropped, func() bool { return strings.Contains(p.Metrics(), dropped) })
	idle := fmt.Sprintf(`penstock_listener_flows{socket="%s"} 0`, socket)
	p.Eventually("idle flows end", func() bool { return strings.Contains(p.Metrics(), idle) })
	exchange(t, fourth, []byte("x"))
	p.Eventually("a record", func() bool {
		return strings.Contains(p.Log(), `"protocol":"udp"`) && strings.Contains(p.Log(), `"route":"UDPRoute/default/dns/0"`)
	})
	refused(t, p.Port) // TCP of the same number has no route
}

// TestUDPEndpointGone: a flow does not stay with an endpoint that left.
func TestUDPEndpointGone(t *testing.T) {
	first, _ := datagrams(t, func([]byte) []byte { return []byte("first") })
	second, _ := datagrams(t, func([]byte) []byte { return []byte("second") })
	rest := gateway("{name: u, protocol: UDP, port: ${PORT}}") + parameters("{}") + route("UDPRoute", "u", "u", "", "{name: a, port: 80}")
	p := start(t, rest, service("a", "", first))
	nc := dialUDP(t, p.Port)
	if got := exchange(t, nc, []byte("x")); string(got) != "first" {
		t.Fatalf("got %q", got)
	}
	p.Write("all.yaml", rest+service("a", "", second))
	p.Eventually("the other endpoint answers", func() bool { return string(exchange(t, nc, []byte("x"))) == "second" })
}

// TestUDPWildcard: replies come from the address that was asked, though the socket
// has all of them.
func TestUDPWildcard(t *testing.T) {
	port, _ := datagrams(t, func(b []byte) []byte { return b })
	files := map[string]string{"all.yaml": gateway("{name: u, protocol: UDP, port: ${PORT}}") + parameters("{}") + service("a", "", port) + route("UDPRoute", "u", "u", "", "{name: a, port: 80}")}
	for _, bind := range []string{"0.0.0.0", "::"} {
		t.Run(bind, func(t *testing.T) {
			if bind == "::" {
				l, err := net.Listen("tcp6", "[::1]:0")
				if err != nil {
					t.Skip("no IPv6")
				}
				l.Close()
			}
			p := harness.Start(t, harness.Options{Files: files, Args: []string{"--bind", bind}})
			for _, ip := range []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(127, 9, 8, 7)} {
				nc, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: ip, Port: p.Port})
				if err != nil {
					t.Fatal(err)
				}
				_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
				exchange(t, nc, []byte("x")) // a connected socket takes it from there alone
				nc.Close()
			}
		})
	}
}
