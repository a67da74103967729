package upstream

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

const connect = "CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\nProxy-Authorization: Basic eDp5\r\n\r\n"

const connected = "HTTP/1.1 200 Connection established\r\nContent-Length: 7\r\nX-A: b\r\n\r\n"

// TestConnect: what follows the heads passes both ways, whatever length the answer
// says, and each end is handed on.
func TestConnect(t *testing.T) {
	for name, response := range map[string]string{
		"HTTP/1.1": connected,
		"HTTP/1.0": "HTTP/1.0 200 Connection established\r\nX-A: b\r\n\r\n",
		"chunked":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n",
		"closing":  "HTTP/1.1 200 OK\r\nConnection: close\r\nX-A: b\r\n\r\n",
		"hints":    "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nX-A: b\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			heads := make(chan string, 1)
			o := newOrigin(t, func(_ int, c *originConn) {
				heads <- c.head()
				c.say(response + "first")
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
			e := proxyTo(t, params(), o.addr)
			c := e.dial(t)
			c.say(connect + "early ")
			head := c.head()
			if strings.HasPrefix(head, "HTTP/1.1 103") {
				head = c.head()
			}
			if !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") || !strings.Contains(head, "X-A: b\r\n") {
				t.Errorf("got %q; want 200", head)
			}
			for _, gone := range []string{"Content-Length", "Transfer-Encoding", "Connection", "Upgrade"} {
				if strings.Contains(head, gone) {
					t.Errorf("got %q; want no %s", head, gone)
				}
			}
			if got := <-heads; !strings.HasPrefix(got, connect[:len(connect)-2]) {
				t.Errorf("the origin got %q; want it to begin with %q", got, connect)
			}
			expect(t, c.r, "firstEARLY ")
			long := strings.Repeat("ab", 1<<20)
			go c.say(long)
			expect(t, c.r, strings.ToUpper(long))
			c.Conn.(*net.TCPConn).CloseWrite()
			expect(t, c.r, "bye")
			if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
				t.Errorf("got %q, %v; want the end", b, err)
			}
			if err := e.sent(); err != nil {
				t.Errorf("Send returned %v; want nil", err)
			}
		})
	}
}

// TestConnectRefused: any other answer is one, and what the client sent behind its
// CONNECT is never a request.
func TestConnectRefused(t *testing.T) {
	for name, test := range map[string]struct{ response, status, body string }{
		"with a body":       {"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno", "407", "no"},
		"in chunks":         {"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", "403", "2\r\nno\r\n0\r\n\r\n"},
		"a redirect":        {"HTTP/1.1 302 Found\r\nLocation: http://a/\r\nContent-Length: 0\r\n\r\n", "302", ""},
		"another protocol":  {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "502", "bad-response"},
		"a broken response": {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "502", "bad-response"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, func(_ int, c *originConn) {
				for c.head() != "" {
					c.say(test.response)
				}
			})
			e := proxyTo(t, params(), o.addr)
			c := e.dial(t)
			c.say(connect + "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
			head := c.head()
			if !strings.Contains(head, " "+test.status+" ") || !strings.Contains(head, "Connection: close\r\n") {
				t.Errorf("got %q; want %s, and that the connection closes", head, test.status)
			}
			if b, err := io.ReadAll(c.r); err != nil || !strings.HasPrefix(string(b), test.body) || strings.Contains(string(b), "HTTP/1.1") {
				t.Errorf("got %q, %v; want %q", b, err, test.body)
			}
			if n := o.accepted(); n != 1 {
				t.Errorf("the origin got %d connections; want 1", n)
			}
		})
	}
}

// TestConnectCut: what is cut on one side is reset on the other, also where one side
// had ended before.
func TestConnectCut(t *testing.T) {
	testVanishing(t, connect, connected)
	t.Run("nobody says anything", func(t *testing.T) {
		p := params()
		p.TunnelTimeout = 500 * time.Millisecond
		o, ended := reporting(t, connected)
		e := proxyTo(t, p, o.addr)
		c := e.dial(t)
		c.say(connect)
		c.head()
		if _, err := io.ReadAll(c.r); err == nil {
			t.Error("an orderly end; want a reset")
		}
		if err := <-ended; err == nil {
			t.Error("the origin saw an orderly end; want a reset")
		}
		if err := e.sent(); err == nil || !strings.Contains(err.Error(), "tunnel-timeout") {
			t.Errorf("Send returned %v; want tunnel-timeout", err)
		}
	})
	t.Run("it is not sent again", func(t *testing.T) {
		o := newOrigin(t, func(n int, c *originConn) {
			c.head()
			if n == 0 { // one answer, so that the next one finds a connection that was used
				c.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				c.head()
			}
		})
		e := proxyTo(t, params(), o.addr)
		if got, err := e.get(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil || !strings.HasPrefix(got, "HTTP/1.1 200") {
			t.Fatalf("got %q, %v", got, err)
		}
		c := e.dial(t)
		c.say(connect)
		if head := c.head(); !strings.HasPrefix(head, "HTTP/1.1 502") {
			t.Errorf("got %q; want 502", head)
		}
		if n := o.accepted(); n != 1 {
			t.Errorf("the origin got %d connections; want 1", n)
		}
	})
}
