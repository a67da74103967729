package h2

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
)

// TestASlowStreamHurtsNoOther: one body is not read, one response is not taken.
func TestASlowStreamHurtsNoOther(t *testing.T) {
	release := make(chan struct{})
	p := params()
	p.IdleTimeout = time.Minute
	ts := newTestServer(t, p, func(x *exchange.Exchange) {
		if string(x.Request.Path) == "/slow" {
			<-release
		}
		n, err := io.Copy(io.Discard, x.Request.Body)
		codectest.Answer(x, 200, fmt.Sprint(n, " ", err, string(make([]byte, 200000))))
	})
	c := ts.client(t)
	body := strings.Repeat("x", 4<<20)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			resp, err := c.Post("http://a.example/slow", "", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			b, _ := io.ReadAll(resp.Body)
			if !strings.HasPrefix(string(b), "4194304 <nil>") {
				t.Errorf("got %.20q", b)
			}
		})
	}
	untaken, err := c.Post("http://a.example/fast", "", strings.NewReader("y")) // its response is not read
	if err != nil {
		t.Fatal(err)
	}
	defer untaken.Body.Close()
	for range 3 {
		resp, err := c.Post("http://a.example/fast", "", strings.NewReader(body))
		if got := slurp(t, resp, err); !strings.HasPrefix(got, "200 4194304 <nil>") {
			t.Errorf("got %.20q", got)
		}
	}
	close(release)
	wg.Wait()
}

func TestBodySemantics(t *testing.T) {
	tests := map[string]struct {
		serve handlerFunc
		want  string
	}{
		"a client that sends nothing": {func(x *exchange.Exchange) {
			_, err := io.ReadAll(x.Request.Body)
			checkErr(err, exchange.SideClient, "request-body-timeout")
			codectest.Answer(x, 200, "late")
		}, "200 late"},
		"closed": {func(x *exchange.Exchange) {
			x.Request.Body.Close()
			x.Request.Body.Close()
			_, err := x.Request.Body.Read(make([]byte, 1))
			checkErr(err, exchange.SideClient, "request-body-closed")
			codectest.Answer(x, 200, "closed")
		}, "200 closed"},
		"stopped while it is read": {func(x *exchange.Exchange) {
			read := make(chan error)
			go func() {
				_, err := io.ReadAll(x.Request.Body)
				read <- err
			}()
			x.Client.(interface{ StopBody() }).StopBody()
			checkErr(<-read, exchange.SideClient, "request-body-closed")
			codectest.Answer(x, 200, "stopped")
		}, "200 stopped"},
		"left to another goroutine that reads": {func(x *exchange.Exchange) {
			go io.ReadAll(x.Request.Body)
			codectest.Answer(x, 200, "left")
		}, "200 left"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := params()
			p.IdleTimeout = 100 * time.Millisecond
			ts := newTestServer(t, p, test.serve)
			r := ts.dial(t)
			r.headers(1, false, post()...)
			if got := r.outcome(1); got != test.want {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}

func TestAPanicEndsTheConnection(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) { panic("BUG: test") })
	r := ts.dial(t)
	r.headers(1, true, get()...)
	if got := r.outcome(1); !strings.HasPrefix(got, "closed") {
		t.Errorf("got %s", got)
	}
	for range 100 {
		ts.mu.Lock()
		n := len(ts.panics)
		ts.mu.Unlock()
		if n == 1 {
			if text := fmt.Sprint(ts.panics[0]); !strings.Contains(text, "BUG: test") || !strings.Contains(text, "TestAPanicEndsTheConnection") {
				t.Errorf("got %s", text)
			}
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("Serve did not panic")
}

// slowBody gives a byte every fifth of the idle time, n times.
type slowBody struct {
	n    int
	each time.Duration
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.n == 0 {
		return 0, io.EOF
	}
	b.n--
	time.Sleep(b.each)
	p[0] = 'x'
	return 1, nil
}

func (b *slowBody) Buffered() int { return 0 }
func (b *slowBody) Close()        {}

// TestARequestIsNotIdleWhileItsResponseGoesOn: a client that only listens.
func TestARequestIsNotIdleWhileItsResponseGoesOn(t *testing.T) {
	p := params()
	p.IdleTimeout = time.Second
	read := make(chan string, 1)
	ts := newTestServer(t, p, func(x *exchange.Exchange) {
		var wg sync.WaitGroup
		defer wg.Wait()
		body := x.Request.Body
		wg.Go(func() {
			b, err := io.ReadAll(body)
			read <- fmt.Sprint(string(b), " ", err)
		})
		x.Response.Status, x.Response.ContentLength, x.Response.Body = 200, -1, &slowBody{12, p.IdleTimeout / 5}
		x.Client.Send(x)
	})
	r := ts.dial(t)
	r.headers(1, false, post()...)
	for got := 0; got < 12; {
		f, err := r.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := f.(*http2.DataFrame); ok {
			if got += len(d.Data()); got == 11 {
				r.WriteData(1, true, []byte("end"))
			}
		}
	}
	if got := <-read; got != "end <nil>" {
		t.Errorf("got %q", got)
	}
}
