package listener

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"penstock.dev/penstock/core/config"
)

// TestInherited: a socket that was passed in is used for its address, what is no
// listening socket is named, and what nobody wants is closed.
func TestInherited(t *testing.T) {
	const first = 500 // so that two are in a row
	var addresses [2]netip.AddrPort
	for i := range addresses {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addresses[i] = ln.Addr().(*net.TCPAddr).AddrPort()
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Dup3(int(f.Fd()), first+i, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		f.Close()
		ln.Close()
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := unix.Dup3(int(null.Fd()), first+2, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	in, err := NewInherited(first, 3, NetBinder{})
	if err == nil || !strings.Contains(err.Error(), "descriptor 502") {
		t.Errorf("a file that is no socket: got %v", err)
	}
	ln, err := in.Bind(config.Socket{Address: addresses[0]})
	if err != nil {
		t.Fatal(err) // the address is taken: only the one that was passed in can be it
	}
	defer ln.Close()
	nc, err := net.Dial("tcp", addresses[0].String())
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	in.Close()
	if nc, err := net.Dial("tcp", addresses[1].String()); err == nil {
		nc.Close()
		t.Error("a socket that nobody took still listens")
	}
	if again, err := in.Bind(config.Socket{Address: addresses[1]}); err != nil {
		t.Errorf("an address that is free now: %v", err)
	} else {
		again.Close()
	}
}
