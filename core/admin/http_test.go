package admin

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestBounds(t *testing.T) {
	address := serve(t, Open(), guarded(Open()))
	tests := map[string]struct {
		request string
		want    int
	}{
		"a request":              {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200},
		"a body":                 {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 413},
		"a body without an end":  {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 413},
		"a head that is too big": {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n", 431},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			go func() { _, _ = io.WriteString(c, test.request) }()
			r, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			if r.StatusCode != test.want {
				t.Errorf("got %d; want %d", r.StatusCode, test.want)
			}
		})
	}
}

func TestTooManyRequestsAtOnce(t *testing.T) {
	arrived, leave := make(chan struct{}), make(chan struct{})
	address := serve(t, Open(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			arrived <- struct{}{}
			<-leave
		}
	}))
	statuses := make(chan int, maxRequests)
	get := func(path string) int {
		r, err := http.Get("http://" + address + path)
		if err != nil {
			t.Error(err)
			return 0
		}
		r.Body.Close()
		return r.StatusCode
	}
	for range maxRequests {
		go func() { statuses <- get("/wait") }()
		<-arrived
	}
	for path, want := range map[string]int{"/": 503, "/livez": 200, "/readyz": 200} {
		if got := get(path); got != want {
			t.Errorf("one more, %s: got %d; want %d", path, got, want)
		}
	}
	close(leave)
	for range maxRequests {
		if got := <-statuses; got != 200 {
			t.Errorf("got %d; want 200", got)
		}
	}
	if got := get("/"); got != 200 {
		t.Errorf("afterwards: got %d; want 200", got)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newLimited(inner, 2)
	accepted, ended := make(chan net.Conn), make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first := <-accepted
	defer (<-accepted).Close()
	select {
	case <-accepted:
		t.Fatal("a third one is accepted")
	case <-time.After(200 * time.Millisecond):
	}
	first.Close()
	first.Close() // a second time frees nothing
	third := <-accepted
	defer third.Close()
	l.Close()
	l.Close()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("Accept goes on after Close")
	}
}
