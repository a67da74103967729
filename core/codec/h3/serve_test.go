package h3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
)

func TestARequestAndItsResponse(t *testing.T) {
	ts := newTestServer(t, params(), describe)
	tests := map[string]struct {
		send []byte
		want string
	}{
		"a plain request":                     {headers(get("x: y")...), "200 GET https://a.example / 30\nx: y"},
		"Host in place of :authority":         {headers(":method: OPTIONS", ":scheme: https", ":path: *", "host: b:1"), "200 OPTIONS https://b:1 * 30"},
		"TE: trailers is not passed on":       {headers(get("te: trailers")...), "200 GET https://a.example / 30\nTE"},
		"identity fields are not believed":    {headers(get("x-forwarded-for: 1.2.3.4", "forwarded: for=x", "a: b")...), "200 GET https://a.example / 30\na: b"},
		"crumbs of a cookie are one":          {headers(get("cookie: a=b", "x: y", "cookie: c=d")...), "200 GET https://a.example / 30\ncookie: a=b; c=d\nx: y"},
		"a body of unknown length":            {join(headers(post()...), data("abc"), data("def")), "200 POST https://a.example / 30\nbody -1 \"abcdef\""},
		"a body of known length":              {join(headers(post("content-length: 3")...), data("a"), data("bc")), "200 POST https://a.example / 30\ncontent-length: 3\nbody 3 \"abc\""},
		"no body":                             {headers(post()...), "200 POST https://a.example / 30"},
		"length 0":                            {headers(post("content-length: 0")...), "200 POST https://a.example / 30\ncontent-length: 0"},
		"a trailer":                           {join(headers(post()...), data("abc"), headers("x-sum: 1", "forwarded: for=x", "content-type: no")), "200 POST https://a.example / 30\nbody -1 \"abc\" x-sum=1"},
		"frames of unknown types are skipped": {join(appendFrame(nil, 0x21, []byte("zz")), headers(post()...), appendFrame(nil, 0x1f*5+0x21, make([]byte, 9000)), data("a"), appendFrame(nil, 0xfff, nil), data("b"), headers("t: u"), appendFrame(nil, 0x21, nil)), "200 POST https://a.example / 30\nbody -1 \"ab\" t=u"},
		"empty DATA":                          {join(headers(post()...), data(""), data("a"), data("")), "200 POST https://a.example / 30\nbody -1 \"a\""},
		"a path that is escaped":              {headers(":method: GET", ":scheme: https", ":path: /%41?x=y", ":authority: a.example:80"), "200 GET https://a.example:80 /%41?x=y 30"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := ts.dial(t)
			if got := response(r.request(test.send, true)); got != test.want {
				t.Errorf("got %q; want %q", got, test.want)
			}
			// Byte by byte it means the same.
			s := r.request(nil, false)
			step := 1 + len(test.send)/1000*99
			for i := 0; i < len(test.send); i += step {
				s.Write(test.send[i:min(i+step, len(test.send))])
			}
			s.Close()
			if got := response(s); got != test.want {
				t.Errorf("in pieces: got %q; want %q", got, test.want)
			}
		})
	}
	if got := ts.reasons(); got != "" {
		t.Errorf("refused: %s", got)
	}
}

func TestTrustedPeersSayWhoTheClientIs(t *testing.T) {
	ts := newTestServer(t, params(), describe)
	ts.mu.Lock()
	ts.trusted = true
	ts.mu.Unlock()
	r := ts.dial(t)
	if got := response(r.request(headers(get("x-forwarded-for: 1.2.3.4")...), true)); !strings.Contains(got, "1.2.3.4") {
		t.Errorf("got %q", got)
	}
}

// TestBodies: contents of all sizes come through as they are, both ways, with a
// client that is not ours.
func TestBodies(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		p := &x.Response
		p.Status, p.ContentLength = 200, -1
		if p.Body = x.Request.Body; p.Body != nil {
			p.ContentLength = x.Request.ContentLength
		}
		x.Client.Send(x)
	})
	client := ts.client(t)
	var wg sync.WaitGroup
	for _, size := range []int{0, 1, 1000, 16 << 10, 1 << 16, 1<<16 + 1, 4 << 20} {
		for _, known := range []bool{true, false} {
			wg.Go(func() {
				content := bytes.Repeat([]byte("0123456789abcdef!"), size/17+1)[:size]
				var body io.Reader = bytes.NewReader(content)
				if !known {
					body = io.MultiReader(body)
				}
				resp, err := client.Post("https://a.example/", "", body)
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				got, err := io.ReadAll(resp.Body)
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("%d bytes, known %v: got %d, %v", size, known, len(got), err)
				}
			})
		}
	}
	wg.Wait()
}

func TestResponses(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		p := &x.Response
		p.Status, p.Version = 200, exchange.HTTP11
		switch string(x.Request.Path) {
		case "/trailer":
			p.Body, p.ContentLength = exchange.NewBytes([]byte("abc")), -1
			p.Trailer.Add([]byte("X-Sum"), []byte("1"))
			p.Trailer.Add([]byte("Content-Length"), []byte("1"))
		case "/hop":
			for _, n := range []string{"Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "X-Kept"} {
				p.Header.Add([]byte(n), []byte("v"))
			}
		case "/early":
			h := &exchange.Header{}
			h.Add([]byte("Link"), []byte("</a>"))
			x.Client.Inform(x, 103, h)
			x.Client.Inform(x, 101, h)
			x.Client.Inform(x, 100, h)
		case "/bad":
			p.Header.Add([]byte("a b"), nil)
		case "/short":
			p.Body, p.ContentLength = exchange.NewBytes([]byte("abc")), 4
		case "/long":
			p.Body, p.ContentLength = exchange.NewBytes([]byte("abc")), 2
		case "/none":
			return
		case "/204":
			p.Status, p.Body = 204, exchange.NewBytes([]byte("abc"))
		case "/large":
			p.Header.Add([]byte("X-Large"), bytes.Repeat([]byte("x"), 20000))
			p.Body, p.ContentLength = exchange.NewBytes([]byte("abc")), 3
		case "/names":
			p.Header.Add([]byte("Set-Cookie"), []byte("a=b"))
			p.Header.Add([]byte("Content-Type"), []byte(" text/x "))
			p.Header.Add([]byte("X-Frame-Options"), []byte("deny"))
		default:
			fmt.Sscanf(string(x.Request.Path), "/status/%d", &p.Status)
		}
		x.Client.Send(x)
	})
	tests := map[string]string{
		"/trailer": "200 abcx-sum=1",
		"/hop":     "200 x-kept=v",
		"/early":   "103 link=</a> 200",
		"/bad":     "502",
		"/long":    "502",
		"/none":    "RESET 0x102",
		"/204":     "204",
		"/large":   "200 x-large=" + strings.Repeat("x", 20000) + " abc",
		"/names":   "200 set-cookie=a=b content-type=text/x x-frame-options=deny",
	}
	for _, status := range []string{"200", "204", "206", "299", "302", "304", "400", "403", "404", "418", "421", "425", "500", "503", "599"} {
		tests["/status/"+status] = status
	}
	for _, status := range []string{"199", "600", "0"} {
		tests["/status/"+status] = "502"
	}
	r := ts.dial(t)
	for path, want := range tests {
		s := r.request(headers(":method: GET", ":scheme: https", ":path: "+path, ":authority: a.example"), true)
		if got := response(s); got != want {
			t.Errorf("%s: got %q; want %q", path, got, want)
		}
	}
	// What was sent of a body that is too short may have come.
	if got := response(r.request(headers(":method: GET", ":scheme: https", ":path: /short", ":authority: a.example"), true)); !strings.HasSuffix(got, "RESET 0x102") {
		t.Errorf("/short: got %q", got)
	}
	s := r.request(headers(":method: HEAD", ":scheme: https", ":path: /short", ":authority: a.example"), true)
	if got := response(s); got != "200" {
		t.Errorf("HEAD: got %q", got)
	}
}

func TestA100IsSentOnceTheBodyIsRead(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		if string(x.Request.Path) == "/refuse" {
			codectest.Answer(x, 403, "")
			return
		}
		describe(x)
	})
	r := ts.dial(t)
	s := r.request(headers(post("expect: 100-continue")...), false)
	in := &reader{}
	in.start(s, make([]byte, 64))
	kind, size, err := in.frame()
	if err != nil || kind != frameHeaders {
		t.Fatalf("got frame %d, %v", kind, err)
	}
	p := make([]byte, size)
	if _, err := io.ReadFull(frameReader{in}, p); err != nil || sectionText(p) != "100 " {
		t.Fatalf("got %q, %v; want 100", sectionText(p), err)
	}
	s.Write(data("abc"))
	s.Close()
	if got := response(io.MultiReader(bytes.NewReader(in.buf[in.r:in.end]), s)); got != "200 POST https://a.example / 30\nbody -1 \"abc\"" {
		t.Errorf("got %q", got)
	}
	s = r.request(headers(":method: POST", ":scheme: https", ":path: /refuse", ":authority: a.example", "expect: 100-continue"), false)
	if got := response(s); got != "403" {
		t.Errorf("refused: got %q", got)
	}
	// RFC 9114, 4.1: the client need not send the rest.
	select {
	case <-s.Context().Done():
		if got := ending(context.Cause(s.Context())); got != "RESET 0x100" {
			t.Errorf("got %s", got)
		}
	case <-r.ctx.Done():
		t.Error("the client was not told to stop")
	}
}

func TestAClientThatIsNotOurs(t *testing.T) {
	ts := newTestServer(t, params(), describe)
	client := ts.client(t)
	req, err := http.NewRequest(http.MethodPut, "https://a.example/x", strings.NewReader("abc"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", "a=b")
	req.Trailer = http.Header{"X-Sum": {"1"}}
	resp, err := client.Do(req)
	got := slurp(t, resp, err)
	if !strings.Contains(got, "PUT https://a.example /x 30") || !strings.Contains(got, `"abc" X-Sum=1`) && !strings.Contains(got, `"abc" x-sum=1`) {
		t.Errorf("got %q", got)
	}
}

// TestASilentBody: a body may be silent for the idle timeout, or for as long as its
// exchange says.
func TestASilentBody(t *testing.T) {
	for name, test := range map[string]struct {
		more time.Duration
		want string
	}{"as all": {0, "request-body-timeout"}, "for longer": {time.Minute, "ab"}} {
		t.Run(name, func(t *testing.T) {
			p := params()
			p.IdleTimeout = 300 * time.Millisecond
			ts := newTestServer(t, p, func(x *exchange.Exchange) {
				x.SetBodyIdle(test.more)
				got, err := io.ReadAll(x.Request.Body)
				if known := (*exchange.Error)(nil); errors.As(err, &known) {
					got = []byte(known.Reason)
				}
				_ = codectest.Answer(x, 200, string(got))
			})
			s := ts.dial(t).request(join(headers(post()...), data("a")), false)
			go func() { // after a 408 it is of no use
				time.Sleep(900 * time.Millisecond)
				_, _ = s.Write(data("b"))
				s.Close()
			}()
			if got := response(s); !strings.Contains(got, test.want) {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}
