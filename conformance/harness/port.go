package harness

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Ports are handed out from below the range that the kernel uses for
// connections and for listeners on port 0, so that no other socket of the
// machine takes one between its choice and its use.
const (
	firstPort = 11000
	lastPort  = 27999
)

// FreePort returns a port of loopback that nobody uses just now, for TCP and
// UDP, and that no other test of this machine gets soon: the last one handed
// out is kept in a file, under a lock.
func FreePort(t testing.TB) int {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(os.TempDir(), fmt.Sprintf("penstock-ports-%d", os.Getuid())), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() // and with it the lock
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 16)
	n, _ := f.ReadAt(text, 0)
	last, _ := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	for range lastPort - firstPort {
		if last++; last < firstPort || last > lastPort {
			last = firstPort
		}
		if !unused(last) {
			continue
		}
		if _, err := f.WriteAt(fmt.Appendf(nil, "%-8d", last), 0); err != nil {
			t.Fatal(err)
		}
		return last
	}
	t.Fatalf("no port between %d and %d is free", firstPort, lastPort)
	return 0
}

func unused(port int) bool {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	l, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	defer l.Close()
	pc, err := net.ListenPacket("udp", address)
	if err != nil {
		return false
	}
	return pc.Close() == nil
}
