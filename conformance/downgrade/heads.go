package downgrade

import (
	"fmt"
	"strings"
)

const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"

// targets are what a request is and what for.
func targets() []Case {
	return []Case{
		{"the usual", request, "MUST", get(), "", nil, "200", "GET /x HTTP/1.1|Host: a.example|!:method"},
		{"pseudo-fields in another order", request, "MUST", []string{":path: /x", ":authority: a.example", ":scheme: SAME", ":method: GET"}, "", nil, "200", "GET /x HTTP/1.1|Host: a.example"},
		{"no method", request, "MUST", get("-:method"), "", nil, "reset", ""},
		{"no scheme", request, "MUST", get("-:scheme"), "", nil, "reset", ""},
		{"no path", request, "MUST", get("-:path"), "", nil, "reset", ""},
		{"no pseudo-field at all", request, "MUST", []string{"host: a.example"}, "", nil, "reset", ""},
		{"an empty path", request, "MUST", get(":path: "), "", nil, "reset", ""},
		{"an empty method", request, "MUST", get(":method: "), "", nil, "reset", ""},
		{"two methods", request, "MUST", add(":method: POST"), "", nil, "reset", ""},
		{"the same method twice", request, "MUST", add(":method: GET"), "", nil, "reset", ""},
		{"two paths", request, "MUST", add(":path: /y"), "", nil, "reset", ""},
		{"two schemes", request, "MUST", add(":scheme: SAME"), "", nil, "reset", ""},
		{"two authorities", request, "MUST", add(":authority: a.example"), "", nil, "reset", ""},
		{"an unknown pseudo-field", pseudo, "MUST", add(":x: y"), "", nil, "reset", ""},
		{"a pseudo-field that is a colon", pseudo, "MUST", add(":|: y"), "", nil, "reset", ""},
		{"one of responses", pseudo, "MUST", add(":status: 200"), "", nil, "reset", ""},
		{"one in capitals", names, "MUST", add(":Path: /y"), "", nil, "reset", ""},
		{"one after a field", pseudo, "MUST", []string{":method: GET", ":scheme: SAME", "a: b", ":authority: a.example", ":path: /x"}, "", nil, "reset", ""},
		{"a method with a space", both("RFC 9110, 9.1"), "MUST", get(":method: GET /smuggled"), "", nil, "reset", ""},
		{"a method with a line end", both("RFC 9110, 9.1"), "MUST", get(":method: GET / HTTP/1.1\r\nX:"), "", nil, "reset", ""},
		{"a method of one's own", both("RFC 9110, 9.1"), "MUST", get(":method: FROB"), "", nil, "200", "FROB /x HTTP/1.1"},
		{"a method in small letters", both("RFC 9110, 9.1"), "MUST", get(":method: get"), "", nil, "200", "get /x HTTP/1.1"},
		{"a path with a space", request, "MUST", get(":path: /x HTTP/1.1"), "", nil, "400", ""},
		{"a path with a line end", request, "MUST", get(":path: /x HTTP/1.1\r\nHost: b.example\r\n\r\n" + smuggled), "", nil, "400", ""},
		{"a path with LF", request, "MUST", get(":path: /x\nX:y"), "", nil, "400", ""},
		{"a path with an escaped line end", both("RFC 3986, 2.1"), "MUST", get(":path: /x%0d%0aX:%20y"), "", nil, "200", "GET /x%0d%0aX:%20y HTTP/1.1"},
		{"a path with NUL", request, "MUST", get(":path: /\x00"), "", nil, "400", ""},
		{"a path with a tab", request, "MUST", get(":path: /\tx"), "", nil, "400", ""},
		{"a path beyond ASCII", both("RFC 3986, 2"), "MUST", get(":path: /\xff"), "", nil, "400", ""},
		{"a path without a slash", request, "MUST", get(":path: x"), "", nil, "400", ""},
		{"a query without a path", request, "MUST", get(":path: ?x"), "", nil, "400", ""},
		{"a query with a space", request, "MUST", get(":path: /x?a HTTP/1.1"), "", nil, "400", ""},
		{"the absolute form as a path", request, "MUST", get(":path: http://b.example/x"), "", nil, "400", ""},
		{"a fragment", both("RFC 3986, 3.5"), "MUST", get(":path: /x#f"), "", nil, "400", ""},
		{"a backslash", both("RFC 3986, 2"), "MUST", get(`:path: /a\..\x`), "", nil, "400", ""},
		{"a broken escape", both("RFC 3986, 2.1"), "MUST", get(":path: /%zz"), "", nil, "400", ""},
		{"dot segments", both("RFC 9110, 4.2.3"), "SHOULD", get(":path: /a/../x?q=/../"), "", nil, "200", "GET /x?q=/../ HTTP/1.1"},
		{"the asterisk with GET", request, "MUST", get(":path: *"), "", nil, "400", ""},
		{"the preface of HTTP/2", request, "MUST", get(":method: PRI", ":path: *"), "", nil, "400", ""},
		{"a path that is too long", both("RFC 9110, 4.1"), "MAY", get(":path: /" + strings.Repeat("b", 9000)), "", nil, "414", ""},
	}
}

// authorities are who a request is for.
func authorities() []Case {
	return []Case{
		{"no authority, a Host", request, "MUST", get("-:authority", "host: a.example"), "", nil, "200", "Host: a.example"},
		{"neither authority nor Host", request, "MUST", get("-:authority"), "", nil, "400", ""},
		{"an empty authority", request, "MUST", get(":authority: "), "", nil, "400", ""},
		{"an empty authority and a Host", request, "MUST", get(":authority: ", "host: a.example"), "", nil, "400", ""},
		{"an empty Host", request, "MUST", get("-:authority", "host: "), "", nil, "400", ""},
		{"an authority and the same Host", request, "SHOULD", get("host: a.example"), "", nil, "200", "Host: a.example"},
		{"an authority and another Host", request, "SHOULD", get("host: b.example"), "", nil, "400", ""},
		{"an authority and an empty Host", request, "MUST", get("host: "), "", nil, "400", ""},
		{"two Hosts", both("RFC 9110, 7.2"), "MUST", get("host: a.example", "host: a.example"), "", nil, "400", ""},
		{"a Host with a line end", characters, "MUST", get("host: a.example\r\nX: y"), "", nil, "reset", ""},
		{"an authority with a port", request, "MUST", get(":authority: a.example:8080"), "", nil, "200", "Host: a.example:8080"},
		{"an authority with a port that is none", both("RFC 9110, 7.2"), "MUST", get(":authority: a.example:x"), "", nil, "400", ""},
		{"an authority with a user", request, "MUST", get(":authority: u@a.example"), "", nil, "400", ""},
		{"an authority with a path", both("RFC 9110, 7.2"), "MUST", get(":authority: a.example/x"), "", nil, "400", ""},
		{"an authority with a space", both("RFC 9110, 7.2"), "MUST", get(":authority: a.example b"), "", nil, "400", ""},
		{"an authority with a line end", characters, "MUST", get(":authority: a.example\r\nX: y"), "", nil, "400", ""},
		{"an authority with NUL", characters, "MUST", get(":authority: a.example\x00"), "", nil, "400", ""},
		{"the scheme of other connections", both("RFC 9110, 7.4"), "MAY", get(":scheme: OTHER"), "", nil, "400", ""},
		{"another scheme", request, "MAY", get(":scheme: ftp"), "", nil, "400", ""},
		{"a scheme with a line end", request, "MUST", get(":scheme: http\r\nX: y"), "", nil, "400", ""},
	}
}

// connects are tunnels, and what looks like one.
func connects() []Case {
	plain := func(more ...string) []string { return append([]string{":method: CONNECT"}, more...) }
	socket := func(more ...string) []string {
		return append(get(":method: CONNECT"), append([]string{":protocol: websocket", "sec-websocket-version: 13"}, more...)...)
	}
	const switches = "GET /x HTTP/1.1|Upgrade: websocket|Connection: Upgrade|!:protocol" // it answers 200, which opens no tunnel
	return []Case{
		{"CONNECT", connect, "MAY", plain(":authority: b.example:443"), "", nil, "501", ""},
		{"CONNECT with content", connect, "MAY", plain(":authority: b.example:443"), smuggled, nil, "501", ""},
		{"CONNECT with a path", connect, "MUST", get(":method: CONNECT"), "", nil, "reset", ""},
		{"CONNECT with a scheme", connect, "MUST", plain(":scheme: SAME", ":authority: b.example:443"), "", nil, "reset", ""},
		{"CONNECT without an authority", connect, "MUST", plain(), "", nil, "reset", ""},
		{"CONNECT with a Host alone", connect, "MUST", plain("host: b.example:443"), "", nil, "reset", ""},
		{"CONNECT with an empty authority", connect, "MUST", plain(":authority: "), "", nil, "reset", ""},
		{"CONNECT in small letters", both("RFC 9110, 9.1"), "MUST", get(":method: connect"), "", nil, "200", "connect /x HTTP/1.1"},
		{"a protocol without CONNECT", extended, "MUST", add(":protocol: websocket"), "", nil, "reset", ""},
		{"extended CONNECT", extended, "MUST", socket(), "", nil, "502", switches},
		{"extended CONNECT without a path", extended, "MUST", plain(":scheme: SAME", ":authority: a.example", ":protocol: websocket"), "", nil, "reset", ""},
		{"extended CONNECT without a scheme", extended, "MUST", plain(":path: /x", ":authority: a.example", ":protocol: websocket"), "", nil, "reset", ""},
		{"extended CONNECT without an authority", extended, "MUST", plain(":path: /x", ":scheme: SAME", ":protocol: websocket"), "", nil, "400", ""},
		{"extended CONNECT for a protocol that we have not, without a path", extended, "MUST", plain(":authority: a.example", ":protocol: connect-udp"), "", nil, "reset", ""},
		{"extended CONNECT for a protocol that we have not", extended, "SHOULD", append(get(":method: CONNECT"), ":protocol: connect-udp"), "", nil, "501", ""},
		{"a protocol with a line end", extended, "MUST", append(get(":method: CONNECT"), ":protocol: websocket\r\nX: y"), "", nil, "501", ""},
		{"an empty protocol", extended, "SHOULD", append(get(":method: CONNECT"), ":protocol: "), "", nil, "501", ""},
		{"two protocols", pseudo, "MUST", append(get(":method: CONNECT"), ":protocol: websocket", ":protocol: websocket"), "", nil, "reset", ""},
		{"a protocol after a field", pseudo, "MUST", append(get(":method: CONNECT"), "a: b", ":protocol: websocket"), "", nil, "reset", ""},
		{"extended CONNECT with a Connection", connection, "MUST", socket("connection: upgrade"), "", nil, "reset", ""},
		{"extended CONNECT with an Upgrade", connection, "MUST", socket("upgrade: websocket"), "", nil, "reset", ""},
		{"extended CONNECT with a key", both("RFC 8441, 5"), "MUST", socket("sec-websocket-key: bWluZSwgbm90IHlvdXJzIQ=="), "", nil, "502", switches + "|!bWluZSwgbm90IHlvdXJzIQ=="},
		{"extended CONNECT with a length", both("RFC 9110, 9.3.6"), "MUST", socket("content-length: 5"), "", nil, "502", switches + "|!content-length"},
		{"extended CONNECT with what looks like a request", extended, "MUST", socket(), smuggled, nil, "502", switches + "|!smuggled"},
		{"extended CONNECT with another Host", request, "MUST", socket("host: b.example"), "", nil, "400", ""},
	}
}

// fields are names and values.
func fields() []Case {
	list := []Case{
		{"a name in capitals", names, "MUST", get("X-A: b"), "", nil, "reset", ""},
		{"a name that ends in a capital", names, "MUST", get("x-a-B: b"), "", nil, "reset", ""},
		{"an empty name", characters, "MUST", get("|: b"), "", nil, "reset", ""},
		{"beyond ASCII in a value", characters, "MAY", get("a: \xe4\xff"), "", nil, "200", "a: \xe4\xff"},
		{"an empty value", characters, "MUST", get("a: "), "", nil, "200", "a: "},
		{"a value that begins with a space", spaces, "MUST", get("a:  b"), "", nil, "reset", ""},
		{"a value that ends with a space", spaces, "MUST", get("a: b "), "", nil, "reset", ""},
		{"a value that ends with a tab", spaces, "MUST", get("a: b\t"), "", nil, "reset", ""},
		{"a value that begins with a line end", characters, "MUST", get("a: \r\n b"), "", nil, "reset", ""},
		{"a line end in a value, and a field", characters, "MUST", get("a: b\r\nc: d"), "", nil, "reset", ""},
		{"a line end in a value, and a request", characters, "MUST", get("a: b\r\n\r\n" + smuggled), "", nil, "reset", ""},
		{"LF in a value", characters, "MUST", get("a: b\nc: d"), "", nil, "reset", ""},
		{"CR in a value", characters, "MUST", get("a: b\rc: d"), "", nil, "reset", ""},
		{"NUL in a value", characters, "MUST", get("a: b\x00c"), "", nil, "reset", ""},
		{"a control in a value", both("RFC 9110, 5.5"), "SHOULD", get("a: b\x01c"), "", nil, "reset", ""},
		{"DEL in a value", both("RFC 9110, 5.5"), "SHOULD", get("a: b\x7fc"), "", nil, "reset", ""},
		{"an empty transfer-encoding", connection, "MUST", send("transfer-encoding: "), "hello", nil, "reset", ""},
		{"transfer-encoding with a length", connection, "MUST", send("content-length: 5", "transfer-encoding: chunked"), "hello", nil, "reset", ""},
		{"transfer-encoding behind a space", characters, "MUST", send("transfer-encoding |: chunked"), "hello", nil, "reset", ""},
		{"transfer-encoding in capitals", names, "MUST", send("Transfer-Encoding: chunked"), "hello", nil, "reset", ""},
		{"transfer-encoding with an underscore", both("RFC 9110, 5.1"), "-", send("transfer_encoding: chunked", "content-length: 5"), "hello", nil, "200", "content-length: 5|!transfer-encoding"},
		{"Connection that names a length", connection, "MUST", send("connection: content-length", "content-length: 5"), "hello", nil, "reset", ""},
		{"TE with trailers", connection, "MUST", get("te: trailers"), "", nil, "200", "GET /x HTTP/1.1"},
		{"TE with more", connection, "MUST", get("te: trailers, gzip"), "", nil, "reset", ""},
		{"TE with a weight", connection, "MUST", get("te: trailers;q=1"), "", nil, "reset", ""},
		{"an empty TE", connection, "MUST", get("te: "), "", nil, "reset", ""},
		{"crumbs of a cookie", crumbs, "MUST", get("cookie: a=1", "b: c", "cookie: d=2"), "", nil, "200", "ookie: a=1; d=2"},
		{"a crumb with a line end", characters, "MUST", get("cookie: a=1", "cookie: b=2\r\nX: y"), "", nil, "reset", ""},
		{"many crumbs of a cookie", crumbs, "MUST", get(strings.Split(strings.Repeat("cookie: a=1|", 300)+"cookie: d=2", "|")...), "", nil, "200", "ookie: a=1; a=1; |a=1; d=2"},
		{"Expect of something else", both("RFC 9110, 10.1.1"), "MAY", get("expect: tea"), "", nil, "417", ""},
		{"Expect of two things", both("RFC 9110, 10.1.1"), "MAY", send("expect: 100-continue, tea"), "hello", nil, "417", ""},
		{"Expect without content", both("RFC 9110, 10.1.1"), "MUST", get("expect: 100-continue"), "", nil, "200", "GET /x HTTP/1.1|!100-continue"},
		{"who the client is, as it says", both("RFC 9110, 7.6.3"), "-", get("x-forwarded-for: 192.0.2.1", "x_forwarded_for: 192.0.2.1", "forwarded: for=192.0.2.1"), "", nil, "200", "!192.0.2.1"},
		{"too many fields", size, "MAY", get(many(200)...), "", nil, "431", ""},
		{"fields that are too large", size, "MAY", get("a: " + strings.Repeat("b", 70_000)), "", nil, "431", ""},
		{"a name that is too large", size, "MAY", get(strings.Repeat("a", 70_000) + ": b"), "", nil, "431", ""},
	}
	for _, f := range []string{"connection: close", "keep-alive: timeout=5", "proxy-connection: keep-alive", "transfer-encoding: chunked", "transfer-encoding: identity", "upgrade: websocket"} {
		list = append(list, Case{f, connection, "MUST", get(f), "", nil, "reset", ""})
	}
	for _, c := range []struct{ what, char string }{{"a space", " "}, {"a colon", ":"}, {"CR", "\r"}, {"LF", "\n"}, {"a line end", "\r\n"}, {"NUL", "\x00"}, {"DEL", "\x7f"}, {"a parenthesis", "("}, {"beyond ASCII", "\xe4"}, {"a tab", "\t"}} {
		list = append(list, Case{c.what + " in a name", characters, "MUST", get("a" + c.char + "b|: c"), "", nil, "reset", ""})
	}
	return list
}

func many(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("a%d: b", i))
	}
	return list
}
