package upstream

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

const ask = "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"

const yes = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: y\r\n\r\n"

// tunnelled is an origin that answers each request like this, and says back what
// follows, in capitals, until the other side ends.
func tunnelled(t *testing.T, response string) *origin {
	t.Helper()
	return newOrigin(t, func(_ int, c *originConn) {
		if c.head() == "" {
			return
		}
		c.say(response)
		b := make([]byte, 1000)
		for {
			n, err := c.r.Read(b)
			c.say(strings.ToUpper(string(b[:n])))
			if err != nil {
				c.say("bye")
				return
			}
		}
	})
}

func expect(t *testing.T, r io.Reader, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(r, b); err != nil || string(b) != want {
		t.Fatalf("got %q, %v; want %q", b[:n], err, want)
	}
}

func TestTunnel(t *testing.T) {
	o := tunnelled(t, yes+"first")
	e := proxyTo(t, params(), o.addr)
	c := e.dial(t)
	c.say(ask + "early ")
	head := c.head()
	for _, want := range []string{"HTTP/1.1 101 Switching Protocols\r\n", "Connection: Upgrade\r\n", "Upgrade: WebSocket\r\n", "Sec-WebSocket-Accept: y\r\n"} {
		if !strings.Contains(head, want) {
			t.Errorf("got %q; want %q in it", head, want)
		}
	}
	expect(t, c.r, "firstEARLY ")
	long := strings.Repeat("ab", 1<<20)
	go c.say(long)
	expect(t, c.r, strings.ToUpper(long))
	c.Conn.(*net.TCPConn).CloseWrite()
	expect(t, c.r, "bye") // the other direction lives on
	if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
		t.Errorf("got %q, %v; want the end", b, err)
	}
	if err := e.sent(); err != nil {
		t.Errorf("Send returned %v; want nil", err)
	}
}

// reporting is an origin that answers a request like this, and tells how what follows
// ended.
func reporting(t *testing.T, response string) (o *origin, ended chan error) {
	t.Helper()
	ended = make(chan error, 1)
	return newOrigin(t, func(_ int, c *originConn) {
		c.head()
		c.say(response)
		_, err := io.ReadAll(c.r)
		ended <- err
	}), ended
}

// testVanishing: a tunnel that is cut on one side is reset on the other.
func testVanishing(t *testing.T, request, response string) {
	t.Run("the client vanishes", func(t *testing.T) {
		o, ended := reporting(t, response)
		c := proxyTo(t, params(), o.addr).dial(t)
		c.say(request)
		c.head()
		c.Conn.(*net.TCPConn).SetLinger(0)
		c.Close()
		select {
		case err := <-ended:
			if err == nil {
				t.Error("an orderly end; want a reset")
			}
		case <-time.After(5 * time.Second):
			t.Error("the origin's connection stayed open")
		}
	})
	t.Run("the upstream vanishes", func(t *testing.T) {
		o := newOrigin(t, func(_ int, c *originConn) {
			c.head()
			c.say(response)
			c.r.ReadByte()
			c.Conn.(*net.TCPConn).SetLinger(0)
		})
		e := proxyTo(t, params(), o.addr)
		c := e.dial(t)
		c.say(request)
		c.head()
		c.say("x")
		if _, err := io.ReadAll(c.r); err == nil {
			t.Error("an orderly end; want a reset")
		}
		if err := e.sent(); err == nil || !strings.Contains(err.Error(), "tunnel-cut") {
			t.Errorf("Send returned %v; want tunnel-cut", err)
		}
	})
}

// TestTunnelEnds: what one side does reaches the other.
func TestTunnelEnds(t *testing.T) {
	p := params()
	p.TunnelTimeout = time.Second
	testVanishing(t, ask, yes)
	t.Run("nobody says anything", func(t *testing.T) {
		e := proxyTo(t, p, tunnelled(t, yes).addr)
		c := e.dial(t)
		c.say(ask)
		c.head()
		for range 3 { // longer than the timeout in all
			time.Sleep(400 * time.Millisecond)
			c.say("x")
			expect(t, c.r, "X")
		}
		if _, err := io.ReadAll(c.r); err == nil {
			t.Error("an orderly end; want a reset")
		}
		if err := e.sent(); err == nil || !strings.Contains(err.Error(), "tunnel-timeout") {
			t.Errorf("Send returned %v; want tunnel-timeout", err)
		}
	})
}

// TestNoTunnel: what is not asked for, or not agreed to, is no tunnel.
func TestNoTunnel(t *testing.T) {
	body := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	change := func(old, new string) string { return strings.Replace(ask, old, new, 1) }
	tests := map[string]struct{ request, response, want, origin string }{
		"not asked for":         {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", yes, "502", ""},
		"another protocol":      {ask, strings.Replace(yes, "WebSocket", "irc", 1), "502", ""},
		"two protocols":         {ask, strings.Replace(yes, "Connection", "Upgrade: irc\r\nConnection", 1), "502", ""},
		"without Connection":    {ask, strings.Replace(yes, "Connection: Upgrade\r\n", "", 1), "502", ""},
		"refused":               {ask, strings.Replace(body, "200 OK", "403 Forbidden", 1), "403", "Upgrade: websocket\r\n"},
		"h2c":                   {change("websocket", "h2c"), body, "200", "no upgrade"},
		"TLS":                   {change("websocket", "TLS/1.3"), body, "200", "no upgrade"},
		"HTTP":                  {change("websocket", "HTTP/2.0"), body, "200", "no upgrade"},
		"a choice of protocols": {change("websocket", "websocket, h2c"), body, "200", "no upgrade"},
		"two fields":            {change("Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: irc"), body, "200", "no upgrade"},
		"no Connection":         {change("keep-alive, Upgrade", "keep-alive"), body, "200", "no upgrade"},
		"with a body":           {change("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx"), body, "200", "no upgrade"},
		"chunked":               {change("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), body, "200", "no upgrade"},
		"HTTP/1.0":              {change("HTTP/1.1", "HTTP/1.0"), body, "200", "no upgrade"},
		"asked twice":           {ask + ask, body, "200", "Upgrade: websocket\r\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			heads := make(chan string, 2)
			o := newOrigin(t, func(_ int, c *originConn) {
				for {
					head := c.head()
					if head == "" {
						return
					}
					select {
					case heads <- head:
					default:
					}
					c.say(test.response)
				}
			})
			c := proxyTo(t, params(), o.addr).dial(t)
			c.say(test.request)
			if got := c.head(); !strings.Contains(got, " "+test.want+" ") {
				t.Errorf("got %q; want %s", got, test.want)
			}
			head := <-heads
			switch {
			case test.origin == "no upgrade" && strings.Contains(strings.ToLower(head), "upgrade"):
				t.Errorf("the origin got %q; want no upgrade in it", head)
			case test.origin != "no upgrade" && !strings.Contains(head, test.origin):
				t.Errorf("the origin got %q; want %q in it", head, test.origin)
			}
		})
	}
}

// TestGoingAway: when the proxy drains, a WebSocket client gets a close frame
// between two others, and what it answers reaches the upstream.
func TestGoingAway(t *testing.T) {
	frame := func(size int) string {
		return string([]byte{0x82, 127, 0, 0, 0, 0, byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}) + strings.Repeat("x", size)
	}
	const going = "\x88\x02\x03\xe9"
	for name, before := range map[string]int{"idle": -1, "in a frame's head": 5, "in a frame": 1000, "between frames": len(frame(70_000))} {
		t.Run(name, func(t *testing.T) {
			more, heard := make(chan struct{}), make(chan string, 1)
			o := newOrigin(t, func(_ int, c *originConn) {
				c.head()
				c.say(yes)
				f := frame(70_000)
				if before >= 0 {
					c.say((f + f)[:before])
				}
				<-more
				if before >= 0 {
					c.say((f + f)[before:])
				}
				b, _ := io.ReadAll(c.r)
				heard <- string(b)
			})
			p := params()
			_, g := newSet(t, p, o.addr)
			e := newEdge(t, p, &forward{group: func() *Group { return g }})
			c := e.dial(t)
			c.say(ask)
			c.head()
			if before > 0 {
				expect(t, c.r, (frame(70_000) + frame(70_000))[:before])
			}
			e.drain()
			want := ""
			if before > 0 && before < len(frame(70_000)) {
				want = frame(70_000)[before:]
			}
			if want != "" {
				close(more)
			}
			expect(t, c.r, want+going)
			if want == "" {
				close(more)
			}
			c.say("answer")
			c.Conn.(*net.TCPConn).CloseWrite()
			if got := <-heard; got != "answer" {
				t.Errorf("the upstream got %q; want the client's answer", got)
			}
			if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
				t.Errorf("got %d bytes more, %v; want the end", len(b), err)
			}
		})
	}
}
