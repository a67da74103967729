//go:build !race

package proxy_test

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// TestBytesCostNoAllocation: what moves over a connection, or flow, that is there.
func TestBytesCostNoAllocation(t *testing.T) {
	tcp := newRawBed(t, "TCP")
	tcp.route(t, nil, rawService(t, echoAll))
	stream := tcp.dial(t)
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := pc.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	udp := newRawBed(t, "UDP")
	udp.route(t, nil, pc.LocalAddr().(*net.UDPAddr).AddrPort())
	flow, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", udp.port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { flow.Close() })
	_ = flow.SetDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 1000)
	for name, nc := range map[string]net.Conn{"a connection": stream, "a flow": flow} {
		n := testing.AllocsPerRun(200, func() {
			if _, err := nc.Write(buf); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(nc, buf); err != nil {
				t.Fatal(err)
			}
		})
		if n >= 1 { // the pools are emptied now and then
			t.Errorf("%s: %v allocations a message; want 0", name, n)
		}
	}
}
