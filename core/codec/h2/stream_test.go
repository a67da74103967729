package h2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
	"penstock.dev/penstock/core/telemetry"
)

// waitGone waits until Watch says that the client is gone.
func waitGone(x *exchange.Exchange) {
	gone := make(chan struct{})
	defer x.Client.Watch(func() { close(gone) })()
	<-gone
}

func TestResponses(t *testing.T) {
	field := func(h *exchange.Header, name, value string) { h.Add([]byte(name), []byte(value)) }
	tests := map[string]struct {
		serve   handlerFunc
		method  string
		want    string
		wantErr string
	}{
		"status alone": {func(x *exchange.Exchange) {
			x.Response.Status = 204
			x.Client.Send(x)
		}, "GET", "204 ", ""},
		"no body": {func(x *exchange.Exchange) {
			x.Response.Status = 200
			x.Client.Send(x)
		}, "GET", "200 content-length=0 ", ""},
		"fields in lower case, without the connection's": {func(x *exchange.Exchange) {
			h := &x.Response.Header
			field(h, "X-A", " b ")
			field(h, "Connection", "close")
			field(h, "Transfer-Encoding", "chunked")
			field(h, "Content-Length", "99")
			codectest.Answer(x, 299, "x")
		}, "GET", "299 content-length=1 x-a=b x", ""},
		"HEAD": {func(x *exchange.Exchange) {
			x.Request.Method = []byte("GET") // a filter may do that
			codectest.Answer(x, 200, "hello")
		}, "HEAD", "200 content-length=5 ", ""},
		"HEAD of a length": {func(x *exchange.Exchange) {
			x.Response.Status, x.Response.ContentLength = 200, 7
			x.Client.Send(x)
		}, "HEAD", "200 content-length=7 ", ""},
		"304 says no length": {func(x *exchange.Exchange) {
			x.Response.Status, x.Response.ContentLength = 304, 7
			x.Client.Send(x)
		}, "GET", "304 ", ""},
		"an empty body of unknown length": {func(x *exchange.Exchange) {
			x.Response.Status, x.Response.Body, x.Response.ContentLength = 200, &exchange.Bytes{}, -1
			x.Client.Send(x)
		}, "GET", "200 ", ""},
		"a long field": {func(x *exchange.Exchange) {
			field(&x.Response.Header, "x", strings.Repeat("y", 40000))
			codectest.Answer(x, 200, "")
		}, "GET", "200 content-length=0 x=" + strings.Repeat("y", 40000) + " ", ""},
		"an invalid field": {func(x *exchange.Exchange) {
			field(&x.Response.Header, "x", "a\nb")
			checkErr(x.Client.Send(x), exchange.SidePlugin, "invalid-message")
		}, "GET", "502 content-length=0 ", ""},
		"status 101": {func(x *exchange.Exchange) {
			x.Response.Status = 101
			checkErr(x.Client.Send(x), exchange.SidePlugin, "invalid-message")
		}, "GET", "502 content-length=0 ", ""},
		"a body that fails at once": {func(x *exchange.Exchange) {
			x.Response.Status, x.Response.Body, x.Response.ContentLength = 200, &broken{ready: true}, 3
			checkErr(x.Client.Send(x), exchange.SideUpstream, "response-body-cut")
		}, "GET", "502 content-length=0 ", ""},
		"a body that fails later": {func(x *exchange.Exchange) {
			x.Response.Status, x.Response.Body, x.Response.ContentLength = 200, &broken{}, 3
			checkErr(x.Client.Send(x), exchange.SideUpstream, "response-body-cut")
		}, "GET", "200 content-length=3 ", "INTERNAL_ERROR"},
		"a body that is short": {func(x *exchange.Exchange) {
			x.Response.Status, x.Response.Body, x.Response.ContentLength = 200, exchange.NewBytes(make([]byte, 50000)), 50001
			checkErr(x.Client.Send(x), exchange.SideUpstream, "response-body-cut")
		}, "GET", "", "INTERNAL_ERROR"},
		"a body that is long": {func(x *exchange.Exchange) {
			x.Response.Status, x.Response.Body, x.Response.ContentLength = 200, exchange.NewBytes([]byte("abc")), 2
			checkErr(x.Client.Send(x), exchange.SideUpstream, "response-body-cut")
		}, "GET", "502 content-length=0 ", ""},
		"no answer": {func(*exchange.Exchange) {}, "GET", "", "INTERNAL_ERROR"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ts := newTestServer(t, params(), test.serve)
			r, _ := http.NewRequest(test.method, "http://a.example/", nil)
			resp, err := ts.client(t).Do(r)
			var got string
			if err == nil {
				var b []byte
				b, err = io.ReadAll(resp.Body)
				got = fmt.Sprint(resp.StatusCode, " ")
				if resp.Header.Get("Date") == "" {
					t.Error("no Date")
				}
				for _, name := range []string{"Content-Length", "X", "X-A", "Connection", "Transfer-Encoding"} {
					for _, v := range resp.Header[name] {
						got += strings.ToLower(name) + "=" + v + " "
					}
				}
				got += string(b)
			}
			if test.wantErr == "" && (err != nil || got != test.want) {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
			if test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr) || test.want != "" && got != test.want) {
				t.Errorf("got %q, %v; want %q, %s", got, err, test.want, test.wantErr)
			}
			ts.mu.Lock()
			defer ts.mu.Unlock()
			if len(ts.panics) > 0 {
				t.Error(ts.panics)
			}
		})
	}
}

// checkErr panics, for the test to see, if err is not of that kind.
func checkErr(err error, side exchange.Side, reason string) {
	var e *exchange.Error
	if !errors.As(err, &e) || e.Side != side || e.Reason != reason {
		panic(fmt.Sprint("got ", err))
	}
}

// broken is a body whose Read fails.
type broken struct{ ready bool }

func (b *broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func (b *broken) Buffered() int {
	if b.ready {
		return 1
	}
	return 0
}

func (b *broken) Close() {}

func TestInterimResponses(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		var h exchange.Header
		h.Add([]byte("Link"), []byte("</a>"))
		x.Client.Inform(x, 103, &h)
		x.Client.Inform(x, 101, &h) // HTTP/2 has none
		x.Client.Inform(x, 100, nil)
		codectest.Answer(x, 200, "")
	})
	var got []string
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			got = append(got, fmt.Sprint(code, h.Get("Link")))
			return nil
		}})
	r, _ := http.NewRequestWithContext(ctx, "GET", "http://a.example/", nil)
	resp, err := ts.client(t).Do(r)
	if s := slurp(t, resp, err); s != "200 " || strings.Join(got, ",") != "103</a>" {
		t.Errorf("got %q, %v", s, got)
	}
}

func TestExpectContinue(t *testing.T) {
	tests := map[string]struct {
		read bool
		want string
	}{
		"100 comes when the body is read": {true, "100 200 hello"},
		"none if it is answered without":  {false, "200"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ts := newTestServer(t, params(), func(x *exchange.Exchange) {
				var b []byte
				if test.read {
					b, _ = io.ReadAll(x.Request.Body)
				}
				codectest.Answer(x, 200, string(b))
			})
			r := ts.dial(t)
			r.headers(1, false, post("expect: 100-continue", "content-length: 5")...)
			if test.read {
				time.AfterFunc(50*time.Millisecond, func() { r.WriteData(1, true, []byte("hello")) })
			}
			if got := r.outcome(1); got != test.want {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}

func TestAnEarlyAnswerFreesTheClient(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) { codectest.Answer(x, 413, "") })
	r := ts.dial(t)
	r.headers(1, false, post()...)
	if got := r.outcome(1); got != "413" {
		t.Fatalf("got %s", got)
	}
	if got := r.outcome(1); got != "RST NO_ERROR" {
		t.Fatalf("got %s", got)
	}
	// What is under way is no mistake, and the connection's window opens again.
	for range 3 * connWindow / leastFrameSize {
		if err := r.WriteData(1, false, make([]byte, leastFrameSize)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.nc.Write(nil); err != nil {
			t.Fatal(err)
		}
		if r.spent += leastFrameSize; r.spent > connWindow/2 {
			f, err := r.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if w, ok := f.(*http2.WindowUpdateFrame); ok {
				r.spent -= int(w.Increment)
			}
		}
	}
	r.headers(3, true, get()...)
	if got := r.outcome(3); got != "413" {
		t.Errorf("the next request: %s", got)
	}
}

func TestAResetCancels(t *testing.T) {
	tests := map[string]handlerFunc{
		"a watch":               waitGone,
		"a read":                func(x *exchange.Exchange) { io.ReadAll(x.Request.Body) },
		"a send without window": func(x *exchange.Exchange) { codectest.Answer(x, 200, string(make([]byte, 1<<20))) },
	}
	for name, serve := range tests {
		t.Run(name, func(t *testing.T) {
			entered, done := make(chan struct{}), make(chan error, 2)
			p := params()
			p.IdleTimeout = time.Minute
			ts := newTestServer(t, p, func(x *exchange.Exchange) {
				entered <- struct{}{}
				serve(x)
				_, err := x.Request.Body.Read(make([]byte, 1))
				done <- err
			})
			r := ts.dial(t)
			r.headers(1, false, post()...)
			<-entered
			r.WriteRSTStream(1, http2.ErrCodeCancel)
			if err := <-done; err == nil || err == io.EOF {
				t.Errorf("reading the body: %v", err)
			}
			r.headers(3, false, post()...)
			<-entered
			r.nc.Close()
			if err := <-done; err == nil || err == io.EOF {
				t.Errorf("reading the body after the end: %v", err)
			}
		})
	}
}

// TestNoStreamStartsAfterTheEnd: a write fails while requests are buffered.
func TestNoStreamStartsAfterTheEnd(t *testing.T) {
	s := NewServer(handlerFunc(func(*exchange.Exchange) { t.Error("served") }), telemetry.New(), nil)
	c := s.NewConn(&memConn{}, &exchange.Conn{ID: 1}, params())
	c.mu.Lock()
	c.giveUp(errCut)
	c.mu.Unlock()
	block := (&rawClient{}).encoder().block(get()...)
	if err := c.handle(&frame{kind: frameHeaders, flags: flagEndHeaders | flagEndStream, id: 1, payload: block}); err != errGone {
		t.Errorf("got %v", err)
	}
	c.running.Wait()
}

func TestWatchIsStopped(t *testing.T) {
	stopped, done := make(chan struct{}), make(chan bool, 1)
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		called := false
		x.Client.Watch(func() { called = true })()
		close(stopped)
		waitGone(x)
		done <- called
	})
	r := ts.dial(t)
	r.headers(1, true, get()...)
	<-stopped
	r.WriteRSTStream(1, http2.ErrCodeCancel)
	if <-done {
		t.Error("called after it was stopped")
	}
}
