package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
)

const post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n"

// TestTheClientsDisconnectEndsASilentBody: the upstream's connection closes although
// its response has begun, and is silent.
func TestTheClientsDisconnectEndsASilentBody(t *testing.T) {
	body := strings.Repeat("x", 20000)
	tests := map[string]struct{ request, response string }{
		"at once":            {get, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"},
		"within a length":    {get, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"},
		"within a large one": {get, "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + strings.Repeat("x", 300_000)},
		"between chunks":     {get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"},
		"until the end":      {get, "HTTP/1.1 200 OK\r\n\r\nabc"},
		"after an upload":    {post + body, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"},
		"during an upload":   {post + body[:100], "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			closed := make(chan struct{})
			o := newOrigin(t, func(_ int, c *originConn) {
				c.head()
				go c.say(test.response)
				io.Copy(io.Discard, c.r)
				close(closed)
			})
			p := params()
			p.IdleTimeout = time.Minute
			e := proxyTo(t, p, o.addr)
			c := e.dial(t)
			c.say(test.request)
			c.head()
			if i := strings.LastIndex(test.response, "\r\n\r\n"); !strings.Contains(test.response, "chunked") {
				io.CopyN(io.Discard, c.r, int64(len(test.response)-i-4))
			}
			time.Sleep(50 * time.Millisecond)
			c.Close()
			select {
			case <-closed:
			case <-time.After(10 * time.Second):
				t.Fatal("the upstream's connection stayed open")
			}
			if err := (*exchange.Error)(nil); !errors.As(e.sent(), &err) || err.Side != exchange.SideClient {
				t.Errorf("got %v; want the client's", err)
			}
		})
	}
}

// TestTheClientsDisconnectEndsASilentStream: from HTTP/1.1 to HTTP/2, with a request's
// body that has or has not ended.
func TestTheClientsDisconnectEndsASilentStream(t *testing.T) {
	for name, request := range map[string]string{"GET": get, "POST": post + strings.Repeat("x", 20000), "half a POST": post + "x"} {
		t.Run(name, func(t *testing.T) {
			gone := make(chan struct{})
			o := newRealServer(t, 0, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(200)
				w.(http.Flusher).Flush()
				if name == "POST" {
					time.Sleep(50 * time.Millisecond) // the response is silent while the body comes
					io.Copy(io.Discard, r.Body)
				}
				<-r.Context().Done()
				close(gone)
			})
			p := params()
			p.IdleTimeout = time.Minute
			_, g := newH2Set(t, p, o.addr)
			e := newEdge(t, p, &forward{group: func() *Group { return g }})
			c := e.dial(t)
			c.say(request)
			c.head()
			time.Sleep(100 * time.Millisecond)
			c.Close()
			select {
			case <-gone:
			case <-time.After(10 * time.Second):
				t.Fatal("the upstream's stream stayed open")
			}
			if o.conns.Load() != 1 {
				t.Errorf("%d connections", o.conns.Load())
			}
		})
	}
}

// TestASilentBodyComesWhole: pauses longer than the sweeper's step lose nothing, and
// the connection carries the next exchange.
func TestASilentBodyComesWhole(t *testing.T) {
	part := bytes.Repeat([]byte("0123456789"), 20_000)
	pause := func() { time.Sleep(40 * time.Millisecond) }
	forms := map[string]func(c net.Conn){
		"length": func(c net.Conn) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", 3*len(part))
			for range 3 {
				pause()
				c.Write(part)
			}
		},
		"chunks": func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for range 3 {
				pause()
				fmt.Fprintf(c, "%x\r\n", len(part))
				pause()
				c.Write(part)
				io.WriteString(c, "\r\n")
			}
			pause()
			io.WriteString(c, "0\r\n\r\n")
		},
	}
	for name, answer := range forms {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, func(_ int, c *originConn) {
				for c.head() != "" {
					answer(c)
				}
			})
			e := proxyTo(t, params(), o.addr)
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for range 3 {
				resp, err := client.Get("http://" + e.addr)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || !bytes.Equal(got, bytes.Repeat(part, 3)) {
					t.Fatalf("got %d bytes, %v", len(got), err)
				}
			}
			if o.accepted() != 1 {
				t.Errorf("%d connections; want 1", o.accepted())
			}
		})
	}
}

// TestACallEndsWithinASilentBody: a call of a guest's has no client but its context.
func TestACallEndsWithinASilentBody(t *testing.T) {
	h1 := newOrigin(t, func(_ int, c *originConn) {
		c.head()
		c.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
		io.Copy(io.Discard, c.r)
	})
	h2 := newRealServer(t, 0, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	p := params()
	p.IdleTimeout = time.Minute
	_, plain := newSet(t, p, h1.addr)
	_, shared := newH2Set(t, p, h2.addr)
	for name, g := range map[string]*Group{"HTTP/1.1": plain, "HTTP/2": shared} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		x := &exchange.Exchange{Conn: &exchange.Conn{}, Client: ContextClient{Context: ctx}}
		x.Request.Method, x.Request.Authority, x.Request.Path = []byte("GET"), []byte("a"), []byte("/")
		if err := g.Send(x, 0); err != nil {
			t.Fatal(name, err)
		}
		_, err := io.ReadAll(x.Response.Body)
		if known := (*exchange.Error)(nil); !errors.As(err, &known) || known.Reason != "client-gone" {
			t.Errorf("%s: got %v; want client-gone", name, err)
		}
		x.Response.Body.Close()
		cancel()
	}
}
