package upstream

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

const (
	get      = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	getClose = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
)

func TestResponsesArePassedOn(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 1<<20/16)
	tests := map[string]struct {
		request string // empty: getClose
		say     string
		want    string // but Date
		reused  bool   // the connection serves again
	}{
		"a length":                           {say: "HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 5\r\n\r\nhello", want: "HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", reused: true},
		"a large length":                     {say: "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n" + big, want: "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\nConnection: close\r\n\r\n" + big, reused: true},
		"chunks":                             {say: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n", want: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n6\r\nhello!\r\n0\r\n\r\n", reused: true},
		"trailers":                           {say: "HTTP/1.1 200 OK\r\nTrailer: X-S\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-S: 1\r\nHost: x\r\n\r\n", want: "HTTP/1.1 200 OK\r\nTrailer: X-S\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\nX-S: 1\r\n\r\n", reused: true},
		"until the end":                      {say: "HTTP/1.1 200 OK\r\n\r\nhello", want: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		"HTTP/1.0":                           {say: "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", want: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"},
		"HTTP/1.0 with keep-alive":           {say: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", want: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", reused: true},
		"Connection: close":                  {say: "HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: x\r\nContent-Length: 5\r\n\r\nhello", want: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"},
		"204":                                {say: "HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n", want: "HTTP/1.1 204 No Content\r\nX: 1\r\nConnection: close\r\n\r\n", reused: true},
		"304 with a length":                  {say: "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", want: "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nConnection: close\r\n\r\n", reused: true},
		"HEAD":                               {request: "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", say: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", want: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n", reused: true},
		"HEAD in chunks":                     {request: "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", say: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", want: "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", reused: true},
		"interim responses":                  {say: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", want: "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx", reused: true},
		"a status line without phrase":       {say: "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", want: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", reused: true},
		"bytes that nobody asked for":        {say: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n", want: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"},
		"an unknown length for HTTP/1.0":     {request: "GET / HTTP/1.0\r\n\r\n", say: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", want: "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", reused: true},
		"interim responses but for HTTP/1.0": {request: "GET / HTTP/1.0\r\n\r\n", say: "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", want: "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", reused: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, func(n int, c *originConn) {
				for c.head() != "" {
					c.say(test.say)
					if !test.reused && name != "bytes that nobody asked for" {
						return
					}
				}
			})
			e := proxyTo(t, params(), o.addr)
			for i := range 2 {
				request := test.request
				if request == "" {
					request = getClose
				}
				got, err := e.get(t, request)
				if got = withoutDate(got); got != test.want || err != nil {
					t.Fatalf("try %d: got %.300q, %v\nwant %.300q", i, got, err, test.want)
				}
			}
			if want := map[bool]int{true: 1, false: 2}[test.reused]; o.accepted() != want {
				t.Errorf("%d connections; want %d", o.accepted(), want)
			}
		})
	}
}

// withoutDate removes the Date field.
func withoutDate(raw string) string {
	i := strings.Index(raw, "Date: ")
	if i < 0 {
		return raw
	}
	_, rest, _ := strings.Cut(raw[i:], "\r\n")
	return raw[:i] + rest
}

func TestRequestsArePassedOn(t *testing.T) {
	tests := map[string]struct{ raw, want string }{
		"a GET":                    {"GET /a?b HTTP/1.1\r\nX: 1\r\nHost: a:8\r\nConnection: close\r\n\r\n", "GET /a?b HTTP/1.1\r\nHost: a:8\r\nX: 1\r\n\r\n"},
		"HTTP/1.0 without Host":    {"GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: \r\n\r\n"},
		"an absolute target":       {"GET http://b/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET /x HTTP/1.1\r\nHost: b\r\n\r\n"},
		"TE: trailers":             {"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers, gzip\r\nConnection: close, TE\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n"},
		"a body by length":         {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"},
		"a POST without a body":    {"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"},
		"a body in chunks":         {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: 1\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"},
		"no Upgrade and no Expect": {"POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nExpect: 100-continue\r\nConnection: close, upgrade\r\nContent-Length: 1\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := make(chan string, 1)
			o := newOrigin(t, func(_ int, c *originConn) {
				b := make([]byte, len(test.want))
				n, _ := io.ReadFull(c.r, b)
				got <- string(b[:n])
				c.say("HTTP/1.1 204 No Content\r\n\r\n")
			})
			if answer, err := proxyTo(t, params(), o.addr).get(t, test.raw); err != nil || !strings.HasPrefix(answer, "HTTP/1.1 204") {
				t.Errorf("answer %q, %v", answer, err)
			}
			if got := <-got; got != test.want {
				t.Errorf("got %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestABadUpstreamIsAnswered(t *testing.T) {
	hang := func(c *originConn) { io.Copy(io.Discard, c.r) }
	tests := map[string]struct {
		script func(c *originConn)
		status int
		reason string
	}{
		"that closes at once":             {func(c *originConn) { c.head() }, 502, "upstream-closed"},
		"that resets":                     {func(c *originConn) { c.head(); c.Conn.(*net.TCPConn).SetLinger(0) }, 502, "upstream-closed"},
		"that closes in the head":         {func(c *originConn) { c.head(); c.say("HTTP/1.1 200 OK\r\nX: 1\r\n") }, 502, "upstream-closed"},
		"that says nothing":               {func(c *originConn) { hang(c) }, 504, "response-timeout"},
		"that says half a head":           {func(c *originConn) { c.head(); c.say("HTTP/1.1 200 OK\r\n"); hang(c) }, 504, "response-timeout"},
		"that speaks another protocol":    {func(c *originConn) { c.head(); c.say("SSH-2.0-OpenSSH_9\r\n"); hang(c) }, 502, "bad-response"},
		"that sends garbage without end":  {func(c *originConn) { c.head(); c.say(strings.Repeat("x", 20000)); hang(c) }, 502, "bad-response"},
		"that switches protocols":         {func(c *originConn) { c.head(); c.say("HTTP/1.1 101 Switching Protocols\r\n\r\n"); hang(c) }, 502, "bad-response"},
		"that sends interims without end": {func(c *originConn) { c.head(); c.say(strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100)); hang(c) }, 502, "bad-response"},
		"with both lengths": {func(c *originConn) {
			c.head()
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
			hang(c)
		}, 502, "bad-response"},
		"with two lengths": {func(c *originConn) {
			c.head()
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx")
			hang(c)
		}, 502, "bad-response"},
		"with an unknown coding":   {func(c *originConn) { c.head(); c.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"); hang(c) }, 502, "bad-response"},
		"with a bare LF":           {func(c *originConn) { c.head(); c.say("HTTP/1.1 200 OK\nContent-Length: 0\n\n"); hang(c) }, 502, "bad-response"},
		"with a folded line":       {func(c *originConn) { c.head(); c.say("HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\n\r\n"); hang(c) }, 502, "bad-response"},
		"with NUL in a field":      {func(c *originConn) { c.head(); c.say("HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n"); hang(c) }, 502, "bad-response"},
		"with a status beyond 599": {func(c *originConn) { c.head(); c.say("HTTP/1.1 600 x\r\n\r\n"); hang(c) }, 502, "bad-response"},
		"with HTTP/2":              {func(c *originConn) { c.head(); c.say("HTTP/2.0 200 OK\r\n\r\n"); hang(c) }, 502, "bad-response"},
		"with too many fields": {func(c *originConn) {
			c.head()
			c.say("HTTP/1.1 200 OK\r\n" + strings.Repeat("X: 1\r\n", 101) + "\r\n")
			hang(c)
		}, 502, "bad-response"},
		"with fields that are too large": {func(c *originConn) {
			c.head()
			c.say("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("1", 66000) + "\r\n\r\n")
			hang(c)
		}, 502, "bad-response"},
		"with a chunk that is bad at once": {func(c *originConn) {
			c.head()
			c.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
			hang(c)
		}, 200, ""},
		"that sends half of a large body": {func(c *originConn) {
			c.head()
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n" + strings.Repeat("x", 500000))
		}, 200, ""},
		"that sends half of a small body": {func(c *originConn) { c.head(); c.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello") }, 200, ""},
		"that sends a chunk and closes": {func(c *originConn) {
			c.head()
			c.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		}, 200, ""},
		"that ends after the last chunk": {func(c *originConn) {
			c.head()
			c.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n")
		}, 200, ""},
		"that sends half a body and hangs": {func(c *originConn) { c.head(); c.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"); hang(c) }, 200, ""},
		"that resets in an endless body": {func(c *originConn) {
			c.head()
			c.say("HTTP/1.1 200 OK\r\n\r\nhello")
			time.Sleep(50 * time.Millisecond)
			c.Conn.(*net.TCPConn).SetLinger(0)
		}, 200, ""},
		"that sends half a large and resets": {func(c *originConn) {
			c.head()
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n" + strings.Repeat("x", 500000))
			c.Conn.(*net.TCPConn).SetLinger(0)
		}, 200, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := params()
			p.ResponseTimeout, p.IdleTimeout = 10*time.Second, time.Second
			if test.reason == "response-timeout" {
				p.ResponseTimeout = 200 * time.Millisecond
			}
			o := newOrigin(t, func(_ int, c *originConn) { test.script(c) })
			e := proxyTo(t, p, o.addr)
			got, readErr := e.get(t, getClose)
			if test.status == 200 {
				if err := whole(got, readErr); err == nil && !strings.HasPrefix(got, "HTTP/1.1 502") && !strings.HasPrefix(got, "HTTP/1.1 504") {
					t.Errorf("the client got %.200q as a whole", got)
				}
				if e.sent() == nil {
					t.Error("Send returned no error")
				}
				return
			}
			if !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", test.status)) || !strings.HasSuffix(got, test.reason) {
				t.Errorf("got %q; want %d %s", got, test.status, test.reason)
			}
			if err, _ := e.last(); err == nil || err.Reason != test.reason || err.Status != test.status || err.Side != exchange.SideUpstream {
				t.Errorf("error %v; want %d %s", err, test.status, test.reason)
			}
		})
	}
}

// whole returns why a response is seen to be cut short; nil if it looks whole.
func whole(raw string, err error) error {
	if err != nil {
		return err
	}
	head, body, ok := strings.Cut(raw, "\r\n\r\n")
	var length int
	switch {
	case !ok:
		return io.ErrUnexpectedEOF
	case strings.Contains(head, "chunked"):
		if !strings.HasSuffix(body, "0\r\n\r\n") {
			return io.ErrUnexpectedEOF
		}
	default:
		_, after, _ := strings.Cut(head, "Content-Length: ")
		fmt.Sscan(after, &length)
		if len(body) < length {
			return io.ErrUnexpectedEOF
		}
	}
	return nil
}

func TestConnecting(t *testing.T) {
	good := newOrigin(t, func(_ int, c *originConn) {
		for c.head() != "" {
			c.say("HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	slow := dialFunc(func(ctx context.Context, _ config.Endpoint, d time.Duration) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	})
	tests := map[string]struct {
		dialer Dialer
		addrs  []netip.AddrPort
		status int
		reason string
		tries  int
	}{
		"no endpoint":                      {NetDialer{}, nil, 503, "no-endpoint", 0},
		"refused":                          {NetDialer{}, []netip.AddrPort{closedPort(t)}, 502, "connect-refused", 1},
		"refused by all":                   {NetDialer{}, []netip.AddrPort{closedPort(t), closedPort(t), closedPort(t), closedPort(t)}, 502, "connect-refused", 3},
		"refused by one, another is there": {NetDialer{}, []netip.AddrPort{closedPort(t), good.addr}, 204, "", 2},
		"no answer":                        {slow, []netip.AddrPort{good.addr}, 504, "connect-timeout", 1},
		"not allowed":                      {NetDialer{Allowed: func(netip.AddrPort) bool { return false }}, []netip.AddrPort{good.addr}, 502, "connect-not-allowed", 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := params()
			p.ConnectTimeout = 50 * time.Millisecond
			s, g := newSet(t, p, test.addrs...)
			s.dialer = test.dialer
			e := newEdge(t, p, &forward{group: func() *Group { return g }})
			got, _ := e.get(t, getClose)
			err, tries := e.last()
			if !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", test.status)) || tries != test.tries {
				t.Errorf("got %q after %d tries; want %d after %d", got, tries, test.status, test.tries)
			}
			if (err == nil) != (test.reason == "") || err != nil && err.Reason != test.reason {
				t.Errorf("error %v; want %q", err, test.reason)
			}
		})
	}
}

// TestEndpointsChangeMeanwhile: what came while a connection could not be opened is tried,
// though there are no more endpoints than were tried.
func TestEndpointsChangeMeanwhile(t *testing.T) {
	good := newOrigin(t, func(_ int, c *originConn) {
		c.head()
		c.say("HTTP/1.1 204 No Content\r\n\r\n")
	})
	for name, next := range map[string]*config.EndpointSet{
		"one that is ready":     endpointSet(good.addr),
		"one that still serves": {Endpoints: []config.Endpoint{{Address: good.addr, Serving: true, Terminating: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			s, g := newSet(t, params(), closedPort(t))
			first := true
			s.dialer = dialFunc(func(ctx context.Context, e config.Endpoint, d time.Duration) (net.Conn, error) {
				if !first {
					return NetDialer{}.Dial(ctx, e, d)
				}
				first = false
				s.ApplyEndpoints(map[string]*config.EndpointSet{"u": next})
				return nil, context.DeadlineExceeded
			})
			e := newEdge(t, params(), &forward{group: func() *Group { return g }})
			got, _ := e.get(t, getClose)
			if _, tries := e.last(); !strings.HasPrefix(got, "HTTP/1.1 204 ") || tries != 2 {
				t.Errorf("got %q after %d tries", got, tries)
			}
		})
	}
}

// TestRetryOnAReusedConnection: the first connection answers once, and closes
// when the next request has come, before any byte of an answer.
func TestRetryOnAReusedConnection(t *testing.T) {
	tests := map[string]struct {
		request string
		partial string
		retried bool
	}{
		"GET is repeated":        {request: getClose, retried: true},
		"DELETE is repeated":     {request: strings.Replace(getClose, "GET", "DELETE", 1), retried: true},
		"POST is not":            {request: strings.Replace(getClose, "GET", "POST", 1)},
		"PUT with a body is not": {request: "PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"},
		"GET is not repeated after the answer's first byte": {request: getClose, partial: "H"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, func(n int, c *originConn) {
				for i := 0; c.head() != ""; i++ {
					if n == 0 && i == 1 {
						c.say(test.partial)
						return
					}
					c.say("HTTP/1.1 204 No Content\r\n\r\n")
				}
			})
			e := proxyTo(t, params(), o.addr)
			if got, _ := e.get(t, getClose); !strings.HasPrefix(got, "HTTP/1.1 204") {
				t.Fatalf("first: %q", got)
			}
			got, _ := e.get(t, test.request)
			want, tries := "HTTP/1.1 502", 1
			if test.retried {
				want, tries = "HTTP/1.1 204", 2
			}
			if _, n := e.last(); !strings.HasPrefix(got, want) || n != tries {
				t.Errorf("got %q after %d tries; want %q after %d", got, n, want, tries)
			}
		})
	}
}

func TestAConnectionThatClosedWhileIdleIsNotUsed(t *testing.T) {
	closed := make(chan struct{}, 10)
	o := newOrigin(t, func(n int, c *originConn) {
		c.head()
		c.say("HTTP/1.1 204 No Content\r\n\r\n")
		c.Close()
		closed <- struct{}{}
	})
	e := proxyTo(t, params(), o.addr)
	for range 3 {
		got, _ := e.get(t, strings.Replace(getClose, "GET", "POST", 1))
		if _, tries := e.last(); !strings.HasPrefix(got, "HTTP/1.1 204") || tries != 1 {
			t.Errorf("got %q after %d tries", got, tries)
		}
		<-closed
		time.Sleep(time.Millisecond) // the FIN is on its way
	}
}
