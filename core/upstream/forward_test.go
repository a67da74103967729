package upstream

import (
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
)

const browserRequest = "GET /1k HTTP/1.1\r\nHost: 127.0.0.1:28080\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n" +
	"X-Request-Id: 7f9c0e6e-5f0e-4c6e-9a44-0f8bd1f4a3aa\r\nReferer: https://example.org/a/b/c\r\n\r\n"

// forwarding returns a function that has one request answered by an origin
// with a body of this size, through the proxy.
func forwarding(tb testing.TB, size int) func() {
	tb.Helper()
	response := []byte("HTTP/1.1 200 OK\r\nServer: be\r\nDate: Tue, 01 Jul 2025 10:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: " +
		strconv.Itoa(size) + "\r\nETag: \"5f3b\"\r\n\r\n" + strings.Repeat("x", size))
	o := newOrigin(tb, func(_ int, c *originConn) {
		b := make([]byte, 4096)
		for {
			if n, err := c.Conn.Read(b); err != nil || string(b[n-4:n]) != "\r\n\r\n" {
				return
			}
			c.Conn.Write(response)
		}
	})
	p := params()
	_, g := newSet(tb, p, o.addr)
	nc, err := net.Dial("tcp", newEdge(tb, p, &forward{group: func() *Group { return g }, silent: true}).addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { nc.Close() })
	request, b := []byte(browserRequest), make([]byte, len(response))
	once := func() {
		if _, err := nc.Write(request); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.ReadFull(nc, b); err != nil {
			tb.Fatal(err)
		}
	}
	once()
	return once
}

func TestAWarmForwardAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("pools drop buffers at random under the race detector")
	}
	if n := testing.AllocsPerRun(500, forwarding(t, 1024)); n != 0 {
		t.Errorf("%v allocations per request, origin and client included; want 0", n)
	}
}

func BenchmarkForward(b *testing.B) {
	for name, size := range map[string]int{"1KiB": 1 << 10, "64KiB": 64 << 10, "1MiB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			once := forwarding(b, size)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				once()
			}
		})
	}
}
