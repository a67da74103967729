package http2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"penstock.dev/penstock/conformance/harness"
)

// asked is a request over HTTP/2, field by field, and what becomes of it before an
// upstream of HTTP/1.1. What is refused reaches no origin.
type asked struct {
	name    string
	section string // of RFC 9113, or RFC 9110 where it says so
	level   string // MUST, SHOULD, MAY (we are stricter), or "-" for what is common practice
	fields  []string
	content string   // "": END_STREAM is on the head
	trailer []string // nil: none
	want    string   // "200", another status, "reset" (PROTOCOL_ERROR), "gone" (the connection)
	has     string   // what the origin has to get, lines separated by |; ! before one: has not; "-": it may have begun, and ends
}

// get is a request with these fields besides the usual; "-:path" leaves one out,
// ":path: /y" has another value.
func get(more ...string) []string {
	list := []string{":method: GET", ":scheme: http", ":authority: a.example", ":path: /x"}
	for _, m := range more {
		name, isOut := strings.CutPrefix(m, "-")
		key, replaces := name, false
		if i := strings.Index(name[1:], ":"); i >= 0 && name[0] == ':' {
			key = name[:i+1]
			replaces = true
		}
		if !isOut && !replaces {
			list = append(list, m)
			continue
		}
		for i, f := range list {
			if strings.HasPrefix(f, key+":") {
				if isOut {
					list = append(list[:i], list[i+1:]...)
				} else {
					list[i] = m
				}
				break
			}
		}
	}
	return list
}

// add is get with the fields just put behind.
func add(more ...string) []string { return append(get(), more...) }

func send(more ...string) []string { return get(append([]string{":method: POST"}, more...)...) }

const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"

func pseudoFields() []asked {
	return []asked{
		{"the usual", "8.3.1", "MUST", get(), "", nil, "200", "GET /x HTTP/1.1|Host: a.example|!:method"},
		{"no method", "8.3.1", "MUST", get("-:method"), "", nil, "reset", ""},
		{"no scheme", "8.3.1", "MUST", get("-:scheme"), "", nil, "reset", ""},
		{"no path", "8.3.1", "MUST", get("-:path"), "", nil, "reset", ""},
		{"an empty path", "8.3.1", "MUST", get(":path: "), "", nil, "reset", ""},
		{"an empty method", "8.3.1", "MUST", get(":method: "), "", nil, "reset", ""},
		{"two methods", "8.3.1", "MUST", add(":method: POST"), "", nil, "reset", ""},
		{"two paths", "8.3.1", "MUST", add(":path: /y"), "", nil, "reset", ""},
		{"two schemes", "8.3.1", "MUST", add(":scheme: http"), "", nil, "reset", ""},
		{"two authorities", "8.3.1", "MUST", add(":authority: a.example"), "", nil, "reset", ""},
		{"an unknown pseudo-field", "8.3", "MUST", add(":x: y"), "", nil, "reset", ""},
		{"one of responses", "8.3", "MUST", add(":status: 200"), "", nil, "reset", ""},
		{"one in capitals", "8.2.1", "MUST", add(":Path: /y"), "", nil, "reset", ""},
		{"one after a field", "8.3", "MUST", []string{":method: GET", ":scheme: http", "a: b", ":authority: a.example", ":path: /x"}, "", nil, "reset", ""},
		{"a method with a space", "9110 9.1", "MUST", get(":method: GET /smuggled"), "", nil, "reset", ""},
		{"a method with a line end", "9110 9.1", "MUST", get(":method: GET / HTTP/1.1\r\nX:"), "", nil, "reset", ""},
		{"a method of one's own", "9110 9.1", "MUST", get(":method: FROB"), "", nil, "200", "FROB /x HTTP/1.1"},
		{"a method in small letters", "9110 9.1", "MUST", get(":method: get"), "", nil, "200", "get /x HTTP/1.1"},
		{"a path with a space", "8.3.1", "MUST", get(":path: /x HTTP/1.1"), "", nil, "400", ""},
		{"a path with a line end", "8.3.1", "MUST", get(":path: /x HTTP/1.1\r\nHost: b.example\r\n\r\n" + smuggled), "", nil, "400", ""},
		{"a path with NUL", "8.3.1", "MUST", get(":path: /\x00"), "", nil, "400", ""},
		{"a path with a tab", "8.3.1", "MUST", get(":path: /\tx"), "", nil, "400", ""},
		{"a path beyond ASCII", "3986 2", "MUST", get(":path: /\xff"), "", nil, "400", ""},
		{"a path without a slash", "8.3.1", "MUST", get(":path: x"), "", nil, "400", ""},
		{"the absolute form as a path", "8.3.1", "MUST", get(":path: http://b.example/x"), "", nil, "400", ""},
		{"a fragment", "3986 3.5", "MUST", get(":path: /x#f"), "", nil, "400", ""},
		{"a backslash", "3986 2", "MUST", get(`:path: /a\..\x`), "", nil, "400", ""},
		{"a broken escape", "3986 2.1", "MUST", get(":path: /%zz"), "", nil, "400", ""},
		{"dot segments", "9110 4.2.3", "SHOULD", get(":path: /a/../x?q=/../"), "", nil, "200", "GET /x?q=/../ HTTP/1.1"},
		{"the asterisk with GET", "8.3.1", "MUST", get(":path: *"), "", nil, "400", ""},
		{"no authority, a Host", "8.3.1", "MUST", get("-:authority", "host: a.example"), "", nil, "200", "Host: a.example"},
		{"neither authority nor Host", "8.3.1", "SHOULD", get("-:authority"), "", nil, "400", ""},
		{"an authority and the same Host", "8.3.1", "SHOULD", get("host: a.example"), "", nil, "200", "Host: a.example"},
		{"an authority and another Host", "8.3.1", "SHOULD", get("host: b.example"), "", nil, "400", ""},
		{"two Hosts", "9110 7.2", "MUST", get("host: a.example", "host: a.example"), "", nil, "400", ""},
		{"an authority with a port", "8.3.1", "MUST", get(":authority: a.example:8080"), "", nil, "200", "Host: a.example:8080"},
		{"an authority with a user", "8.3.1", "MUST", get(":authority: u@a.example"), "", nil, "400", ""},
		{"an authority with a path", "9110 7.2", "MUST", get(":authority: a.example/x"), "", nil, "400", ""},
		{"an authority with a space", "9110 7.2", "MUST", get(":authority: a.example b"), "", nil, "400", ""},
		{"an authority with a line end", "8.2.1", "MUST", get(":authority: a.example\r\nX: y"), "", nil, "400", ""},
		{"https on plain text", "9110 7.4", "MAY", get(":scheme: https"), "", nil, "400", ""},
		{"another scheme", "8.3.1", "MAY", get(":scheme: ftp"), "", nil, "400", ""},
		{"CONNECT", "8.5", "MAY", []string{":method: CONNECT", ":authority: b.example:443"}, "", nil, "501", ""},
		{"CONNECT with a path", "8.5", "MUST", get(":method: CONNECT"), "", nil, "reset", ""},
		{"a protocol without CONNECT", "8441 4", "MUST", add(":protocol: websocket"), "", nil, "reset", ""},
	}
}

func fieldCases() []asked {
	list := []asked{
		{"a name in capitals", "8.2.1", "MUST", get("X-A: b"), "", nil, "reset", ""},
		{"an empty name", "8.2.1", "MUST", get(": b"), "", nil, "reset", ""},
		{"beyond ASCII in a value", "8.2.1", "MAY", get("a: \xe4\xff"), "", nil, "200", "a: \xe4\xff"},
		{"an empty value", "8.2.1", "MUST", get("a: "), "", nil, "200", "a: "},
		{"a value that begins with a space", "8.2.1", "MUST", get("a:  b"), "", nil, "reset", ""},
		{"a value that ends with a space", "8.2.1", "MUST", get("a: b "), "", nil, "reset", ""},
		{"a value that ends with a tab", "8.2.1", "MUST", get("a: b\t"), "", nil, "reset", ""},
		{"a line end in a value, and a field", "8.2.1", "MUST", get("a: b\r\nc: d"), "", nil, "reset", ""},
		{"a line end in a value, and a request", "8.2.1", "MUST", get("a: b\r\n\r\n" + smuggled), "", nil, "reset", ""},
		{"LF in a value", "8.2.1", "MUST", get("a: b\nc: d"), "", nil, "reset", ""},
		{"CR in a value", "8.2.1", "MUST", get("a: b\rc: d"), "", nil, "reset", ""},
		{"NUL in a value", "8.2.1", "MUST", get("a: b\x00c"), "", nil, "reset", ""},
		{"a control in a value", "9110 5.5", "SHOULD", get("a: b\x01c"), "", nil, "reset", ""},
		{"TE with trailers", "8.2.2", "MUST", get("te: trailers"), "", nil, "200", "GET /x HTTP/1.1"},
		{"TE with more", "8.2.2", "MUST", get("te: trailers, gzip"), "", nil, "reset", ""},
		{"crumbs of a cookie", "8.2.3", "MUST", get("cookie: a=1", "b: c", "cookie: d=2"), "", nil, "200", "ookie: a=1; d=2"},
		{"Expect of something else", "9110 10.1.1", "MAY", get("expect: tea"), "", nil, "417", ""},
		{"who the client is, as it says", "9110 7.6.3", "-", get("x-forwarded-for: 192.0.2.1", "x_forwarded_for: 192.0.2.1", "forwarded: for=192.0.2.1"), "", nil, "200", "!192.0.2.1"},
		{"a name that is a number of fields", "10.5.1", "MAY", get(many(200)...), "", nil, "431", ""},
		{"fields that are too large", "10.5.1", "MAY", get("a: " + strings.Repeat("b", 70_000)), "", nil, "431", ""},
		{"a path that is too long", "9110 4.1", "MAY", get(":path: /" + strings.Repeat("b", 9000)), "", nil, "414", ""},
	}
	for name, value := range map[string]string{"connection": "close", "keep-alive": "timeout=5", "proxy-connection": "keep-alive", "transfer-encoding": "chunked", "upgrade": "websocket"} {
		list = append(list, asked{name, "8.2.2", "MUST", get(name + ": " + value), "", nil, "reset", ""})
	}
	for what, c := range map[string]string{"a space": " ", "a colon": ":", "CR": "\r", "LF": "\n", "NUL": "\x00", "DEL": "\x7f", "a parenthesis": "(", "beyond ASCII": "\xe4", "a tab": "\t"} {
		list = append(list, asked{what + " in a name", "8.2.1", "MUST", get("a" + c + "b|: c"), "", nil, "reset", ""})
	}
	return list
}

func many(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("a%d: b", i))
	}
	return list
}

func contents() []asked {
	return []asked{
		{"a length that is right", "8.1.1", "MUST", send("content-length: 5"), "hello", nil, "200", "ontent-Length: 5|hello|!chunked"},
		{"no length", "8.1", "MUST", send(), "hello", nil, "200", "ransfer-Encoding: chunked|hello|!ontent-Length"},
		{"a request as content", "8.1", "MUST", send(), smuggled + smuggled, nil, "200", "ransfer-Encoding: chunked"},
		{"a chunk's end as content", "8.1", "MUST", send(), "0\r\n\r\n" + smuggled, nil, "200", "ransfer-Encoding: chunked"},
		{"a length of 0 and a request as content", "8.1.1", "MUST", send("content-length: 0"), smuggled, nil, "reset", "-"},
		{"a length that is too small", "8.1.1", "MUST", send("content-length: 4"), "hello", nil, "reset", ""},
		{"a length that is too large", "8.1.1", "MUST", send("content-length: 6"), "hello", nil, "reset", "-"},
		{"a length without content", "8.1.1", "MUST", send("content-length: 5"), "", nil, "reset", ""},
		{"a length of 0 without content", "8.1.1", "MUST", send("content-length: 0"), "", nil, "200", "ontent-Length: 0"},
		{"two lengths that differ", "9110 8.6", "MUST", send("content-length: 5", "content-length: 6"), "hello", nil, "reset", ""},
		{"two lengths that are the same", "9110 8.6", "MAY", send("content-length: 5", "content-length: 5"), "hello", nil, "reset", ""},
		{"a list of lengths", "9110 8.6", "MAY", send("content-length: 5, 5"), "hello", nil, "reset", ""},
		{"a length with a sign", "9110 8.6", "MUST", send("content-length: +5"), "hello", nil, "reset", ""},
		{"a negative length", "9110 8.6", "MUST", send("content-length: -5"), "hello", nil, "reset", ""},
		{"a length in hexadecimal", "9110 8.6", "MUST", send("content-length: 0x5"), "hello", nil, "reset", ""},
		{"an empty length", "9110 8.6", "MUST", send("content-length: "), "hello", nil, "reset", ""},
		{"a length that overflows", "9110 8.6", "MUST", send("content-length: 18446744073709551621"), "hello", nil, "reset", ""},
		{"GET with content", "9110 9.3.1", "MAY", get(), "hello", nil, "200", "ransfer-Encoding: chunked|hello"},
		{"Expect with 100", "9110 10.1.1", "MUST", send("expect: 100-continue", "content-length: 5"), "hello", nil, "200", "hello"},
		{"trailers", "8.1", "MUST", send(), "hello", []string{"x-sum: 1"}, "200", "ransfer-Encoding: chunked|x-sum: 1"},
		{"a pseudo-field in trailers", "8.1", "MUST", send(), "hello", []string{":path: /y"}, "reset", "-"},
		{"a length in trailers", "9110 6.5.1", "MUST", send(), "hello", []string{"content-length: 5"}, "200", "!content-length"},
		{"a coding in trailers", "8.2.2", "MUST", send(), "hello", []string{"transfer-encoding: chunked"}, "reset", "-"},
		{"Host in trailers", "9110 6.5.1", "MUST", send(), "hello", []string{"host: b.example"}, "200", "!b.example"},
		{"capitals in trailers", "8.2.1", "MUST", send(), "hello", []string{"X-Sum: 1"}, "reset", "-"},
		{"a line end in trailers", "8.2.1", "MUST", send(), "hello", []string{"x-sum: 1\r\n\r\n" + smuggled}, "reset", "-"},
		{"an identity in trailers", "9110 6.5.1", "MUST", send(), "hello", []string{"x-forwarded-for: 192.0.2.1"}, "200", "!192.0.2.1"},
	}
}

// ask sends a request on a connection of its own and returns what became of it.
func ask(t *testing.T, port int, a *asked) string {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	var out bytes.Buffer
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, c)
	f.AllowIllegalWrites = true
	_ = f.WriteSettings()
	_ = f.WriteSettingsAck()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	encode := func(fields []string) []byte {
		block.Reset()
		for _, field := range fields {
			name, value := split(field)
			_ = enc.WriteField(hpack.HeaderField{Name: name, Value: value})
		}
		return block.Bytes()
	}
	headers := func(fields []string, end bool) {
		b := encode(fields)
		for first := true; first || len(b) > 0; first = false {
			n := min(len(b), 16_000)
			if last := n == len(b); first {
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:n], EndHeaders: last, EndStream: end})
			} else {
				_ = f.WriteContinuation(1, last, b[:n])
			}
			b = b[n:]
		}
	}
	headers(a.fields, a.content == "" && a.trailer == nil)
	if a.content != "" {
		_ = f.WriteData(1, a.trailer == nil, []byte(a.content))
	}
	if a.trailer != nil {
		headers(a.trailer, true)
	}
	if _, err := c.Write(out.Bytes()); err != nil {
		return "gone"
	}
	status := ""
	dec := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == ":status" {
			status = f.Value
		}
	})
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return "nothing"
			}
			if err == io.EOF || strings.Contains(err.Error(), "reset") {
				return "gone"
			}
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.HeadersFrame:
			_, _ = dec.Write(frame.HeaderBlockFragment())
			if frame.StreamEnded() {
				return status
			}
		case *http2.DataFrame:
			if frame.StreamEnded() {
				return status
			}
		case *http2.RSTStreamFrame:
			switch {
			case frame.ErrCode == http2.ErrCodeProtocol:
				return "reset"
			case frame.ErrCode == http2.ErrCodeNo && status != "":
				return status // an early answer
			}
			return frame.ErrCode.String()
		case *http2.GoAwayFrame:
			return "gone"
		}
	}
}

// split parts a field; "|: " stands for the end of a name with a colon in it.
func split(field string) (name, value string) {
	if name, value, ok := strings.Cut(field, "|: "); ok {
		return name, value
	}
	i := strings.Index(field[1:], ":")
	if field[0] == ':' && i >= 0 {
		return field[:i+1], strings.TrimPrefix(field[i+2:], " ")
	}
	name, value, _ = strings.Cut(field, ":")
	return name, strings.TrimPrefix(value, " ")
}

// TestDowngrade: nothing of a request over HTTP/2 can be read twice, or otherwise,
// once it is written as HTTP/1.1.
func TestDowngrade(t *testing.T) {
	o := harness.NewOrigin(t)
	service := strings.Replace(harness.Service("a", "", o.Port()), "value: /a", "value: /", 1)
	p := harness.Start(t, harness.Options{Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": service}})
	all := append(append(pseudoFields(), fieldCases()...), contents()...)
	t.Logf("%d cases", len(all))
	for i := range all {
		a := &all[i]
		o.Reset(nil)
		if got := ask(t, p.Port, a); got != a.want {
			t.Errorf("%s (%s, %s): got %s; want %s", a.name, a.section, a.level, got, a.want)
		}
		seen, broken := o.Requests()
		switch {
		case len(broken) > 0 && a.has != "-": // "-": it may have begun
			t.Errorf("%s: the origin got %q", a.name, broken)
		case a.want != "200" && a.has != "-" && len(seen) > 0, len(seen) > 1:
			t.Errorf("%s: the origin got %q", a.name, seen)
		case a.want == "200" && len(seen) != 1:
			t.Errorf("%s: the origin got %q; want one request", a.name, seen)
		case a.want == "200":
			for _, want := range strings.Split(a.has, "|") {
				not, isNot := strings.CutPrefix(want, "!")
				if has := strings.Contains(strings.ToLower(seen[0]), strings.ToLower(not)); has == isNot {
					t.Errorf("%s: the origin got %q; want %s", a.name, seen[0], want)
				}
			}
		}
	}
}
