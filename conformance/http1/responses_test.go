package http1

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// response is bytes from the origin. The client must get:
//
//	"502"  a 502, because it is refused
//	"cut"  the beginning of it, and then the connection's end: it must not look whole
//	"200"  the content, whole (other numbers likewise)
//
// and after 502 and 200 what the next request on its connection is answered with.
type response struct {
	name    string
	section string // of RFC 9112, or RFC 9110 where it says so
	raw     string // <close> at its end closes the connection
	want    string
	content string
}

func responses() []response {
	ok := func(rest string) string { return "HTTP/1.1 200 OK\r\n" + rest }
	chunked := func(content string) string { return ok("Transfer-Encoding: chunked\r\n\r\n" + content) }
	list := []response{
		{"a length", "6.3", ok("Content-Length: 5\r\n\r\nhello"), "200", "hello"},
		{"chunked", "7.1", chunked("5\r\nhello\r\n0\r\n\r\n"), "200", "hello"},
		{"until the end", "6.3", ok("\r\nhello<close>"), "200", "hello"},
		{"HTTP/1.0", "2.3", "HTTP/1.0 200 OK\r\n\r\nhello<close>", "200", "hello"},
		{"no reason", "4", "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", "200", "hello"},
		{"no reason and no space", "4", "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", "200", "hello"},
		{"204", "6.3", "HTTP/1.1 204 No Content\r\n\r\n", "204", ""},
		{"304", "6.3", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "304", ""},
		{"204 with content", "6.3", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", "204", ""},
		{"204 that is chunked", "6.1", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "204", ""},
		{"304 with content", "6.3", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", "304", ""},
		{"100 before", "9110 15.2.1", "HTTP/1.1 100 Continue\r\n\r\n" + harness.Fine, "200", "ok"},
		{"103 before", "8297 2", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + harness.Fine, "200", "ok"},
		{"many before", "9110 15.2", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 200) + harness.Fine, "502", ""},
		{"101 that was not asked for", "9110 7.8", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "502", ""},
		{"an extension", "7.1.1", chunked("5;a=b\r\nhello\r\n0\r\n\r\n"), "200", "hello"},
		{"trailer fields", "7.1.2", chunked("5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), "200", "hello"},
		{"a second response behind it", "9.2", ok("Content-Length: 5\r\n\r\nhello") + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", "200", "hello"},
		{"bytes behind it", "6.3", ok("Content-Length: 5\r\n\r\nhellopoison"), "200", "hello"},
		{"bytes behind the chunks", "7.1", chunked("5\r\nhello\r\n0\r\n\r\npoison"), "200", "hello"},
		{"a length and chunked", "6.3", ok("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "502", ""},
		{"two lengths", "6.3", ok("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), "502", ""},
		{"the same length twice", "6.3", ok("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), "502", ""},
		{"another coding", "6.1", ok("Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "502", ""},
		{"chunked twice", "6.1", ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "502", ""},
		{"chunked in HTTP/1.0", "6.1", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "502", ""},
		{"a short body", "8", ok("Content-Length: 9\r\n\r\nhello<close>"), "cut", "hello"},
		{"no last chunk", "8", chunked("5\r\nhello\r\n<close>"), "cut", "hello"},
		{"a cut chunk", "8", chunked("9\r\nhello<close>"), "cut", "hello"},
		{"a cut trailer", "8", chunked("5\r\nhello\r\n0\r\nX-Sum: 1<close>"), "cut", "hello"},
		{"a cut head", "8", "HTTP/1.1 200 OK\r\nContent-Le<close>", "502", ""},
		{"nothing", "8", "<close>", "502", ""},
		{"HTTP/0.9", "2.3", "hello<close>", "502", ""},
		{"a large head", "5", ok("X-A: " + strings.Repeat("b", 70_000) + "\r\n\r\n"), "502", ""},
		{"many fields", "5", ok(strings.Repeat("X-A: b\r\n", 200) + "\r\n"), "502", ""},
	}
	for _, status := range []string{"HTTP/1.1 99 X", "HTTP/1.1 600 X", "HTTP/1.1 2000 X", "HTTP/1.1 20 X", "HTTP/1.1 abc X", "HTTP/1.1 000 X", "HTTP/2.0 200 X", "HTTP/1.2 200 X", "http/1.1 200 X", "HTTP/1.1  200 X", "HTTP/1.1\t200 X",
		" HTTP/1.1 200 X", "HTTP/1.1200 X", "HTTP/1.1 200 X\x00", "HTTP/1.1 200 X\rY", "ICY 200 OK", "HTTP/1.1 -20 X", "HTTP/1.1 2 0 X"} {
		list = append(list, response{fmt.Sprintf("%q", status), "4", status + "\r\nContent-Length: 2\r\n\r\nok", "502", ""})
	}
	for _, field := range []string{"Content-Length: -2", "Content-Length: +2", "Content-Length: 2,2", "Content-Length: 2, 2", "Content-Length: ", "Content-Length: 0x2", "Content-Length: 99999999999999999999", "Content-Length : 2", "Transfer-Encoding : chunked", "Transfer-Encoding: xchunked",
		"Transfer-Encoding: ", "X-A", ": b", "X A: b", "X-A: b\x00c", "X-A: b\rc", "X-A: b\nX-C: d", "X-A: b\r\n c", "X-A: b\r\n\tc", "X\x01A: b", "X-A: b\x7f", "(X): b"} {
		list = append(list, response{fmt.Sprintf("%q", field), "5", ok(field + "\r\n\r\nok<close>"), "502", ""})
	}
	for _, content := range []string{"5\nhello\r\n0\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", " 5\r\nhello\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n", "\r\nhello\r\n0\r\n\r\n", "g\r\nhello\r\n0\r\n\r\n",
		"10000000000000005\r\nhello\r\n0\r\n\r\n", "5;a\nb\r\nhello\r\n0\r\n\r\n"} {
		list = append(list, response{fmt.Sprintf("chunk %q", content), "7.1", chunked(content), "cut", ""})
	}
	for _, content := range []string{"5\r\nhello\n0\r\n\r\n", "4\r\nhello\r\n0\r\n\r\n", "6\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\n\r\n", "5\r\nhello\r\n0\r\nX\r\n\r\n", "5\r\nhello\r\n0\r\nX : y\r\n\r\n"} {
		list = append(list, response{fmt.Sprintf("chunk %q", content), "7.1", chunked(content), "cut", ""})
	}
	return list
}

// TestResponses: a bad answer never reaches the client as a whole one, and never
// shifts the next one.
func TestResponses(t *testing.T) {
	b := start(t)
	list := responses()
	for _, r := range list {
		t.Run(r.name, func(t *testing.T) { b.respond(t, r) })
	}
	t.Logf("%d responses", len(list))
}

func (b *bed) respond(t *testing.T, r response) {
	b.origin.Reset(func(path string) string {
		if path == "/x" {
			return r.raw
		}
		return harness.Fine
	})
	next := strings.Replace(head(), "/x", "/next", 1)
	a := b.send(t, head()+next)
	in := bufio.NewReader(strings.NewReader(a.raw))
	first, content, err := read(in)
	switch {
	case r.want == "cut":
		// The response was refused before it left, or began and was cut.
		if err == nil && first.StatusCode != http.StatusBadGateway {
			t.Fatalf("the client got a whole response: %q", a.raw)
		}
		if err != nil && !a.closed {
			t.Errorf("got %q, and the connection is open", a.raw)
		}
		if strings.Contains(a.raw, "poison") {
			t.Errorf("got %q", a.raw)
		}
		if err != nil {
			return
		}
	case err != nil:
		t.Fatalf("got %q, %v; want %s", a.raw, err, r.want)
	case fmt.Sprint(first.StatusCode) != r.want || r.want == "200" && content != r.content:
		t.Fatalf("got %d, %q; want %s, %q", first.StatusCode, content, r.want, r.content)
	}
	second, content, err := read(in)
	if err != nil || second.StatusCode != http.StatusOK || content != "ok" {
		t.Errorf("the next response: %v, %q, %v; want 200 and ok, of %q", second, content, err, a.raw)
	}
	if rest, _ := io.ReadAll(in); len(rest) > 0 {
		t.Errorf("%q follows", rest)
	}
}

// read reads a final response.
func read(in *bufio.Reader) (*http.Response, string, error) {
	for {
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			return nil, "", err
		}
		content, err := io.ReadAll(r.Body)
		if err != nil {
			return r, string(content), err
		}
		if r.StatusCode >= 200 {
			return r, string(content), nil
		}
	}
}
