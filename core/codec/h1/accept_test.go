package h1

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
)

func TestGoodRequestsAreUnderstood(t *testing.T) {
	const end = "Connection: close\r\n\r\n"
	tests := map[string]struct {
		raw     string
		trusted bool
		want    string
	}{
		"a plain request":                         {raw: "GET /a?b=c HTTP/1.1\r\nHost: a.example:80\r\n" + end, want: "GET http://a.example:80 /a?b=c 11\n"},
		"an empty line before it":                 {raw: "\r\nGET / HTTP/1.1\r\nHost: a\r\n" + end, want: "GET http://a / 11\n"},
		"an absolute target wins over Host":       {raw: "GET http://b/x HTTP/1.1\r\nHost: a\r\n" + end, want: "GET http://b /x 11\n"},
		"an absolute target without a path":       {raw: "GET HTTP://b?q HTTP/1.1\r\nHost: a\r\n" + end, want: "GET http://b /?q 11\n"},
		"an absolute target of OPTIONS":           {raw: "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n" + end, want: "OPTIONS http://b * 11\n"},
		"asterisk with OPTIONS":                   {raw: "OPTIONS * HTTP/1.1\r\nHost: a\r\n" + end, want: "OPTIONS http://a * 11\n"},
		"an IPv6 Host":                            {raw: "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n" + end, want: "GET http://[::1]:8080 / 11\n"},
		"HTTP/1.0 without Host":                   {raw: "GET / HTTP/1.0\r\n\r\n", want: "GET http:// / 10\n"},
		"a method of its own":                     {raw: "M-SEARCH / HTTP/1.1\r\nHost: a\r\n" + end, want: "M-SEARCH http://a / 11\n"},
		"white space around a value goes":         {raw: "GET / HTTP/1.1\r\nHost: a\r\nX:\t a b \t\r\nY:\r\n" + end, want: "GET http://a / 11\nX: a b\nY: \n"},
		"order and case of names stay":            {raw: "GET / HTTP/1.1\r\nb: 1\r\nHost: a\r\nA: 2\r\nB: 3\r\n" + end, want: "GET http://a / 11\nb: 1\nA: 2\nB: 3\n"},
		"obs-text stays":                          {raw: "GET / HTTP/1.1\r\nHost: a\r\nX: \xff\x80\r\n" + end, want: "GET http://a / 11\nX: \xff\x80\n"},
		"hop-by-hop fields go":                    {raw: "GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nTE: gzip, trailers\r\nConnection: Upgrade, HTTP2-Settings, TE\r\nHTTP2-Settings: x\r\nX: 1\r\n" + end, want: "GET http://a / 11\nX: 1\nTE\n"},
		"what Connection names goes":              {raw: "GET / HTTP/1.1\r\nHost: a\r\nFoo: 1\r\nBar: 2\r\nConnection: foo\r\nFOO: 3\r\n" + end, want: "GET http://a / 11\nBar: 2\n"},
		"Connection cannot take a length away":    {raw: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: content-length, host, authorization\r\nAuthorization: x\r\n" + end + "hi", want: "POST http://a / 11\nContent-Length: 2\nAuthorization: x\nbody 2 \"hi\"\n"},
		"identity fields of strangers go":         {raw: "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1\r\nx_forwarded_proto: 1\r\nForwarded: 1\r\nX-Real-IP: 1\r\nX_Real-IP: 1\r\nX-Envoy-Internal: 1\r\nX-Forwarded-Client-Cert: 1\r\nClient-Cert: 1\r\nclient_cert_chain: 1\r\nX-Consumer-Name: 1\r\nX-Forward: 1\r\nX-Realm: 1\r\n" + end, want: "GET http://a / 11\nX-Forward: 1\nX-Realm: 1\n"},
		"identity fields of trusted proxies stay": {raw: "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1\r\n" + end, trusted: true, want: "GET http://a / 11\nX-Forwarded-For: 1\n"},
		"Connection cannot take identity away":    {raw: "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1\r\nConnection: x-forwarded-for\r\n" + end, trusted: true, want: "GET http://a / 11\nX-Forwarded-For: 1\n"},
		"a body by length":                        {raw: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n" + end + "hello", want: "POST http://a / 11\nContent-Length: 5\nbody 5 \"hello\"\n"},
		"an empty body":                           {raw: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n" + end, want: "POST http://a / 11\nContent-Length: 0\n"},
		"a body in chunks":                        {raw: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n" + end + "5\r\nhello\r\n00A;x=\"y\"\r\n, world!!!\r\n0\r\n\r\n", want: "POST http://a / 11\nbody -1 \"hello, world!!!\"\n"},
		"trailers":                                {raw: "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n" + end + "1\r\na\r\n0\r\nX-Sum: 1\r\nContent-Length: 5\r\nHost: b\r\nAuthorization: x\r\nX-Forwarded-For: y\r\n\r\n", want: "POST http://a / 11\nTrailer: X-Sum\nbody -1 \"a\" X-Sum=1\n"},
		"a chunk size that is not a number":       {raw: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + end + "5\r\nhello\r\n0x1\r\na\r\n0\r\n\r\n", want: "POST http://a / 11\nbody -1 \"hello\" error request-body: client: chunk: refused: chunk\n"},
		"a chunk that is longer than said":        {raw: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + end + "5\r\nhello!\r\n0\r\n\r\n", want: "POST http://a / 11\nbody -1 \"hello\" error request-body: client: chunk: refused: chunk\n"},
		"a chunk size with a space":               {raw: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + end + "5 \r\nhello\r\n0\r\n\r\n", want: "POST http://a / 11\nbody -1 \"\" error request-body: client: chunk: refused: chunk\n"},
		"a chunk size with a bare LF":             {raw: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + end + "5\nhello\r\n0\r\n\r\n", want: "POST http://a / 11\nbody -1 \"\" error request-body: client: chunk: refused: chunk\n"},
		"a chunk extension with a bare LF":        {raw: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + end + "5;a\nhello\r\n0\r\n\r\n", want: "POST http://a / 11\nbody -1 \"\" error request-body: client: chunk: refused: chunk\n"},
		"a chunk extension that is too long":      {raw: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + end + "5;" + strings.Repeat("a", 300) + "\r\nhello\r\n0\r\n\r\n", want: "POST http://a / 11\nbody -1 \"\" error request-body: client: chunk: refused: chunk\n"},
		"a chunk size that is too large":          {raw: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + end + "8000000000000000\r\nhello", want: "POST http://a / 11\nbody -1 \"\" error request-body: client: chunk: refused: chunk\n"},
		"a bad trailer":                           {raw: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + end + "0\r\nX : y\r\n\r\n", want: "POST http://a / 11\nbody -1 \"\" error request-body: client: trailer: refused: trailer\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ts := newTestServer(t, params(), describe)
			ts.trusted.Store(test.trusted)
			if got := contentOf(t, ts.roundTrip(t, test.raw)); got != test.want {
				t.Errorf("got %q; want %q; refused %s", got, test.want, &ts.rejected)
			}
			// Byte by byte it must mean the same.
			nc := ts.dial(t)
			go func() {
				for i := range len(test.raw) {
					if _, err := nc.Write([]byte(test.raw[i : i+1])); err != nil {
						return
					}
				}
			}()
			b, _ := io.ReadAll(nc)
			if got := contentOf(t, string(b)); got != test.want {
				t.Errorf("byte by byte got %q; want %q", got, test.want)
			}
		})
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		if string(x.Request.Path) == "/unread" {
			codectest.Answer(x, 200, "unread ")
			return
		}
		describe(x)
	})
	got := ts.roundTrip(t, "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"+
		"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n"+
		"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\nGET /smuggled HTTP/1"+
		"GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"+
		"GET /4 HTTP/1.1\r\nHost: a\r\n\r\n")
	for _, want := range []string{"/1 11", `body 3 "abc"`, "/2 11", `body -1 "def"`, "unread ", "/3 11"} {
		_, rest, ok := strings.Cut(got, want)
		if !ok {
			t.Fatalf("%q not found, or out of order, in %q", want, got)
		}
		got = rest
	}
	if strings.Contains(got, "/4") || strings.Contains(got, "smuggled") {
		t.Errorf("answered what is no request: %q", got)
	}
}

func TestManyPipelinedRequestsCrossTheBuffersEdge(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) { codectest.Answer(x, 200, string(x.Request.Path)) })
	var raw, want strings.Builder
	for i := range 200 {
		path := "/" + strings.Repeat(string(rune('a'+i%26)), 1+i*37%900)
		raw.WriteString("GET " + path + " HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", i*91%2000) + "\r\n\r\n")
		want.WriteString(path)
	}
	raw.WriteString("GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	want.WriteString("/end")
	got := ts.roundTrip(t, raw.String())
	var bodies strings.Builder
	for _, part := range strings.Split(got, "HTTP/1.1 200 OK\r\n")[1:] {
		bodies.WriteString(contentOf(t, part))
	}
	if bodies.String() != want.String() {
		t.Errorf("answers differ: %d bytes; want %d", bodies.Len(), want.Len())
	}
}

func TestHalfAHeadIsAnswered408(t *testing.T) {
	p := params()
	p.HeaderTimeout = 50 * time.Millisecond
	ts := newTestServer(t, p, describe)
	got := ts.roundTrip(t, "GET / HTTP/1.1\r\nHost: a\r\nX:")
	if !strings.HasPrefix(got, "HTTP/1.1 408 ") || ts.rejected.String() != "408 header-timeout" {
		t.Errorf("got %q, refused %s", got, &ts.rejected)
	}
}

func TestAHeadThatDripsIsAnswered408(t *testing.T) {
	p := params()
	p.HeaderTimeout = 100 * time.Millisecond
	ts := newTestServer(t, p, describe)
	nc := ts.dial(t)
	go func() {
		io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\nX: ")
		for {
			if _, err := io.WriteString(nc, "a"); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond) // a slow client is what is tested
		}
	}()
	if b, _ := io.ReadAll(nc); !strings.HasPrefix(string(b), "HTTP/1.1 408 ") {
		t.Errorf("got %q", b)
	}
}

func TestAnIdleConnectionIsClosedSilently(t *testing.T) {
	p := params()
	p.IdleTimeout = 50 * time.Millisecond
	ts := newTestServer(t, p, describe)
	if got := ts.roundTrip(t, ""); got != "" {
		t.Errorf("got %q; want nothing", got)
	}
}

func TestASlowBodyTimesOut(t *testing.T) {
	p := params()
	p.IdleTimeout = 50 * time.Millisecond
	ts := newTestServer(t, p, describe)
	got := contentOf(t, ts.roundTrip(t, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe"))
	if !strings.Contains(got, `"he" error request-body: client: request-body-timeout`) {
		t.Errorf("got %q", got)
	}
}

func TestABodyCutShortIsAnError(t *testing.T) {
	ts := newTestServer(t, params(), describe)
	nc := ts.dial(t)
	io.WriteString(nc, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n")
	nc.CloseWrite()
	b, _ := io.ReadAll(nc)
	if got := contentOf(t, string(b)); !strings.Contains(got, `"hello" error request-body: client: request-body-cut`) {
		t.Errorf("got %q", got)
	}
}

func TestContinueIsSentWhenTheBodyIsRead(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n"
	t.Run("the client waits for it", func(t *testing.T) {
		ts := newTestServer(t, params(), describe)
		nc := ts.dial(t)
		io.WriteString(nc, head)
		until(t, nc, "HTTP/1.1 100 Continue\r\n\r\n")
		io.WriteString(nc, "hello")
		until(t, nc, `body 5 "hello"`)
	})
	t.Run("the body came at once", func(t *testing.T) {
		ts := newTestServer(t, params(), describe)
		nc := ts.dial(t)
		io.WriteString(nc, head+"hello")
		if got := until(t, nc, `body 5 "hello"`); strings.Contains(got, " 100 ") {
			t.Errorf("got %q; want no 100", got)
		}
	})
	t.Run("the body is not wanted", func(t *testing.T) {
		ts := newTestServer(t, params(), func(x *exchange.Exchange) { codectest.Answer(x, 403, "no") })
		got := ts.roundTrip(t, head)
		if strings.Contains(got, " 100 ") || !strings.Contains(got, "Connection: close\r\n") {
			t.Errorf("got %q; want 403 and close alone", got)
		}
	})
	t.Run("HTTP/1.0 has none", func(t *testing.T) {
		ts := newTestServer(t, params(), describe)
		nc := ts.dial(t)
		io.WriteString(nc, strings.Replace(head, "1.1", "1.0", 1))
		go io.WriteString(nc, "hello")
		if got := until(t, nc, `body 5 "hello"`); strings.Contains(got, " 100 ") {
			t.Errorf("got %q; want no 100", got)
		}
	})
}

func TestAnAnswerReachesAClientThatStillSends(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) { codectest.Answer(x, 413, "too large") })
	nc := ts.dial(t)
	wrote := make(chan error, 1)
	go func() {
		io.WriteString(nc, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
		_, err := nc.Write(make([]byte, 200<<10))
		wrote <- err
	}()
	b, err := io.ReadAll(nc)
	if err != nil || !strings.Contains(string(b), "too large") || !strings.Contains(string(b), "Connection: close") {
		t.Errorf("got %q, %v", b, err)
	}
	<-wrote
}

func TestWatchSeesTheClientGo(t *testing.T) {
	for _, how := range []string{"close", "half close", "close with an unread body", "abort with an unread body"} {
		t.Run(how, func(t *testing.T) {
			seen := make(chan struct{})
			started := make(chan struct{})
			ts := newTestServer(t, params(), func(x *exchange.Exchange) {
				stop := x.Client.Watch(func() { close(seen) })
				close(started)
				<-seen
				stop()
			})
			nc := ts.dial(t)
			if strings.HasSuffix(how, "body") {
				io.WriteString(nc, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
			} else {
				io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			}
			<-started
			switch {
			case strings.HasPrefix(how, "close"):
				nc.Close()
			case strings.HasPrefix(how, "half"):
				nc.CloseWrite()
			default:
				ts.mu.Lock()
				ts.conns[0].Abort()
				ts.mu.Unlock()
			}
			select {
			case <-seen:
			case <-time.After(5 * time.Second):
				t.Error("not noticed")
			}
		})
	}
}

func TestWatchKeepsPipelinedBytes(t *testing.T) {
	watching, sent := make(chan struct{}), make(chan struct{})
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		if string(x.Request.Path) == "/1" {
			stop := x.Client.Watch(func() { t.Error("gone") })
			close(watching)
			<-sent
			stop()
			stop()
		}
		codectest.Answer(x, 200, string(x.Request.Path))
	})
	nc := ts.dial(t)
	io.WriteString(nc, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HT")
	<-watching
	io.WriteString(nc, "TP/1.1\r\nHost: a\r\n\r\n")
	close(sent)
	until(t, nc, "/1")
	io.WriteString(nc, "GET /3 HTTP/1.1\r\nHost: a\r\n\r\n")
	until(t, nc, "/3")
}

func TestDrain(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		if string(x.Request.Path) == "/slow" {
			close(entered)
			<-leave
		}
		codectest.Answer(x, 200, "done")
	})
	idle, busy, unused := ts.dial(t), ts.dial(t), ts.dial(t)
	io.WriteString(idle, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	until(t, idle, "done")
	io.WriteString(busy, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	<-entered
	for n := 0; n < 3; { // accepted
		ts.mu.Lock()
		n = len(ts.conns)
		ts.mu.Unlock()
	}
	ts.mu.Lock()
	for _, c := range ts.conns {
		c.Drain()
	}
	ts.mu.Unlock()
	for _, nc := range []net.Conn{idle, unused} {
		if b, err := io.ReadAll(nc); err != nil || len(b) > 0 {
			t.Errorf("idle connection: %q, %v; want the end", b, err)
		}
	}
	close(leave)
	b, err := io.ReadAll(busy)
	if err != nil || !strings.Contains(string(b), "Connection: close\r\n") || !strings.HasSuffix(string(b), "done") {
		t.Errorf("busy connection: %q, %v", b, err)
	}
}

func TestAClientThatSendsOnGetsTheAnswer(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) { codectest.Answer(x, 413, "too much") })
	nc := ts.dial(t)
	const size = 32 << 20
	fmt.Fprintf(nc, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)
	part := make([]byte, 1<<20)
	for range size / len(part) {
		if _, err := nc.Write(part); err != nil {
			t.Fatalf("cut off while it sent: %v", err)
		}
	}
	until(t, nc, "too much")
}

func TestAHeadStaysOneWhateverAFilterMakesOfIt(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		if string(x.Request.Path) == "/1" {
			x.Request.Method = []byte("GET")
		}
		codectest.Answer(x, 200, "content of "+string(x.Request.Path[1:]))
	})
	nc := ts.dial(t)
	io.WriteString(nc, "HEAD /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
	if got := until(t, nc, "content of 2"); strings.Contains(got, "content of 1") {
		t.Errorf("got %q; want no content after HEAD", got)
	}
}
