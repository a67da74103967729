package h2

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"penstock.dev/penstock/core/exchange"
)

func TestRequests(t *testing.T) {
	ts := newTestServer(t, params(), describe)
	c := ts.client(t)
	tests := map[string]struct {
		method, path, body string
		header             http.Header
		want               string
	}{
		"a plain GET":                    {"GET", "/a?b=c", "", nil, "GET http://a.example /a?b=c 20\n"},
		"a body with a length":           {"POST", "/", "hello", nil, "POST http://a.example / 20\ncontent-length: 5\nbody 5 \"hello\"\n"},
		"identity fields are taken away": {"GET", "/", "", http.Header{"X-Forwarded-For": {"1.2.3.4"}, "X_real_ip": {"x"}, "A": {"b"}}, "GET http://a.example / 20\na: b\n"},
		"cookie crumbs are joined":       {"GET", "/", "", http.Header{"Cookie": {"a=b; c=d"}}, "GET http://a.example / 20\ncookie: a=b; c=d\n"},
		"TE is known":                    {"GET", "/", "", http.Header{"Te": {"trailers"}}, "GET http://a.example / 20\nTE\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var body io.Reader
			if test.body != "" {
				body = strings.NewReader(test.body)
			}
			r, err := http.NewRequest(test.method, "http://a.example"+test.path, body)
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range test.header {
				r.Header[k] = v
			}
			r.Header["User-Agent"] = []string{""}
			r.Header.Set("Accept-Encoding", "identity")
			resp, err := c.Do(r)
			got := strings.Replace(slurp(t, resp, err), "accept-encoding: identity\n", "", 1)
			if got != "200 "+test.want {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}

func TestTrailersBothWays(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		content, _ := io.ReadAll(x.Request.Body)
		v, _ := x.Request.Trailer.Get("x-sum")
		p := &x.Response
		p.Status, p.ContentLength = 200, -1
		p.Body = exchange.NewBytes(content)
		p.Trailer.Add([]byte("X-Got"), v)
		x.Client.Send(x)
	})
	r, _ := http.NewRequest("POST", "http://a.example/", io.MultiReader(strings.NewReader("abc")))
	r.Trailer = http.Header{"X-Sum": {"42"}}
	resp, err := ts.client(t).Do(r)
	if got := slurp(t, resp, err); got != "200 abc" || resp.Trailer.Get("X-Got") != "42" {
		t.Errorf("got %q, trailer %v", got, resp.Trailer)
	}
}

func TestLargeBodiesBothWays(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		p := &x.Response
		p.Status, p.ContentLength = 200, x.Request.ContentLength
		p.Body = x.Request.Body
		x.Client.Send(x)
	})
	c := ts.client(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	for _, known := range []bool{true, false} {
		var body io.Reader = bytes.NewReader(sent)
		if !known {
			body = io.MultiReader(body)
		}
		resp, err := c.Post("http://a.example/", "", body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("known %v: got %d bytes, %v", known, len(got), err)
		}
	}
}
