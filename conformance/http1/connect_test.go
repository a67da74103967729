package http1

import (
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// tunnels is a route for CONNECT to tunnel.example, beside that of all else.
const tunnels = `
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: tunnels}
spec:
  parentRefs: [{name: edge}]
  hostnames: [tunnel.example]
  rules:
    - matches: [{method: CONNECT}]
      backendRefs: [{name: a, port: 80}]
`

// connect makes a CONNECT to a target, with Host and these field lines.
func connect(target, host string, lines ...string) string {
	return "CONNECT " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

func connects() []request {
	const there = "tunnel.example:443"
	to := func(target string) string { return connect(target, target) }
	list := []request{
		{"the usual", "3.2.3", "MUST", to(there), "200", "CONNECT tunnel.example:443 HTTP/1.1|Host: tunnel.example:443", 0, false},
		{"capitals", "9110 4.2.3", "MUST", connect("Tunnel.EXAMPLE:443", there), "200", "CONNECT Tunnel.EXAMPLE:443 HTTP/1.1|Host: Tunnel.EXAMPLE:443", 0, false},
		{"another port", "3.2.3", "MUST", to("tunnel.example:65535"), "200", "CONNECT tunnel.example:65535 HTTP/1.1", 0, false},
		{"what follows is the tunnel's", "9110 9.3.6", "MUST", to(there) + head(), "200", "CONNECT tunnel", 2, false},
		{"fields of the connection", "9110 7.6.1", "MUST", connect(there, there, "Connection: close, X-Hop", "X-Hop: 1", "Proxy-Connection: keep-alive", "Upgrade: websocket", "TE: trailers"), "200", "CONNECT tunnel|!X-Hop|!Connection|!Upgrade|!TE:", 0, false},
		{"credentials for the Service", "9110 11.7.2", "MUST", connect(there, there, "Proxy-Authorization: Basic eDp5"), "200", "Proxy-Authorization: Basic eDp5", 0, false},
		{"an expectation without content", "9110 10.1.1", "MUST", connect(there, there, "Expect: 100-continue"), "200", "CONNECT tunnel|!Expect", 0, false},
		{"no rule is for the hostname", "9110 9.3.6", "-", to("b.example:443"), "501", "", 0, false},
		{"no rule is for the address", "9110 9.3.6", "-", to("[::1]:443"), "501", "", 0, false},
		{"below the hostname", "9110 9.3.6", "-", to("x.tunnel.example:443"), "501", "", 0, false},
		{"a final dot", "9110 4.2.3", "-", to("tunnel.example.:443"), "200", "CONNECT tunnel.example.:443 HTTP/1.1", 0, false},
		{"HTTP/1.0", "9110 9.3.6", "MAY", strings.Replace(to(there), "1.1", "1.0", 1), "501", "", 0, false},
		{"HTTP/1.0 without Host", "9110 9.3.6", "MAY", "CONNECT tunnel.example:443 HTTP/1.0\r\n\r\n", "501", "", 0, false},
		{"no Host", "3.2", "MUST", "CONNECT tunnel.example:443 HTTP/1.1\r\n\r\n", "400", "", 0, false},
		{"two Hosts", "3.2", "MUST", connect(there, there, "Host: "+there), "400", "", 0, false},
		{"another Host", "3.2", "MUST", connect(there, "b.example:443"), "400", "", 0, false},
		{"another port in Host", "3.2", "MUST", connect(there, "tunnel.example:80"), "400", "", 0, false},
		{"no port in Host", "3.2", "MUST", connect(there, "tunnel.example"), "400", "", 0, false},
		{"an empty Host", "3.2", "MUST", connect(there, ""), "400", "", 0, false},
		{"a length", "9110 9.3.6", "-", connect(there, there, "Content-Length: 5") + "hello", "400", "", 0, false},
		{"a length of 0", "9110 9.3.6", "-", connect(there, there, "Content-Length: 0"), "400", "", 0, false},
		{"chunks", "9110 9.3.6", "-", connect(there, there, "Transfer-Encoding: chunked") + "0\r\n\r\n", "400", "", 0, false},
		{"a length and chunks", "6.3", "MUST", connect(there, there, "Content-Length: 5", "Transfer-Encoding: chunked") + "0\r\n\r\n", "400", "", 0, false},
		{"a length that is named", "9110 7.6.1", "MUST", connect(there, there, "Connection: Content-Length", "Content-Length: 5") + "hello", "400", "", 0, false},
	}
	for _, target := range []string{
		"tunnel.example", "tunnel.example:", "tunnel.example:0", "tunnel.example:65536", "tunnel.example:0443", "tunnel.example:443:443", "tunnel.example:x", "tunnel.example:-1",
		":443", "443", "/", "*", "/tunnel.example:443", "tunnel.example:443/", "tunnel.example:443/x", "tunnel.example:443?x", "http://tunnel.example:443", "//tunnel.example:443",
		"u@tunnel.example:443", "u:p@tunnel.example:443", "[::1", "::1:443", "[::1]", "[::g]:443", "[fe80::1%25e]:443", "tunnel.example:443,b.example:443", "tunnel%2eexample:443", "tunnel.example\\:443",
	} {
		list = append(list, request{"to " + target, "3.2.3", "MUST", connect(target, target), "400", "", 0, false})
	}
	return append(list, request{"GET in its form", "3.2.3", "MUST", strings.Replace(to(there), "CONNECT", "GET", 1), "400", "", 0, false},
		request{"OPTIONS in its form", "3.2.3", "MUST", strings.Replace(to(there), "CONNECT", "OPTIONS", 1), "400", "", 0, false},
		request{"in small letters", "9110 9.1", "MUST", strings.Replace(to(there), "CONNECT", "connect", 1), "400", "", 0, false})
}

// TestConnectRefused: where the Service opens no tunnel, what came behind the CONNECT
// is no request (RFC 9112, 9.3 and 11.2).
func TestConnectRefused(t *testing.T) {
	b := start(t)
	to := connect("tunnel.example:443", "tunnel.example:443")
	for answer, want := range map[string]string{
		"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno":                                                "403",
		"HTTP/1.1 407 Proxy Authentication Required\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n": "407",
		"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n":                                       "302",
		"HTTP/1.1 304 Not Modified\r\n\r\n":                                                                    "304",
		"HTTP/1.1 501 Not Implemented\r\nConnection: close\r\n\r\nno<close>":                                   "501",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n":                "502",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n":                           "502",
	} {
		for name, behind := range map[string]string{
			"a request": smuggled, "an empty line, a request": "\r\n" + smuggled, "a request behind content": "0\r\n\r\n" + smuggled,
			"another CONNECT": to + smuggled, "half a request": smuggled[:20], "nothing": "",
		} {
			t.Run(want+"/"+name, func(t *testing.T) {
				b.origin.Reset(func(string) string { return answer })
				a := b.send(t, to+behind)
				seen, broken := b.origin.Requests()
				if len(seen) != 1 || len(broken) > 0 || !strings.HasPrefix(seen[0], "CONNECT ") {
					t.Errorf("the origin got %q, %q; want the CONNECT alone", seen, broken)
				}
				if len(a.status) != 1 || a.status[0] != want || !a.closed || !strings.Contains(a.raw, "\r\nConnection: close\r\n") {
					t.Errorf("got %q, closed: %v; want %s, and the end", a.raw, a.closed, want)
				}
			})
		}
	}
}

// TestConnectOpens: whatever length a 2xx says, what follows it is the tunnel's
// (RFC 9110, 9.3.6).
func TestConnectOpens(t *testing.T) {
	b := start(t)
	to := connect("tunnel.example:443", "tunnel.example:443")
	for _, answer := range []string{
		harness.Fine, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nok", "HTTP/1.1 204 No Content\r\n\r\nok", "HTTP/1.0 200 Connection established\r\n\r\nok",
		"HTTP/1.1 299 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\nok", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\nok",
	} {
		b.origin.Reset(func(string) string { return answer })
		a := b.send(t, to)
		head, rest, _ := strings.Cut(strings.TrimPrefix(a.raw, "HTTP/1.1 103 Early Hints\r\n\r\n"), "\r\n\r\n")
		if len(a.status) != 1 || a.status[0][0] != '2' || a.closed || rest != "ok" || strings.Contains(head, "Length") || strings.Contains(head, "Transfer") || strings.Contains(head, "Connection") {
			t.Errorf("%q: got %q, closed: %v; want a tunnel", answer, a.raw, a.closed)
		}
	}
}
