package h1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
)

// parts is a body that gives its parts one by one, as a network would.
type parts struct {
	list   []string
	err    error // after the last part; nil: io.EOF
	closed bool
}

func (p *parts) Read(b []byte) (int, error) {
	if len(p.list) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		return 0, io.EOF
	}
	n := copy(b, p.list[0])
	if p.list[0] = p.list[0][n:]; p.list[0] == "" {
		p.list = p.list[1:]
	}
	return n, nil
}
func (p *parts) Buffered() int { return 0 }
func (p *parts) Close()        { p.closed = true }

func TestResponsesAreFramed(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 40<<10/16)
	tests := map[string]struct {
		request string // without the last line
		fill    func(p *exchange.Response)
		want    string // whole, without Date
	}{
		"a length": {
			request: "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n",
			fill:    func(p *exchange.Response) { p.Body, p.ContentLength = &parts{list: []string{"he", "llo"}}, 5 },
			want:    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
		},
		"no body": {
			request: "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n",
			fill:    func(p *exchange.Response) {},
			want:    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		},
		"chunks": {
			request: "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n",
			fill: func(p *exchange.Response) {
				p.Body, p.ContentLength = &parts{list: []string{"he", strings.Repeat("l", 300), "o"}}, -1
			},
			want: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhe\r\n12c\r\n" + strings.Repeat("l", 300) + "\r\n1\r\no\r\n0\r\n\r\n",
		},
		"chunks of a body in memory, with trailers": {
			request: "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n",
			fill: func(p *exchange.Response) {
				p.Header.Add([]byte("Trailer"), []byte("X-Sum"))
				p.Body, p.ContentLength = exchange.NewBytes([]byte("hello, world, hello")), -1
				p.Trailer.Add([]byte("X-Sum"), []byte("1"))
				p.Trailer.Add([]byte("Content-Length"), []byte("1"))
				p.Trailer.Add([]byte("X-Bad"), []byte("a\r\nb"))
			},
			want: "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n13\r\nhello, world, hello\r\n0\r\nX-Sum: 1\r\n\r\n",
		},
		"an unknown length for HTTP/1.0": {
			request: "GET / HTTP/1.0\r\nConnection: keep-alive\r\n",
			fill:    func(p *exchange.Response) { p.Body, p.ContentLength = &parts{list: []string{"he", "llo"}}, -1 },
			want:    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
		},
		"a large body of unknown length for HTTP/1.0": {
			request: "GET / HTTP/1.0\r\n",
			fill:    func(p *exchange.Response) { p.Body, p.ContentLength = &parts{list: []string{big, big}}, -1 },
			want:    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + big + big,
		},
		"a large body by length": {
			request: "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n",
			fill: func(p *exchange.Response) {
				p.Body, p.ContentLength = exchange.NewBytes([]byte(big)), int64(len(big))
			},
			want: "HTTP/1.1 200 OK\r\nContent-Length: 40960\r\nConnection: close\r\n\r\n" + big,
		},
		"HEAD": {
			request: "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n",
			fill:    func(p *exchange.Response) { p.ContentLength = 1234 },
			want:    "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nConnection: close\r\n\r\n",
		},
		"HEAD of unknown length, with a body that is not sent": {
			request: "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n",
			fill:    func(p *exchange.Response) { p.Body, p.ContentLength = &parts{list: []string{"x"}}, -1 },
			want:    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
		},
		"204": {
			request: "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n",
			fill:    func(p *exchange.Response) { p.Status, p.Body = 204, &parts{list: []string{"x"}} },
			want:    "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
		},
		"304": {
			request: "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n",
			fill:    func(p *exchange.Response) { p.Status, p.ContentLength = 304, 7 },
			want:    "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nConnection: close\r\n\r\n",
		},
		"a status without a name": {
			request: "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n",
			fill:    func(p *exchange.Response) { p.Status = 299 },
			want:    "HTTP/1.1 299 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		},
		"fields that frame are the codec's": {
			request: "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n",
			fill: func(p *exchange.Response) {
				for _, name := range []string{"Connection", "content-length", "Transfer-Encoding", "Upgrade", "Keep-Alive", "X-A"} {
					p.Header.Add([]byte(name), []byte("1"))
				}
			},
			want: "HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		},
		"Server and Date stay": {
			request: "GET / HTTP/1.0\r\n",
			fill: func(p *exchange.Response) {
				p.Header.Add([]byte("date"), []byte("yesterday"))
				p.Header.Add([]byte("Server"), []byte("x"))
			},
			want: "HTTP/1.1 200 OK\r\ndate: yesterday\r\nServer: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ts := newTestServer(t, params(), func(x *exchange.Exchange) {
				x.Response.Status = 200
				test.fill(&x.Response)
				body, _ := x.Response.Body.(*parts)
				if err := x.Client.Send(x); err != nil {
					t.Errorf("Send: %v", err)
				}
				if body != nil && !body.closed {
					t.Error("the body was not closed")
				}
			})
			got := withoutDate(t, ts.roundTrip(t, test.request+"\r\n"))
			if got != test.want {
				t.Errorf("got %q\nwant %q", got, test.want)
			}
		})
	}
}

// withoutDate removes the Date field that the codec made.
func withoutDate(t *testing.T, raw string) string {
	t.Helper()
	i := strings.Index(raw, "Date: ")
	if i < 0 {
		return raw
	}
	line, rest, _ := strings.Cut(raw[i:], "\r\n")
	if _, err := time.Parse(http.TimeFormat, strings.TrimPrefix(line, "Date: ")); err != nil {
		t.Errorf("%v", err)
	}
	return raw[:i] + rest
}

func TestKeepAlive(t *testing.T) {
	tests := map[string]struct {
		request string
		keep    bool
		field   string
	}{
		"HTTP/1.1 goes on":                 {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true, ""},
		"HTTP/1.1 with close ends":         {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", false, "Connection: close\r\n"},
		"HTTP/1.0 ends":                    {"GET / HTTP/1.0\r\n\r\n", false, "Connection: close\r\n"},
		"HTTP/1.0 with keep-alive goes on": {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true, "Connection: keep-alive\r\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ts := newTestServer(t, params(), describe)
			nc := ts.dial(t)
			for range 2 {
				io.WriteString(nc, test.request)
				if got := until(t, nc, "http://"); !strings.Contains(got, test.field) || strings.Contains(got, "Connection: ") != (test.field != "") {
					t.Errorf("got %q", got)
				}
				if !test.keep {
					if b, err := io.ReadAll(nc); err != nil || strings.Contains(string(b), "HTTP/") {
						t.Errorf("then %q, %v; want the end", b, err)
					}
					return
				}
			}
		})
	}
}

func TestABrokenResponseNeverLooksWhole(t *testing.T) {
	cause := errors.New("upstream died")
	tests := map[string]struct {
		version string
		length  int64
		body    parts
		started bool
	}{
		"cut short, by length":        {"1.1", 10, parts{list: []string{"hello"}, err: cause}, true},
		"ended early, by length":      {"1.1", 10, parts{list: []string{"hello"}}, true},
		"too long":                    {"1.1", 3, parts{list: []string{"hello"}}, true},
		"an error after the last one": {"1.1", 5, parts{list: []string{"hello"}, err: cause}, true},
		"cut short, in chunks":        {"1.1", -1, parts{list: []string{"hello"}, err: cause}, true},
		"cut short, HTTP/1.0":         {"1.0", -1, parts{list: []string{"hello"}, err: cause}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			result := make(chan error, 1)
			ts := newTestServer(t, params(), func(x *exchange.Exchange) {
				x.Response.Status = 200
				x.Response.Body, x.Response.ContentLength = &test.body, test.length
				result <- x.Client.Send(x)
			})
			nc := ts.dial(t)
			io.WriteString(nc, "GET / HTTP/"+test.version+"\r\nHost: a\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
			if err == nil && resp.StatusCode == 200 {
				var b []byte
				if b, err = io.ReadAll(resp.Body); err == nil {
					t.Errorf("the client got %q as a whole", b)
				}
			}
			var e *exchange.Error
			if err := <-result; !errors.As(err, &e) || e.Side != exchange.SideUpstream {
				t.Errorf("Send: %v", err)
			}
		})
	}
}

func TestABodyThatFailsAtOnceIsAnswered502(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		x.Response.Status = 200
		x.Response.Body, x.Response.ContentLength = &failing{}, 5
		if err := x.Client.Send(x); err == nil || x.Response.Status != 502 {
			t.Errorf("Send: %v, status %d", err, x.Response.Status)
		}
	})
	if got := ts.roundTrip(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 502 ") || strings.Count(got, "HTTP/") != 1 {
		t.Errorf("got %q", got)
	}
}

// failing says that it has something, and fails.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("no") }
func (failing) Buffered() int            { return 5 }
func (failing) Close()                   {}

func TestAFieldThatWouldSplitTheResponseIsNeverSent(t *testing.T) {
	for _, f := range [][2]string{{"X\r\nY", "a"}, {"X", "a\r\nSet-Cookie: b"}, {"X", "a\nb"}, {"X", "a\x00"}, {"", "a"}, {"X Y", "a"}, {"X:", "a"}} {
		ts := newTestServer(t, params(), func(x *exchange.Exchange) {
			x.Response.Header.Add([]byte(f[0]), []byte(f[1]))
			if err := codectest.Answer(x, 200, "hello"); !errors.Is(err, ErrInvalidMessage) {
				t.Errorf("%q: Send: %v", f, err)
			}
		})
		if got := ts.roundTrip(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 502 ") || strings.Contains(got, "hello") || strings.Contains(got, "Cookie") {
			t.Errorf("%q: got %q", f, got)
		}
	}
}

func TestInterimResponses(t *testing.T) {
	for version, want := range map[string]string{"1.0": "", "1.1": "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"} {
		ts := newTestServer(t, params(), func(x *exchange.Exchange) {
			var h exchange.Header
			h.Add([]byte("Link"), []byte("x"))
			h.Add([]byte("Content-Length"), []byte("5"))
			x.Client.Inform(x, 103, &h)
			x.Client.Inform(x, 100, &h)
			x.Client.Inform(x, 101, &h)
			codectest.Answer(x, 200, "")
		})
		got := ts.roundTrip(t, "GET / HTTP/"+version+"\r\nHost: a\r\nConnection: close\r\n\r\n")
		if before, _, _ := strings.Cut(got, "HTTP/1.1 200"); before != want {
			t.Errorf("HTTP/%s: got %q; want %q", version, before, want)
		}
	}
}

func TestAClientThatDoesNotReadTimesOut(t *testing.T) {
	p := params()
	p.IdleTimeout = 100 * time.Millisecond
	result := make(chan error, 1)
	ts := newTestServer(t, p, func(x *exchange.Exchange) {
		result <- codectest.Answer(x, 200, strings.Repeat("x", 64<<20))
	})
	nc := ts.dial(t)
	io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	var e *exchange.Error
	if err := <-result; !errors.As(err, &e) || e.Reason != "client-timeout" || e.Side != exchange.SideClient {
		t.Errorf("Send: %v", err)
	}
}

func TestAResponseWhileTheRequestIsStillSent(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) {
		pr, pw := io.Pipe()
		done := make(chan struct{})
		b := make([]byte, 100)
		n, err := x.Request.Body.Read(b)
		go func() {
			defer close(done)
			for ; ; n, err = x.Request.Body.Read(b) {
				pw.Write(bytes.ToUpper(b[:n]))
				if err != nil {
					pw.CloseWithError(err)
					return
				}
			}
		}()
		x.Response.Status = 200
		x.Response.Body, x.Response.ContentLength = piped{pr}, -1
		if err := x.Client.Send(x); err != nil {
			t.Errorf("Send: %v", err)
		}
		<-done
	})
	nc := ts.dial(t)
	io.WriteString(nc, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
	until(t, nc, "100 Continue")
	for _, word := range []string{"one", "two", "six"} {
		io.WriteString(nc, "3\r\n"+word+"\r\n")
		until(t, nc, strings.ToUpper(word)+"\r\n")
	}
	io.WriteString(nc, "0\r\n\r\nGET / HTTP/1.1\r\n")
	until(t, nc, "0\r\n\r\n")
}

type piped struct{ *io.PipeReader }

func (p piped) Buffered() int { return 0 }
func (p piped) Close()        { p.PipeReader.Close() }
