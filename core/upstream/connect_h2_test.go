package upstream

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestConnectToHTTP2: a tunnel of a client of HTTP/1.1 in a stream, which others have
// after it.
func TestConnectToHTTP2(t *testing.T) {
	ended := make(chan error, 1)
	o := newRealServer(t, 1, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		w.WriteHeader(200)
		c.Flush()
		if strings.HasPrefix(r.Host, "silent") {
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			ended <- r.Context().Err()
			return
		}
		b := make([]byte, 1000)
		for {
			n, err := r.Body.Read(b)
			io.WriteString(w, strings.ToUpper(string(b[:n])))
			c.Flush()
			if err != nil {
				return
			}
		}
	})
	p := params()
	p.TunnelTimeout = time.Second
	_, g := newH2Set(t, p, o.addr)
	e := newEdge(t, p, &forward{group: func() *Group { return g }})
	over := 0
	for range 3 {
		c := e.dial(t)
		c.say(connect + "early ")
		if head := c.head(); !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") || strings.Contains(head, "Length") {
			t.Fatalf("got %q", head)
		}
		expect(t, c.r, "EARLY ")
		c.say("more")
		expect(t, c.r, "MORE")
		c.Conn.(*net.TCPConn).CloseWrite()
		if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
			t.Errorf("got %q, %v; want the end", b, err)
		}
		over++
		e.answered(over) // the client sees the end before the place is free
	}
	// Nothing comes any more, also where the client has ended its direction.
	for _, half := range []bool{false, true} {
		c := e.dial(t)
		c.say(strings.ReplaceAll(connect, "b.example", "silent"))
		c.head()
		if half {
			c.Conn.(*net.TCPConn).CloseWrite()
		}
		if _, err := io.ReadAll(c.r); err == nil {
			t.Error("an orderly end; want a reset")
		}
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Error("the upstream's stream lives on")
		}
		over++
		e.answered(over)
	}
	if n := o.conns.Load(); n != 1 {
		t.Errorf("%d connections; want one, whose only place is given back each time", n)
	}
}
