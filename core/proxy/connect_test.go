package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
)

// forwardProxy opens a tunnel to itself, says what it was asked, and echoes.
func forwardProxy(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer nc.Close()
	fmt.Fprintf(rw, "HTTP/1.1 200 Connection established\r\nGot-Target: %s\r\nGot-Host: %s\r\nGot-Set: %s\r\nGot-Proto: %s\r\n\r\n",
		r.RequestURI, r.Host, r.Header.Get("X-Set"), r.Header.Get("X-Forwarded-Proto"))
	rw.Flush()
	io.Copy(nc, rw)
}

// TestConnect: a CONNECT goes where a match names it, and nowhere else.
func TestConnect(t *testing.T) {
	b := newBed(t)
	method := func(r *config.Rule, hostname string) (string, *config.Rule) {
		for i := range r.Matches {
			r.Matches[i].Method = "CONNECT"
		}
		return hostname, r
	}
	byHost := map[string]*config.Rule{"plain.example": rule("plain", "/", "up")}
	add := func(hostname string, r *config.Rule) { byHost[hostname] = r }
	add(method(rule("tunnel", "/", "up"), "*.tunnel.example"))
	add(method(rule("below", "/a", "up"), "below.example"))
	rewritten := rule("rewritten", "/", "up")
	rewritten.Steps = []config.Step{{Rewrite: &config.Rewrite{Hostname: "inner.example", Path: &config.PathModifier{IsFull: true, Full: "/x"}}}}
	rewritten.Steps = append(rewritten.Steps, config.Step{Request: &config.HeaderModifier{Set: []config.HeaderValue{{Name: "X-Set", Value: "s"}}}})
	add(method(rewritten, "rewritten.example"))
	moved := rule("moved", "/", "up")
	moved.Redirect = &config.Redirect{Scheme: "https", Status: 301}
	add(method(moved, "moved.example"))
	add(method(rule("nothing", "/", ""), "nothing.example"))
	byHost["nothing.example"].Backends[0].Status = 500
	header := rule("header", "/", "up")
	header.Matches[0].Headers = []config.ValueMatch{{Name: "x-user", Value: "a"}}
	add(method(header, "header.example"))

	c := newConfig(b.port)
	entries := &c.Gateways[0].Listeners[0].Routes.Entries
	*entries = nil
	for hostname, r := range byHost {
		route := &config.Route{Object: config.Object{Kind: "HTTPRoute", Namespace: "ns", Name: r.Name}, Rules: []*config.Rule{r}}
		*entries = append(*entries, &config.RouteEntry{Route: route, Hostnames: []string{hostname}})
	}
	service(t, c, "up", forwardProxy)
	if err := b.store.Apply(c); err != nil {
		t.Fatal(err)
	}

	tests := map[string]struct{ target, fields, status, has string }{
		"a match names it":          {"a.tunnel.example:443", "", "200", "Got-Target: a.tunnel.example:443|Got-Host: a.tunnel.example:443|Got-Proto: http"},
		"in capitals":               {"A.Tunnel.Example:443", "", "200", "Got-Target: A.Tunnel.Example:443"},
		"another port":              {"a.tunnel.example:22", "", "200", "Got-Target: a.tunnel.example:22"},
		"the hostname is rewritten": {"rewritten.example:443", "", "200", "Got-Target: inner.example:443|Got-Host: inner.example:443|Got-Set: s"},
		"a header matches":          {"header.example:1", "X-User: a\r\n", "200", ""},
		"a header does not match":   {"header.example:1", "X-User: b\r\n", "501", ""},
		"no match names it":         {"plain.example:443", "", "501", ""},
		"a match with a path":       {"below.example:443", "", "501", ""},
		"a redirect":                {"moved.example:443", "", "501", ""},
		"no backend":                {"nothing.example:443", "", "500", ""},
		"no route":                  {"other.example:443", "", "501", ""},
		"a 501 whatever is asked":   {"other.example:443", "Content-Type: application/grpc\r\n", "501", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			fmt.Fprintf(nc, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\nGET / HTTP/1.1\r\n\r\n", test.target, strings.ToLower(test.target), test.fields)
			nc.(*net.TCPConn).CloseWrite()
			r := bufio.NewReader(nc)
			head := ""
			for !strings.HasSuffix(head, "\r\n\r\n") {
				line, err := r.ReadString('\n')
				if err != nil {
					t.Fatalf("got %q, %v", head, err)
				}
				head += line
			}
			rest, err := io.ReadAll(r)
			if err != nil || !strings.HasPrefix(head, "HTTP/1.1 "+test.status+" ") {
				t.Fatalf("got %q, %v; want %s", head, err, test.status)
			}
			if tunnel := string(rest) == "GET / HTTP/1.1\r\n\r\n"; tunnel != (test.status == "200") {
				t.Errorf("what follows is %q", rest)
			}
			for _, line := range strings.Split(test.has, "|") {
				if !strings.Contains(head, line) {
					t.Errorf("got %q; want %q in it", head, line)
				}
			}
		})
	}
	if r, _ := b.do(t, "GET", "/", "", http.Header{"Host": {"a.tunnel.example"}}); r.StatusCode != 404 {
		t.Errorf("GET: got %d; want 404 where all matches are for CONNECT", r.StatusCode)
	}
}
