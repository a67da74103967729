package http1

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// request is bytes from a client. What is refused gets this status and a closed
// connection, and nothing of it, or of what follows it, reaches the origin.
type request struct {
	name    string
	section string // of RFC 9112, or RFC 9110 where it says so
	level   string // MUST, SHOULD, MAY (we are stricter), or "-" for what is common practice
	raw     string
	status  string // of the first answer; "200": it is forwarded
	has     string // what the origin has to get, lines separated by |; ! before one: has not
	answers int    // how many; 0: one
	open    bool   // though it is refused, the connection may stay
}

// head makes a request with these field lines.
func head(lines ...string) string {
	return "GET /x HTTP/1.1\r\nHost: a.example\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

// post makes a POST with these field lines and this content.
func post(content string, lines ...string) string {
	return strings.Replace(head(lines...), "GET", "POST", 1) + content
}

func line(l string) string { return l + "\r\nHost: a.example\r\n\r\n" }

const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"

func requestLines() []request {
	list := []request{
		{"the usual", "3", "MUST", line("GET /x HTTP/1.1"), "200", "GET /x HTTP/1.1|Host: a.example", 0, false},
		{"a method of one's own", "9110 9.1", "MUST", line("FROB /x HTTP/1.1"), "200", "FROB /x HTTP/1.1", 0, false},
		{"an empty line before", "2.2", "SHOULD", "\r\n" + line("GET /x HTTP/1.1"), "200", "GET /x HTTP/1.1", 0, false},
		{"the absolute form", "3.2.2", "MUST", line("GET http://b.example/x HTTP/1.1"), "200", "GET /x HTTP/1.1|Host: b.example", 0, false},
		{"the absolute form without a path", "3.2.2", "MUST", line("GET http://b.example HTTP/1.1"), "200", "GET / HTTP/1.1|Host: b.example", 0, false},
		{"a query", "3.2.1", "MUST", line("GET /x?a=b%20c&d HTTP/1.1"), "200", "GET /x?a=b%20c&d HTTP/1.1", 0, false},
		{"dot segments", "9110 4.2.3", "SHOULD", line("GET /a/../x HTTP/1.1"), "200", "GET /x HTTP/1.1", 0, false},
		{"bytes beyond ASCII in the path", "3986 2", "MUST", line("GET /\xff HTTP/1.1"), "400", "", 0, false},
		{"a fragment", "3986 3.5", "MUST", line("GET /x#f HTTP/1.1"), "400", "", 0, false},
		{"user information", "9110 4.2.4", "SHOULD", line("GET http://u@b.example/ HTTP/1.1"), "400", "", 0, false},
		{"another scheme", "9110 7.4", "MAY", line("GET ftp://b.example/ HTTP/1.1"), "400", "", 0, false},
		{"https on plain text", "9110 7.4", "MAY", line("GET https://b.example/ HTTP/1.1"), "400", "", 0, false},
		{"the asterisk with GET", "3.2.4", "MUST", line("GET * HTTP/1.1"), "400", "", 0, false},
		{"no slash", "3.2", "MUST", line("GET x HTTP/1.1"), "400", "", 0, false},
		{"a broken escape", "3986 2.1", "MUST", line("GET /%zz HTTP/1.1"), "400", "", 0, false},
		{"half an escape", "3986 2.1", "MUST", line("GET /%4 HTTP/1.1"), "400", "", 0, false},
		{"two spaces", "3", "MAY", line("GET  /x HTTP/1.1"), "400", "", 0, false},
		{"two spaces before the version", "3", "MAY", line("GET /x  HTTP/1.1"), "400", "", 0, false},
		{"a tab", "3", "MAY", line("GET\t/x\tHTTP/1.1"), "400", "", 0, false},
		{"a space before", "3", "MAY", line(" GET /x HTTP/1.1"), "400", "", 0, false},
		{"a space behind", "3", "MAY", line("GET /x HTTP/1.1 "), "400", "", 0, false},
		{"a space in the target", "3.2", "SHOULD", line("GET /x y HTTP/1.1"), "400", "", 0, false},
		{"no version", "3", "MUST", line("GET /x"), "400", "", 0, false},
		{"HTTP/0.9", "3", "MAY", "GET /x\r\n", "400", "", 0, false},
		{"HTTP/2.0", "9110 15.6.6", "MAY", line("GET /x HTTP/2.0"), "505", "", 0, false},
		{"HTTP/1.2", "9110 15.6.6", "MAY", line("GET /x HTTP/1.2"), "505", "", 0, false},
		{"HTTP/0.9 by name", "9110 15.6.6", "MAY", line("GET /x HTTP/0.9"), "505", "", 0, false},
		{"a version in small letters", "2.3", "MUST", line("GET /x http/1.1"), "400", "", 0, false},
		{"two digits", "2.3", "MUST", line("GET /x HTTP/1.10"), "400", "", 0, false},
		{"a zero before", "2.3", "MUST", line("GET /x HTTP/01.1"), "400", "", 0, false},
		{"a comma in the version", "2.3", "MUST", line("GET /x HTTP/1,1"), "400", "", 0, false},
		{"no slash in the version", "2.3", "MUST", line("GET /x HTTP 1.1"), "400", "", 0, false},
		{"no method", "3.1", "MUST", line("/x HTTP/1.1"), "400", "", 0, false},
		{"a method that is no token", "3.1", "MUST", line("G(T /x HTTP/1.1"), "400", "", 0, false},
		{"a method with a NUL", "3.1", "MUST", line("G\x00T /x HTTP/1.1"), "400", "", 0, false},
		{"a bare LF", "2.2", "MAY", "GET /x HTTP/1.1\nHost: a.example\r\n\r\n", "400", "", 0, false},
		{"only bare LFs", "2.2", "MAY", "GET /x HTTP/1.1\nHost: a.example\n\n", "400", "", 0, false},
		{"a bare CR", "2.2", "MUST", "GET /x HTTP/1.1\rHost: a.example\r\n\r\n", "400", "", 0, false},
		{"a line that is too long", "3", "MUST", line("GET /" + strings.Repeat("x", 9000) + " HTTP/1.1"), "414", "", 0, false},
		{"TLS", "-", "-", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400", "", 0, false},
	}
	for _, c := range "\x00\x01\x08\x0b\x0c\x1b\x7f\\" {
		list = append(list, request{fmt.Sprintf("byte %#02x in the target", c), "3.2", "MUST", line("GET /a" + string(c) + "b HTTP/1.1"), "400", "", 0, false})
	}
	for _, c := range "\"<>^`{|}" { // RFC 3986 has them escaped; clients send them as they are, and so do proxies
		list = append(list, request{fmt.Sprintf("%q in the target", c), "3.2", "-", line("GET /a" + string(c) + "b HTTP/1.1"), "200", "GET /a" + string(c) + "b HTTP/1.1", 0, false})
	}
	return append(list, request{"a backslash in the query", "3.2", "-", line("GET /a?b=\\c HTTP/1.1"), "200", "GET /a?b=\\c HTTP/1.1", 0, false})
}

func fields() []request {
	list := []request{
		{"without white space", "5", "MUST", head("X-A:b"), "200", "X-A: b", 0, false},
		{"white space around the value", "5", "MUST", head("X-A: \t b \t"), "200", "X-A: b", 0, false},
		{"an empty value", "9110 5.5", "MUST", head("X-A:"), "200", "X-A: ", 0, false},
		{"bytes beyond ASCII in the value", "9110 5.5", "SHOULD", head("X-A: \xe4\xff"), "200", "X-A: \xe4\xff", 0, false},
		{"a name twice", "9110 5.3", "MUST", head("X-A: 1", "X-A: 2"), "200", "X-A: 1\r\nX-A: 2", 0, false},
		{"white space before the colon", "5.1", "MUST", head("X-A : b"), "400", "", 0, false},
		{"a tab before the colon", "5.1", "MUST", head("X-A\t: b"), "400", "", 0, false},
		{"no colon", "5", "MUST", head("X-A"), "400", "", 0, false},
		{"no name", "5", "MUST", head(": b"), "400", "", 0, false},
		{"a folded line", "5.2", "MUST", head("X-A: b", " c"), "400", "", 0, false},
		{"a line folded by a tab", "5.2", "MUST", head("X-A: b", "\tc"), "400", "", 0, false},
		{"white space before the first field", "2.2", "MUST", "GET /x HTTP/1.1\r\n Host: a.example\r\n\r\n", "400", "", 0, false},
		{"a bare LF after a field", "2.2", "MAY", head("X-A: b\nX-C: d"), "400", "", 0, false},
		{"a bare CR in a value", "2.2", "MUST", head("X-A: b\rX-C: d"), "400", "", 0, false},
		{"CR CR LF", "2.2", "MUST", head("X-A: b\r"), "400", "", 0, false},
		{"an end of LF alone", "2.2", "MAY", "GET /x HTTP/1.1\r\nHost: a.example\r\n\n", "400", "", 0, false},
		{"many fields", "6585 5", "MAY", head(strings.Split(strings.Repeat("X-A: b\n", 200)+"X-B: c", "\n")...), "431", "", 0, false},
		{"a large field", "6585 5", "MAY", head("X-A: " + strings.Repeat("b", 70_000)), "431", "", 0, false},
		{"a name that never ends", "6585 5", "MAY", head(strings.Repeat("b", 70_000)), "431", "", 0, false},
	}
	for _, c := range "()<>@,;\\\"/[]?={}" {
		list = append(list, request{fmt.Sprintf("%q in a name", c), "9110 5.6.2", "MUST", head("X-A" + string(c) + "B: c"), "400", "", 0, false})
	}
	for c := range 0x20 {
		if c == '\t' || c == '\n' || c == '\r' {
			continue
		}
		list = append(list,
			request{fmt.Sprintf("byte %#02x in a value", c), "9110 5.5", "MUST", head("X-A: b" + string(rune(c)) + "c"), "400", "", 0, false},
			request{fmt.Sprintf("byte %#02x in a name", c), "9110 5.6.2", "MUST", head("X-A" + string(rune(c)) + ": c"), "400", "", 0, false})
	}
	return append(list, request{"byte 0x7f in a value", "9110 5.5", "MUST", head("X-A: b\x7fc"), "400", "", 0, false},
		request{"byte 0xff in a name", "9110 5.6.2", "MUST", head("X-\xff: c"), "400", "", 0, false})
}

func hosts() []request {
	with := func(lines ...string) string {
		return "GET /x HTTP/1.1\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
	}
	list := []request{
		{"none", "3.2", "MUST", with("X-A: b"), "400", "", 0, false},
		{"two", "3.2", "MUST", with("Host: a.example", "Host: b.example"), "400", "", 0, false},
		{"the same twice", "3.2", "MUST", with("Host: a.example", "Host: a.example"), "400", "", 0, false},
		{"a port", "9110 7.2", "MUST", with("Host: a.example:8080"), "200", "Host: a.example:8080", 0, false},
		{"IPv6", "9110 7.2", "MUST", with("Host: [::1]:80"), "200", "Host: [::1]:80", 0, false},
		{"another one than the target's", "3.2.2", "MUST", "GET http://b.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n", "200", "Host: b.example|!a.example\r\n", 0, false},
		{"in HTTP/1.0 none", "3.2", "MUST", "GET /x HTTP/1.0\r\n\r\n", "200", "GET /x HTTP/1.1", 0, false},
	}
	for _, host := range []string{"", "a b", "a/b", "u@a", "a?b", "a#b", "a\\b", "a:b", "a:99999", "[::1", "::1", "a\tb", "a:80:80", "http://a"} {
		list = append(list, request{fmt.Sprintf("%q", host), "9110 7.2", "MUST", with("Host: " + host), "400", "", 0, false})
	}
	return list
}

func lengths() []request {
	list := []request{
		{"a length", "6.3", "MUST", post("hello", "Content-Length: 5"), "200", "Content-Length: 5|\r\n\r\nhello", 0, false},
		{"zero", "6.3", "MUST", post("", "Content-Length: 0"), "200", "Content-Length: 0", 0, false},
		{"none", "6.3", "MUST", post(""), "200", "Content-Length: 0", 0, false},
		{"zeros before it", "9110 8.6", "MUST", post("hello", "Content-Length: 0005"), "", "", 0, true},
		{"and chunked", "6.3", "SHOULD", post("5\r\nhello\r\n0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked"), "400", "", 0, false},
		{"chunked, and a length", "6.3", "SHOULD", post("5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked", "Content-Length: 5"), "400", "", 0, false},
		{"two of them", "6.3", "MUST", post("hello", "Content-Length: 5", "Content-Length: 6"), "400", "", 0, false},
		{"the same twice", "6.3", "MAY", post("hello", "Content-Length: 5", "Content-Length: 5"), "400", "", 0, false},
		{"with GET", "9110 9.3.1", "MAY", head("Content-Length: 5") + "hello", "200", "Content-Length: 5|\r\n\r\nhello", 0, false},
	}
	for _, value := range []string{"-1", "+5", "5,5", "5, 5", "5 5", "0x5", "5.0", "5e0", "", "five", "5;a=b", "\"5\"", "99999999999999999999", "18446744073709551621", "9223372036854775808", "5\x0b", "\xa05", "1_0"} {
		list = append(list, request{fmt.Sprintf("%q", value), "9110 8.6", "MUST", post("hello", "Content-Length: "+value), "400", "", 0, false})
	}
	return list
}

func codings() []request {
	const content = "5\r\nhello\r\n0\r\n\r\n"
	list := []request{
		{"chunked", "7.1", "MUST", post(content, "Transfer-Encoding: chunked"), "200", "Transfer-Encoding: chunked|\r\n\r\nhello|!Content-Length", 0, false},
		{"in capitals", "7", "MUST", post(content, "Transfer-Encoding: CHUNKED"), "200", "Transfer-Encoding: chunked|\r\n\r\nhello", 0, false},
		{"the field in small letters", "5.1", "MUST", post(content, "transfer-encoding: chunked"), "200", "\r\n\r\nhello", 0, false},
		{"white space around it", "5.1", "MUST", post(content, "Transfer-Encoding: \t chunked \t"), "200", "\r\n\r\nhello", 0, false},
		{"in HTTP/1.0", "6.1", "MUST", strings.Replace(post(content, "Transfer-Encoding: chunked"), "1.1", "1.0", 1), "400", "", 0, false},
		{"twice", "6.1", "MUST", post(content, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), "400", "", 0, false},
		{"twice in a list", "6.1", "MUST", post(content, "Transfer-Encoding: chunked, chunked"), "400", "", 0, false},
		{"not the last", "6.3", "MUST", post(content, "Transfer-Encoding: chunked, gzip"), "400", "", 0, false},
		{"another one", "6.1", "SHOULD", post(content, "Transfer-Encoding: gzip, chunked"), "", "", 0, true},
		{"another one alone", "6.3", "MUST", post(content, "Transfer-Encoding: gzip"), "", "", 0, true},
		{"identity", "7", "MUST", post(content, "Transfer-Encoding: identity"), "", "", 0, true},
		{"an underscore in the field", "-", "-", post(content, "Transfer_Encoding: chunked", "Content-Length: 15"), "200", "Content-Length: 15", 0, false},
	}
	for _, value := range []string{"", "xchunked", "chunked;q=1", "\"chunked\"", "'chunked'", "chunked,", ",chunked", "chun ked", "\x0bchunked", "chunked\x0c", "chunked\x00", "c\xadhunked", "[chunked]", "chunked chunked"} {
		list = append(list, request{fmt.Sprintf("%q", value), "6.1", "MUST", post(content, "Transfer-Encoding: "+value), "refused", "", 0, false})
	}
	for _, field := range []string{"Transfer-Encoding : chunked", " Transfer-Encoding: chunked", "Transfer-Encoding\t: chunked", "X: y\n Transfer-Encoding: chunked", "Transfer-Encoding\n: chunked", "\x0bTransfer-Encoding: chunked", "X: y\rTransfer-Encoding: chunked"} {
		list = append(list, request{fmt.Sprintf("%q", field), "5.1", "MUST", post(content, field), "400", "", 0, false})
	}
	return list
}

func chunks() []request {
	chunked := func(content string) string { return post(content, "Transfer-Encoding: chunked") }
	list := []request{
		{"two", "7.1", "MUST", chunked("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), "200", "\r\n\r\nhello", 0, false},
		{"a size in capitals", "7.1", "MUST", chunked("A\r\n0123456789\r\n0\r\n\r\n"), "200", "\r\n\r\n0123456789", 0, false},
		{"zeros before a size", "7.1", "MUST", chunked("0005\r\nhello\r\n000\r\n\r\n"), "200", "\r\n\r\nhello", 0, false},
		{"an extension", "7.1.1", "MUST", chunked("5;a=b\r\nhello\r\n0;c\r\n\r\n"), "200", "\r\n\r\nhello|!a=b", 0, false},
		{"a quoted extension", "7.1.1", "MUST", chunked("5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n"), "200", "\r\n\r\nhello", 0, false},
		{"trailer fields", "7.1.2", "MUST", chunked("5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), "200", "\r\n\r\nhello|X-Sum: 1", 0, false},
		{"a length as a trailer field", "9110 6.5.1", "MUST", chunked("5\r\nhello\r\n0\r\nContent-Length: 1\r\n\r\n"), "200", "\r\n\r\nhello|!Content-Length", 0, false},
		{"a coding as a trailer field", "9110 6.5.1", "MAY", chunked("5\r\nhello\r\n0\r\nTransfer-Encoding: x\r\n\r\n"), "400", "", 0, false},
		{"credentials as a trailer field", "9110 6.5.1", "MUST", chunked("5\r\nhello\r\n0\r\nAuthorization: x\r\n\r\n"), "200", "\r\n\r\nhello|!Authorization", 0, false},
		{"a Host as a trailer field", "9110 6.5.1", "MUST", chunked("5\r\nhello\r\n0\r\nHost: x\r\n\r\n"), "200", "\r\n\r\nhello|!Host: x", 0, false},
	}
	bad := map[string]string{
		"no size": "\r\nhello\r\n0\r\n\r\n", "a sign": "+5\r\nhello\r\n0\r\n\r\n", "a minus": "-5\r\nhello\r\n0\r\n\r\n", "0x": "0x5\r\nhello\r\n0\r\n\r\n",
		"no number": "g\r\nhello\r\n0\r\n\r\n", "a space before": " 5\r\nhello\r\n0\r\n\r\n", "a space behind": "5 \r\nhello\r\n0\r\n\r\n", "a tab behind": "5\t\r\nhello\r\n0\r\n\r\n",
		"a space before the extension": "5 ;a\r\nhello\r\n0\r\n\r\n", "17 digits": "10000000000000005\r\nhello\r\n0\r\n\r\n", "16 digits": "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
		"a bare LF": "5\nhello\r\n0\r\n\r\n", "a bare LF behind the data": "5\r\nhello\n0\r\n\r\n", "a bare LF in an extension": "5;a\nb\r\nhello\r\n0\r\n\r\n", "a bare CR in an extension": "5;a\rb\r\nhello\r\n0\r\n\r\n",
		"a NUL in an extension": "5;a\x00\r\nhello\r\n0\r\n\r\n", "data that are longer": "4\r\nhello\r\n0\r\n\r\n", "data that are shorter": "6\r\nhello\r\n0\r\n\r\n", "no end of data": "5\r\nhello0\r\n\r\n",
		"a long extension": "5;" + strings.Repeat("a", 300) + "\r\nhello\r\n0\r\n\r\n", "a comma": "5,5\r\nhello\r\n0\r\n\r\n", "a quote": "\"5\"\r\nhello\r\n0\r\n\r\n", "an underscore": "1_0\r\nhello\r\n0\r\n\r\n",
		"a trailer without a colon": "5\r\nhello\r\n0\r\nX\r\n\r\n", "a trailer with white space": "5\r\nhello\r\n0\r\nX : y\r\n\r\n", "a folded trailer": "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n", "a trailer with a bare LF": "5\r\nhello\r\n0\r\nX: y\n\r\n",
		"a bare LF at the end": "5\r\nhello\r\n0\n\r\n", "a bare LF as the end": "5\r\nhello\r\n0\r\n\n",
	}
	for name, content := range bad {
		list = append(list, request{name, "7.1", "MUST", chunked(content), "400", "", 0, false})
	}
	return list
}

func connections() []request {
	drops := func(name, field string) request {
		return request{name, "9110 7.6.1", "MUST", head(field), "200", "!" + strings.SplitN(field, ":", 2)[0] + ":", 0, false}
	}
	return []request{
		drops("Keep-Alive", "Keep-Alive: timeout=5"), drops("Proxy-Connection", "Proxy-Connection: keep-alive"), drops("Upgrade without Connection", "Upgrade: websocket"),
		drops("X-Real-IP of a stranger", "X-Real-IP: 192.0.2.9"), drops("X-Consumer-Username of a stranger", "X-Consumer-Username: admin"), drops("X_Real_IP", "X_Real_IP: 192.0.2.9"),
		drops("X-Envoy-External-Address", "X-Envoy-External-Address: 192.0.2.9"), drops("Client-Cert", "Client-Cert: :x:"),
		{"named fields", "9110 7.6.1", "MUST", head("Connection: X-Hop", "X-Hop: 1", "X-End: 2"), "200", "X-End: 2|!X-Hop", 0, false},
		{"named fields in another case", "9110 7.6.1", "MUST", head("Connection: x-hop", "X-HOP: 1"), "200", "!X-HOP", 0, false},
		{"a length that is named", "9110 7.6.1", "MUST", post("hello", "Connection: Content-Length", "Content-Length: 5"), "200", "Content-Length: 5|\r\n\r\nhello", 0, false},
		{"a Host that is named", "9110 7.6.1", "MUST", head("Connection: Host"), "200", "Host: a.example", 0, false},
		{"credentials that are named", "9110 7.6.1", "MUST", head("Connection: Authorization", "Authorization: x"), "200", "Authorization: x", 0, false},
		{"X-Forwarded-For that is named", "9110 7.6.1", "MUST", head("Connection: X-Forwarded-For"), "200", "X-Forwarded-For: 127.0.0.1", 0, false},
		{"no token", "9110 7.6.1", "MUST", head("Connection: a b"), "400", "", 0, false},
		{"TE without trailers", "9110 10.1.4", "MUST", head("TE: gzip"), "200", "!gzip", 0, false},
		{"TE: trailers", "9110 10.1.4", "MUST", head("TE: trailers, gzip"), "200", "TE: trailers|!gzip", 0, false},
		{"h2c", "9113 3.1", "MUST", head("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), "200", "!h2c|!HTTP2-Settings", 0, false},
		{"X-Forwarded-For of a stranger", "7239 8.1", "-", head("X-Forwarded-For: 192.0.2.9"), "200", "X-Forwarded-For: 127.0.0.1|!192.0.2.9", 0, false},
		{"X_Forwarded_For", "-", "-", head("X_Forwarded_For: 192.0.2.9"), "200", "!192.0.2.9", 0, false},
		{"Forwarded of a stranger", "7239 8.1", "-", head("Forwarded: for=192.0.2.9"), "200", "!192.0.2.9", 0, false},
		{"Via", "9110 7.6.3", "MUST", head("Via: 1.0 other"), "200", "Via: 1.0 other|penstock", 0, false},
		{"Expect", "9110 10.1.1", "MUST", head("Expect: something"), "417", "", 0, false},
		{"100-continue", "9110 10.1.1", "MUST", post("hello", "Expect: 100-continue", "Content-Length: 5"), "200", "\r\n\r\nhello", 0, false},
		{"Connection: close", "9.6", "MUST", head("Connection: close") + head(), "200", "", 1, false},
		{"three at once", "9.3.2", "MUST", head() + post("hello", "Content-Length: 5") + head(), "200", "", 3, false},
		{"three at once, chunked", "9.3.2", "MUST", post("5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked") + post("1\r\nx\r\n0\r\n\r\n", "Transfer-Encoding: chunked") + head(), "200", "", 3, false},
		{"HTTP/1.0", "9.3", "MUST", strings.Replace(head(), "1.1", "1.0", 1) + head(), "200", "", 1, false},
		{"HTTP/1.0 that stays", "9.3", "MAY", strings.Replace(head("Connection: keep-alive"), "1.1", "1.0", 1) + head(), "200", "", 2, false},
		{"an empty line between", "2.2", "SHOULD", post("hello", "Content-Length: 5") + "\r\n" + head(), "200", "", 2, false},
		{"a cut head", "8", "MUST", "GET /x HTTP/1.1\r\nHost: a.exam", "cut", "", 0, false},
	}
}

// TestAsterisk: OPTIONS * is about the proxy, which answers it (RFC 9110, 9.3.7).
func TestAsterisk(t *testing.T) {
	b := start(t)
	a := b.send(t, line("OPTIONS * HTTP/1.1")+head())
	if seen, _ := b.origin.Requests(); len(a.status) != 2 || a.status[0] != "200" || !strings.Contains(a.raw, "Allow: ") || len(seen) != 1 {
		t.Errorf("got %q, %d requests at the origin; want 200 with Allow, and one request behind it", a.raw, len(seen))
	}
}

// TestRequests sends each, and a request that would be smuggled behind what is
// refused.
func TestRequests(t *testing.T) {
	b := start(t)
	var report strings.Builder
	total := 0
	for _, group := range []struct {
		name string
		list []request
	}{
		{"request line", requestLines()}, {"field", fields()}, {"Host", hosts()}, {"Content-Length", lengths()},
		{"Transfer-Encoding", codings()}, {"chunk", chunks()}, {"connection", connections()}, {"CONNECT", connects()},
	} {
		for _, r := range group.list {
			total++
			t.Run(group.name+"/"+r.name, func(t *testing.T) { b.check(t, r) })
			fmt.Fprintf(&report, "%s\t%s\t%s\t%s\t%s\n", group.name, r.name, r.section, r.level, r.status)
		}
	}
	t.Logf("%d requests", total)
	if path := os.Getenv("PENSTOCK_REPORT"); path != "" {
		if err := os.WriteFile(path, []byte(report.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
}

func (b *bed) check(t *testing.T, r request) {
	b.origin.Reset(nil)
	raw := r.raw
	refused := r.status != "200"
	if refused && r.status != "cut" {
		raw += smuggled
	}
	a := b.send(t, raw)
	seen, broken := b.origin.Requests()
	if len(broken) > 0 {
		t.Fatalf("the origin got what is no request: %q", broken)
	}
	for _, s := range seen {
		if strings.Contains(s, "/smuggled") && !r.open {
			t.Fatalf("a request was smuggled: %q", seen)
		}
	}
	switch {
	case r.status == "cut":
		if len(seen) > 0 {
			t.Errorf("the origin got %q; want nothing", seen)
		}
		return
	case r.open && r.status == "": // either is right, as long as nothing is smuggled
		if len(a.status) == 0 {
			t.Errorf("no answer: %q", a.raw)
		}
		if len(a.status) == 1 && a.status[0] != "200" && len(seen) > 0 {
			t.Errorf("got %v, and %q reached the origin", a.status, seen)
		}
		return
	case len(a.status) == 0:
		t.Fatalf("no answer: %q; want %s", a.raw, r.status)
	case r.status == "refused" && a.status[0][0] == '4' || r.status == "refused" && a.status[0] == "501":
	case a.status[0] != r.status:
		t.Fatalf("got %v; want %s (origin: %q)", a.status, r.status, seen)
	}
	if refused {
		if !a.closed || len(a.status) > 1 {
			t.Errorf("got %v, closed: %v; want one answer and the end", a.status, a.closed)
		}
		for _, s := range seen { // a body that turns out bad may have begun to leave: never as a whole request
			t.Errorf("the origin got a whole request: %q", s)
		}
		return
	}
	if want := max(r.answers, 1); len(a.status) != want || len(seen) != want {
		t.Fatalf("got %v, %d requests at the origin; want %d", a.status, len(seen), want)
	}
	for _, part := range strings.Split(r.has, "|") {
		if not, ok := strings.CutPrefix(part, "!"); ok {
			if strings.Contains(strings.ToLower(seen[0]), strings.ToLower(not)) {
				t.Errorf("the origin got %q; want no %q", seen[0], not)
			}
		} else if !strings.Contains(seen[0], part) {
			t.Errorf("the origin got %q; want %q in it", seen[0], part)
		}
	}
}
