// Package codectest has the tests that every protocol's server passes, whatever is on
// the wire. Only tests import it.
package codectest

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
)

// SetUp starts a server of h for one test that wants rate bytes per second of clients
// that were waited for 200 ms, and returns a client of it and its address.
type SetUp func(t *testing.T, rate int, h func(*exchange.Exchange)) (client *http.Client, url string)

// Answer sends x's client a response with this content.
func Answer(x *exchange.Exchange, status int, content string) error {
	p := &x.Response
	p.Status, p.Version = status, exchange.HTTP11
	p.Body, p.ContentLength = exchange.NewBytes([]byte(content)), int64(len(content))
	return x.Client.Send(x)
}

// drip gives size bytes each 20 ms, n times.
type drip struct{ n, size int }

func (d *drip) Read(p []byte) (int, error) {
	if d.n--; d.n < 0 {
		return 0, io.EOF
	}
	time.Sleep(20 * time.Millisecond)
	return min(d.size, len(p)), nil
}

func reasonOf(err error) string {
	if known := (*exchange.Error)(nil); errors.As(err, &known) {
		return known.Reason
	}
	return ""
}

// SlowRequest is a test: a body that comes slowly is refused while nothing else happens.
func SlowRequest(t *testing.T, setUp SetUp) {
	for name, test := range map[string]struct {
		size   int
		serve  func(x *exchange.Exchange)
		reason string
	}{
		"too slow":          {1, func(*exchange.Exchange) {}, "request-body-slow"},
		"fast enough":       {1000, func(*exchange.Exchange) {}, ""},
		"one that may":      {1, func(x *exchange.Exchange) { x.SetBodyIdle(time.Minute) }, ""},
		"after the answer":  {1, nil, ""},
		"read now and then": {1000, func(x *exchange.Exchange) { time.Sleep(300 * time.Millisecond) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan error, 1)
			client, url := setUp(t, 200, func(x *exchange.Exchange) {
				read := func() (b []byte, err error) {
					b, err = io.ReadAll(x.Request.Body)
					got <- err
					return b, err
				}
				if test.serve == nil {
					x.Response.Status, x.Response.ContentLength = 200, -1
					x.Response.Body = &later{read: read}
					_ = x.Client.Send(x)
					return
				}
				test.serve(x)
				status := 200
				if _, err := read(); err != nil {
					status = 408
				}
				_ = Answer(x, status, "done")
			})
			resp, err := client.Post(url, "", &drip{40, test.size})
			if err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			if reason := reasonOf(<-got); reason != test.reason {
				t.Errorf("got %q; want %q", reason, test.reason)
			}
			if want := 200; test.reason == "" && (err != nil || resp.StatusCode != want) {
				t.Errorf("got %v, %v", resp, err)
			}
		})
	}
}

// later is a response's body that is there once a request's was read.
type later struct {
	read func() ([]byte, error)
	n    int
}

func (l *later) Read(p []byte) (int, error) {
	if l.n++; l.n == 1 {
		return copy(p, "first"), nil
	}
	_, _ = l.read()
	return 0, io.EOF
}
func (*later) Buffered() int { return 0 }
func (*later) Close()        {}

// zeros is a body without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
func (zeros) Buffered() int              { return 1 << 20 }
func (zeros) Close()                     {}

// SlowReader is a test: a response that the client does not take is cut, unless it may be
// slow; one that is silent by itself is not.
func SlowReader(t *testing.T, setUp SetUp) {
	for name, may := range map[string]bool{"too slow": false, "one that may": true} {
		t.Run(name, func(t *testing.T) {
			got := make(chan error, 1)
			client, url := setUp(t, 1_000_000, func(x *exchange.Exchange) {
				if may {
					x.SetBodyIdle(time.Minute)
				}
				x.Response.Status, x.Response.ContentLength, x.Response.Body = 200, -1, zeros{}
				got <- x.Client.Send(x)
			})
			resp, err := client.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var sent error
			for until, over := time.Now().Add(2*time.Second), false; !over && err == nil; {
				select {
				case sent = <-got:
					over = true
				case <-time.After(100 * time.Millisecond):
					_, err = io.CopyN(io.Discard, resp.Body, 20_000)
					over = may && time.Now().After(until)
				}
			}
			if may {
				if err != nil || sent != nil {
					t.Errorf("got %v, and the client %v", sent, err)
				}
				return
			}
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
			}
			if sent == nil {
				sent = <-got
			}
			if reason := reasonOf(sent); reason != "response-slow" || err == nil {
				t.Errorf("got %q, and the client %v; want response-slow", reason, err)
			}
		})
	}
	t.Run("a silent response", func(t *testing.T) {
		client, url := setUp(t, 1_000_000, func(x *exchange.Exchange) {
			x.Response.Status, x.Response.ContentLength, x.Response.Body = 200, -1, slowly{&drip{30, 5}}
			_ = x.Client.Send(x)
		})
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); err != nil || len(b) != 150 {
			t.Errorf("got %d bytes, %v", len(b), err)
		}
	})
}

// slowly is a body that comes slowly.
type slowly struct{ *drip }

func (slowly) Buffered() int { return 0 }
func (slowly) Close()        {}
