package h1

import (
	"strings"
	"testing"

	"penstock.dev/penstock/core/exchange"
)

func TestBadRequestsAreRefusedAndTheConnectionClosed(t *testing.T) {
	const host = "Host: a\r\n"
	tests := map[string]struct {
		raw  string
		want string // status and reason
	}{
		"both lengths":                          {"POST / HTTP/1.1\r\n" + host + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 length-and-transfer-encoding"},
		"both lengths, the other order":         {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "400 length-and-transfer-encoding"},
		"two different lengths":                 {"POST / HTTP/1.1\r\n" + host + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "400 content-length"},
		"two equal lengths":                     {"POST / HTTP/1.1\r\n" + host + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "400 content-length"},
		"a list of equal lengths":               {"POST / HTTP/1.1\r\n" + host + "Content-Length: 5, 5\r\n\r\nhello", "400 content-length"},
		"a length with a sign":                  {"POST / HTTP/1.1\r\n" + host + "Content-Length: +5\r\n\r\nhello", "400 content-length"},
		"a negative length":                     {"POST / HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\nhello", "400 content-length"},
		"a hexadecimal length":                  {"POST / HTTP/1.1\r\n" + host + "Content-Length: 0x5\r\n\r\nhello", "400 content-length"},
		"an empty length":                       {"POST / HTTP/1.1\r\n" + host + "Content-Length:\r\n\r\n", "400 content-length"},
		"a huge length":                         {"POST / HTTP/1.1\r\n" + host + "Content-Length: 99999999999999999999\r\n\r\n", "400 content-length"},
		"an unknown coding":                     {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\n\r\n", "501 unknown-transfer-encoding"},
		"identity coding":                       {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: identity\r\n\r\n", "501 unknown-transfer-encoding"},
		"a coding before chunked":               {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n", "501 unknown-transfer-encoding"},
		"chunked twice in a list":               {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked, chunked\r\n\r\n", "400 transfer-encoding"},
		"chunked twice in two fields":           {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "400 transfer-encoding"},
		"chunked not last":                      {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked, gzip\r\n\r\n", "400 transfer-encoding"},
		"chunked with a parameter":              {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked;q=1\r\n\r\n", "400 transfer-encoding"},
		"an empty coding":                       {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding:\r\n\r\n", "400 transfer-encoding"},
		"chunked after a vertical tab":          {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: \x0bchunked\r\n\r\n", "400 field-value"},
		"chunked in HTTP/1.0":                   {"POST / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 transfer-encoding"},
		"a space before the colon":              {"GET / HTTP/1.1\r\n" + host + "Content-Length : 5\r\n\r\nhello", "400 field-name"},
		"a tab before the colon":                {"GET / HTTP/1.1\r\n" + host + "X\t: 5\r\n\r\n", "400 field-name"},
		"a folded line":                         {"GET / HTTP/1.1\r\n" + host + "X: a\r\n b\r\n\r\n", "400 folded-line"},
		"a folded first line":                   {"GET / HTTP/1.1\r\n X: a\r\n" + host + "\r\n", "400 folded-line"},
		"a line without a colon":                {"GET / HTTP/1.1\r\n" + host + "nocolon\r\n\r\n", "400 field-name"},
		"an empty name":                         {"GET / HTTP/1.1\r\n" + host + ": v\r\n\r\n", "400 field-name"},
		"a bare LF after a field":               {"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", "400 line-end"},
		"a bare LF after the request line":      {"GET / HTTP/1.1\nHost: a\r\n\r\n", "400 line-end"},
		"a bare LF at the end":                  {"GET / HTTP/1.1\r\nHost: a\r\n\n", "400 line-end"},
		"a bare CR in a value":                  {"GET / HTTP/1.1\r\n" + host + "X: a\rb\r\n\r\n", "400 field-value"},
		"a bare CR before the end of a line":    {"GET / HTTP/1.1\r\n" + host + "X: a\r\r\n\r\n", "400 field-value"},
		"a bare CR at a line's start":           {"GET / HTTP/1.1\r\n" + host + "\rX: a\r\n\r\n", "400 line-end"},
		"NUL in a value":                        {"GET / HTTP/1.1\r\n" + host + "X: a\x00b\r\n\r\n", "400 field-value"},
		"NUL in a name":                         {"GET / HTTP/1.1\r\n" + host + "X\x00: a\r\n\r\n", "400 field-name"},
		"DEL in a value":                        {"GET / HTTP/1.1\r\n" + host + "X: aaaaaaaaaaaaaaaa\x7f\r\n\r\n", "400 field-value"},
		"a name beyond ASCII":                   {"GET / HTTP/1.1\r\n" + host + "X\xff: a\r\n\r\n", "400 field-name"},
		"no Host":                               {"GET / HTTP/1.1\r\n\r\n", "400 host"},
		"two Hosts":                             {"GET / HTTP/1.1\r\n" + host + host + "\r\n", "400 host"},
		"two Hosts in HTTP/1.0":                 {"GET / HTTP/1.0\r\n" + host + host + "\r\n", "400 host"},
		"an empty Host":                         {"GET / HTTP/1.1\r\nHost:\r\n\r\n", "400 host"},
		"Host with a path":                      {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400 host"},
		"Host with user information":            {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400 host"},
		"Host with a space":                     {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400 host"},
		"Host with a port that is no number":    {"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "400 host"},
		"Host with a large port":                {"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", "400 host"},
		"Host with two ports":                   {"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", "400 host"},
		"Host that is a port":                   {"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", "400 host"},
		"Host with a bad IPv6 address":          {"GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n", "400 host"},
		"Host with a zone":                      {"GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", "400 host"},
		"a target with user information":        {"GET http://u:p@a/ HTTP/1.1\r\n" + host + "\r\n", "400 target"},
		"an absolute target without a hostname": {"GET http:///x HTTP/1.1\r\n" + host + "\r\n", "400 target"},
		"an absolute target of another scheme":  {"GET ftp://a/ HTTP/1.1\r\n" + host + "\r\n", "400 target"},
		"a target that is a hostname":           {"GET a.example HTTP/1.1\r\n" + host + "\r\n", "400 target"},
		"a target with a fragment":              {"GET /a#b HTTP/1.1\r\n" + host + "\r\n", "400 target"},
		"a target beyond ASCII":                 {"GET /\xc3\xa4 HTTP/1.1\r\n" + host + "\r\n", "400 target"},
		"a path with a broken escape":           {"GET /a%2 HTTP/1.1\r\n" + host + "\r\n", "400 target"},
		"asterisk with GET":                     {"GET * HTTP/1.1\r\n" + host + "\r\n", "400 target"},
		"CONNECT in HTTP/1.0":                   {"CONNECT a:443 HTTP/1.0\r\nHost: a:443\r\n\r\n", "501 connect"},
		"CONNECT without a port":                {"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
		"CONNECT with an empty port":            {"CONNECT a: HTTP/1.1\r\nHost: a:\r\n\r\n", "400 target"},
		"CONNECT with port 0":                   {"CONNECT a:0 HTTP/1.1\r\nHost: a:0\r\n\r\n", "400 target"},
		"CONNECT with a large port":             {"CONNECT a:65536 HTTP/1.1\r\nHost: a:65536\r\n\r\n", "400 target"},
		"CONNECT without a hostname":            {"CONNECT :443 HTTP/1.1\r\nHost: :443\r\n\r\n", "400 target"},
		"CONNECT with user information":         {"CONNECT u@a:443 HTTP/1.1\r\nHost: u@a:443\r\n\r\n", "400 target"},
		"CONNECT with a path":                   {"CONNECT a:443/ HTTP/1.1\r\nHost: a:443\r\n\r\n", "400 target"},
		"CONNECT in origin-form":                {"CONNECT / HTTP/1.1\r\nHost: a:443\r\n\r\n", "400 target"},
		"CONNECT in absolute-form":              {"CONNECT http://a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "400 target"},
		"CONNECT with the asterisk":             {"CONNECT * HTTP/1.1\r\nHost: a:443\r\n\r\n", "400 target"},
		"CONNECT without Host":                  {"CONNECT a:443 HTTP/1.1\r\n\r\n", "400 host"},
		"CONNECT with two Hosts":                {"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nHost: a:443\r\n\r\n", "400 host"},
		"CONNECT with another Host":             {"CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", "400 host"},
		"CONNECT with another port in Host":     {"CONNECT a:443 HTTP/1.1\r\nHost: a:80\r\n\r\n", "400 host"},
		"CONNECT with no port in Host":          {"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", "400 host"},
		"CONNECT with a length":                 {"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 5\r\n\r\nhello", "400 connect-content"},
		"CONNECT with a length of 0":            {"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 0\r\n\r\n", "400 connect-content"},
		"CONNECT with chunks":                   {"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 connect-content"},
		"GET in authority-form":                 {"GET a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "400 target"},
		"the preface of HTTP/2":                 {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 version"},
		"HTTP/1.2":                              {"GET / HTTP/1.2\r\n" + host + "\r\n", "505 version"},
		"HTTP/0.9":                              {"GET /\r\n", "400 target"},
		"a version in lower case":               {"GET / http/1.1\r\n" + host + "\r\n", "400 start-line"},
		"garbage after the version":             {"GET / HTTP/1.1 x\r\n" + host + "\r\n", "400 start-line"},
		"two spaces after the method":           {"GET  / HTTP/1.1\r\n" + host + "\r\n", "400 target"},
		"two spaces before the version":         {"GET /  HTTP/1.1\r\n" + host + "\r\n", "400 start-line"},
		"a tab in the request line":             {"GET\t/ HTTP/1.1\r\n" + host + "\r\n", "400 method"},
		"a space before the method":             {" GET / HTTP/1.1\r\n" + host + "\r\n", "400 method"},
		"a bad method":                          {"G(T / HTTP/1.1\r\n" + host + "\r\n", "400 method"},
		"two empty lines before the request":    {"\r\n\r\nGET / HTTP/1.1\r\n" + host + "\r\n", "400 method"},
		"a TLS handshake":                       {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400 start-line"},
		"a Connection option that is no token":  {"GET / HTTP/1.1\r\n" + host + "Connection: a b\r\n\r\n", "400 connection-field"},
		"an unknown expectation":                {"GET / HTTP/1.1\r\n" + host + "Expect: wonders\r\n\r\n", "417 expect"},
		"a request line that is too long":       {"GET /" + strings.Repeat("a", 9000) + " HTTP/1.1\r\n" + host + "\r\n", "414 line-too-long"},
		"a request line without end":            {"GET /" + strings.Repeat("a", 20000), "414 line-too-long"},
		"a field that is too large":             {"GET / HTTP/1.1\r\n" + host + "X: " + strings.Repeat("a", 66000) + "\r\n\r\n", "431 fields-too-large"},
		"a field without end":                   {"GET / HTTP/1.1\r\n" + host + "X: " + strings.Repeat("a", 140000), "431 fields-too-large"},
		"fields that are too large together":    {"GET / HTTP/1.1\r\n" + host + strings.Repeat("X: "+strings.Repeat("a", 1000)+"\r\n", 70) + "\r\n", "431 fields-too-large"},
		"too many fields":                       {"GET / HTTP/1.1\r\n" + host + strings.Repeat("X: a\r\n", 100) + "\r\n", "431 too-many-fields"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ts := newTestServer(t, params(), func(x *exchange.Exchange) { t.Errorf("accepted"); describe(x) })
			got := ts.roundTrip(t, test.raw)
			if r := ts.rejected.String(); r != test.want {
				t.Errorf("refused for %q; want %q", r, test.want)
			}
			if !strings.HasPrefix(got, "HTTP/1.1 "+test.want[:3]+" ") || strings.Count(got, "HTTP/1.1") != 1 {
				t.Errorf("answer %q; want one %s", got, test.want[:3])
			}
			if !strings.Contains(got, "\r\nConnection: close\r\n") {
				t.Errorf("answer %q does not say that the connection closes", got)
			}
		})
	}
}
