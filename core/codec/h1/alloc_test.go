package h1

import (
	"testing"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

const (
	browserRequest = "GET /1k?x=y HTTP/1.1\r\nHost: 127.0.0.1:28080\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n" +
		"X-Request-Id: 7f9c0e6e-5f0e-4c6e-9a44-0f8bd1f4a3aa\r\nReferer: https://example.org/a/b/c\r\nConnection: keep-alive\r\n\r\n"
	originResponse = "HTTP/1.1 200 OK\r\nServer: be\r\nContent-Type: application/octet-stream\r\n" +
		"Content-Length: 1024\r\nCache-Control: public, max-age=3600\r\nETag: \"5f3b-1024\"\r\nLast-Modified: Tue, 01 Jul 2025 10:00:00 GMT\r\nX-Backend: a\r\n\r\n"
)

var defaultLimits = limits{line: 8 << 10, bytes: 64 << 10, fields: 100}

// steps are the four things that a forward does with heads.
func steps(tb testing.TB) map[string]func() {
	x := &exchange.Exchange{Conn: &exchange.Conn{}}
	request, response := []byte(browserRequest), []byte(originResponse)
	var hd head
	c := NewServer(nil, telemetry.New(), nil).NewConn(nil, x.Conn, params())
	x.Client = c
	out := make([]byte, 0, 4096)
	all := map[string]func(){
		"decode request": func() {
			x.Reset()
			if n, err := parseRequest(request, &defaultLimits, &hd, x); n != len(request) || err != nil {
				tb.Fatal(n, err)
			}
		},
		"encode request": func() {
			b, err := appendRequest(out, x, requestForm(&x.Request))
			if err != nil || len(b) < 300 {
				tb.Fatal(err)
			}
		},
		"decode response": func() {
			x.Arena.Reset()
			if n, err := parseResponse(x.Arena.Copy(response), &defaultLimits, &hd, &x.Response); n != len(response) || err != nil {
				tb.Fatal(n, err)
			}
		},
		"encode response": func() {
			c.out.b = out
			if err := c.encode(x, formNone); err != nil || len(c.out.b) < 200 {
				tb.Fatal(err)
			}
		},
	}
	for _, name := range stepNames {
		all[name]()
	}
	return all
}

var stepNames = []string{"decode request", "encode request", "decode response", "encode response"}

func TestWarmHeadsAllocateNothing(t *testing.T) {
	all := steps(t)
	for _, name := range stepNames {
		if n := testing.AllocsPerRun(100, all[name]); n != 0 {
			t.Errorf("%s: %v allocations; want 0", name, n)
		}
	}
}

func BenchmarkHead(b *testing.B) {
	all := steps(b)
	for _, name := range stepNames {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				all[name]()
			}
		})
	}
}
