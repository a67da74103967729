package upstream

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
)

func TestALargeUploadArrivesWhole(t *testing.T) {
	const size = 3 << 20
	for name, chunked := range map[string]bool{"by length": false, "in chunks": true} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, func(_ int, c *originConn) {
				for {
					head := c.head()
					if head == "" {
						return
					}
					var body = io.LimitReader(c.r, size)
					if strings.Contains(head, "chunked") {
						body = httpChunked(c.r)
					}
					n, err := io.Copy(io.Discard, body)
					c.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Got: %d %v\r\nContent-Length: 0\r\n\r\n", n, err))
				}
			})
			e := proxyTo(t, params(), o.addr)
			c := e.dial(t)
			for range 3 {
				data := bytes.Repeat([]byte("x"), size)
				go func() {
					if chunked {
						c.say("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
						for part := range bytesChunks(data, 10007) {
							c.say(fmt.Sprintf("%x\r\n%s\r\n", len(part), part))
						}
						c.say("0\r\n\r\n")
						return
					}
					c.say(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size))
					c.Write(data)
				}()
				if head := c.head(); !strings.Contains(head, fmt.Sprintf("X-Got: %d <nil>", size)) {
					t.Fatalf("got %q", head)
				}
			}
			if o.accepted() != 1 {
				t.Errorf("%d connections; want 1", o.accepted())
			}
		})
	}
}

func TestUploadAndResponseAtTheSameTime(t *testing.T) {
	o := newOrigin(t, func(_ int, c *originConn) {
		c.head()
		c.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for {
			var size int
			line, err := c.r.ReadString('\n')
			fmt.Sscanf(line, "%x", &size)
			part := make([]byte, size+2)
			if _, err2 := io.ReadFull(c.r, part); err != nil || err2 != nil {
				return
			}
			c.say(fmt.Sprintf("%x\r\n%s", size, bytes.ToUpper(part)))
			if size == 0 {
				return
			}
		}
	})
	e := proxyTo(t, params(), o.addr)
	c := e.dial(t)
	c.say("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	head := c.head()
	if !strings.HasPrefix(head, "HTTP/1.1 200") {
		t.Fatalf("got %q", head)
	}
	for _, word := range []string{"one", "two", "six"} {
		c.say("3\r\n" + word + "\r\n")
		got := make([]byte, 8)
		if _, err := io.ReadFull(c.r, got); err != nil || string(got) != "3\r\n"+strings.ToUpper(word)+"\r\n" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	c.say("0\r\n\r\n")
	got := make([]byte, 5)
	if _, err := io.ReadFull(c.r, got); err != nil || string(got) != "0\r\n\r\n" {
		t.Fatalf("got %q, %v", got, err)
	}
	c.say(getClose)
}

func TestAnEarlyAnswerStopsTheUpload(t *testing.T) {
	o := newOrigin(t, func(_ int, c *originConn) {
		c.head()
		c.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
		time.Sleep(time.Second) // reads no more
	})
	e := proxyTo(t, params(), o.addr)
	c := e.dial(t)
	c.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		for range 100 {
			if _, err := c.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}()
	got := make([]byte, 10)
	if _, err := io.ReadFull(c.r, got); err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 4") {
		t.Errorf("got %q, %v", got, err)
	}
	<-stop
}

func TestAnAnswerBeforeTheUploadBeganIsPassedOn(t *testing.T) {
	o := newOrigin(t, func(_ int, c *originConn) {
		for c.head() != "" {
			c.say("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
		}
	})
	e := proxyTo(t, params(), o.addr)
	// The client sends no body before it sees the answer.
	got, err := e.get(t, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
	if err != nil || !strings.HasPrefix(got, "HTTP/1.1 401") {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAnUploadThatIsCutShortIsTheClientsFault(t *testing.T) {
	tests := map[string]struct {
		raw    string
		close  bool
		status int
		reason string
	}{
		"the client closes":    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\nhello", true, 400, "request-body-cut"},
		"the client stops":     {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\nhello", false, 408, "request-body-timeout"},
		"a chunk is malformed": {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", false, 400, "chunk"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cut := make(chan bool, 1)
			o := newOrigin(t, func(_ int, c *originConn) {
				c.head()
				b, _ := io.ReadAll(c.r)
				cut <- !strings.HasSuffix(string(b), "0\r\n\r\n")
			})
			p := params()
			p.IdleTimeout = 200 * time.Millisecond
			e := proxyTo(t, p, o.addr)
			c := e.dial(t)
			c.say(test.raw)
			if test.close {
				c.Conn.(interface{ CloseWrite() error }).CloseWrite()
			}
			io.ReadAll(c.r)
			if !<-cut {
				t.Error("the upstream got a body that looks whole")
			}
			if err, _ := e.last(); err == nil || err.Side != exchange.SideClient || err.Status != test.status || err.Reason != test.reason {
				t.Errorf("error %v; want %d %s", err, test.status, test.reason)
			}
		})
	}
}

func TestTheClientsDisconnectEndsASilentExchange(t *testing.T) {
	for name, request := range map[string]string{"GET": get, "POST": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("x", 20000)} {
		t.Run(name, func(t *testing.T) {
			asked, closed := make(chan struct{}), make(chan struct{})
			o := newOrigin(t, func(_ int, c *originConn) {
				c.head()
				if name == "POST" {
					io.CopyN(io.Discard, c.r, 20000)
				}
				close(asked)
				io.Copy(io.Discard, c.r)
				close(closed)
			})
			p := params()
			p.ResponseTimeout = time.Minute
			e := proxyTo(t, p, o.addr)
			c := e.dial(t)
			c.say(request)
			<-asked
			c.Close()
			select {
			case <-closed:
			case <-time.After(5 * time.Second):
				t.Fatal("the upstream's connection stayed open")
			}
		})
	}
}

func TestASilentExchangeIsAnsweredAllTheSame(t *testing.T) {
	o := newOrigin(t, func(_ int, c *originConn) {
		for c.head() != "" {
			time.Sleep(60 * time.Millisecond) // silent for longer than the sweeper's step
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	e := proxyTo(t, params(), o.addr)
	c := e.dial(t)
	for range 5 {
		c.say(get + get)
		for range 2 {
			if head := c.head(); !strings.HasPrefix(head, "HTTP/1.1 200") {
				t.Fatalf("got %q", head)
			}
			io.CopyN(io.Discard, c.r, 2)
		}
	}
	if o.accepted() != 1 {
		t.Errorf("%d connections; want 1", o.accepted())
	}
}
