package poison

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"penstock.dev/penstock/conformance/harness"
)

// asked is a request as the origin got it.
type asked struct {
	*http.Request
	body string
	n    int // which one it is since the row began, from 1
}

// origin answers with bytes: those that the row wants.
type origin struct {
	port int

	mu     sync.Mutex
	n      int
	answer func(*asked) string
}

func newOrigin(t *testing.T) *origin {
	o := &origin{}
	o.port = harness.UpstreamTCP(t, o.serve)
	return o
}

// reset begins a row; nil: mirror.
func (o *origin) reset(answer func(*asked) string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if answer == nil {
		answer = mirror
	}
	o.n, o.answer = 0, answer
}

func (o *origin) serve(c *net.TCPConn) {
	r := bufio.NewReader(c)
	for {
		q, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return
		}
		o.mu.Lock()
		o.n++
		a := &asked{q, string(body), o.n}
		answer := o.answer
		o.mu.Unlock()
		text, closes := strings.CutSuffix(answer(a), "<close>")
		if _, err := io.WriteString(c, text); err != nil || closes {
			return
		}
	}
}

// count returns how often the origin was asked since the row began.
func (o *origin) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.n
}

// answer is a response with this status line's rest, fields and body.
func answer(status, fields, body string) string {
	if fields != "" {
		fields = strings.ReplaceAll(strings.TrimSuffix(fields, "\n"), "\n", "\r\n") + "\r\n"
	}
	return fmt.Sprintf("HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s", status, fields, len(body), body)
}

// fresh is what every cache may keep for a minute.
func fresh(fields, body string) string {
	return answer("200 OK", "Cache-Control: max-age=60\n"+fields, body)
}

// mirror answers with all that it was asked, to be kept for a minute.
func mirror(a *asked) string { return fresh("", shown(a)) }

func shown(a *asked) string {
	var b strings.Builder
	fmt.Fprintf(&b, "M=%s T=%s H=%s ", a.Method, a.RequestURI, a.Host)
	for name, values := range a.Header {
		fmt.Fprintf(&b, "%s=%q ", name, values)
	}
	return b.String() + a.body
}

// first answers the first request with one text and all others with another.
func first(one, others string) func(*asked) string {
	return func(a *asked) string {
		if a.n == 1 {
			return one
		}
		return others
	}
}

// good is what a victim may get.
var good = fresh("", "good")

// bed is a proxy with caches before the origin.
type bed struct {
	*harness.Proxy
	t      *testing.T
	origin *origin
	secure int
	rows   int
}

// services are those that most rows use, with their annotations.
var services = map[string]string{
	"plain": "- cache",
	"ttl":   "- use: cache\n  config: {ttl: 60s}",
	"deny":  "- use: cache\n  config: {key: {query: {deny: [utm, _method]}}}",
	"allow": "- use: cache\n  config: {key: {query: {allow: [id]}}}",
	"none":  "- use: cache\n  config: {key: {query: {none: true}}}",
}

func start(t *testing.T, files map[string]string, args ...string) *bed {
	t.Helper()
	o, secure := newOrigin(t), harness.FreePort(t)
	gateway := strings.Replace(harness.GatewayFor(1), "{name: http, protocol: HTTP, port: ${PORT}}", fmt.Sprintf(`
    {name: http, protocol: HTTP, port: ${PORT}, allowedRoutes: {namespaces: {from: All}}},
    {name: https, protocol: HTTPS, port: %d, tls: {certificateRefs: [{name: cert}]}, allowedRoutes: {namespaces: {from: All}}}`, secure), 1)
	certificate, _ := harness.Secret(t, "cert", "shop.example")
	all := map[string]string{"gateway.yaml": gateway, "cert.yaml": certificate}
	for name, annotation := range services {
		all[name+".yaml"] = harness.Service(name, annotation, o.port)
	}
	for name, text := range files {
		all[name] = strings.ReplaceAll(text, "${ORIGIN}", fmt.Sprint(o.port))
	}
	b := &bed{t: t, origin: o, secure: secure}
	b.Proxy = harness.Start(t, harness.Options{Files: all, Images: []string{harness.BundledPlugins(t)}, Args: append([]string{"--access-log", "off"}, args...)})
	b.Eventually("the UDP port is bound", func() bool { return strings.Contains(b.Log(), "listening for HTTP/3") })
	return b
}

// place returns a path of its own for a row behind a Service.
func (b *bed) place(service string) string {
	b.rows++
	return fmt.Sprintf("/%s/r%d", service, b.rows)
}

// got is what a client got.
type got struct {
	status int
	header http.Header
	body   string
	whole  bool
}

func (g got) String() string {
	return fmt.Sprintf("%d %v whole=%v %.300q", g.status, g.header, g.whole, g.body)
}

// evil reports whether what the attacker caused is in it.
func (g got) evil() bool { return strings.Contains(strings.ToLower(g.String()), "evil") }

// request is the text of a GET.
func request(target string, fields ...string) string {
	return "GET " + target + " HTTP/1.1\nHost: shop.example\n" + strings.Join(append(fields, "", ""), "\n")
}

// raw sends a request as it is, but for its line ends, and returns the last of so many
// answers.
func (b *bed) raw(t *testing.T, text string, answers int) got {
	t.Helper()
	return b.from(t, "127.0.0.1", text, answers)
}

// from is raw from an address of its own.
func (b *bed) from(t *testing.T, address, text string, answers int) got {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	c, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	go func() { _, _ = io.WriteString(c, strings.ReplaceAll(text, "\n", "\r\n")) }() // it may be refused before its end
	method, _, _ := strings.Cut(text, " ")
	r := bufio.NewReader(c)
	var g got
	for range answers {
		response, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return got{}
		}
		g = read(response)
	}
	return g
}

func read(r *http.Response) got {
	body, err := io.ReadAll(r.Body)
	r.Body.Close()
	for name, values := range r.Trailer {
		r.Header[name] = append(r.Header[name], values...)
	}
	return got{r.StatusCode, r.Header, string(body), err == nil}
}

// versions are the ways to send a GET with these fields.
func (b *bed) versions() map[string]func(t *testing.T, target string, fields [][2]string) got {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", b.secure))
	}
	config := &tls.Config{ServerName: "shop.example", InsecureSkipVerify: true}
	p := new(http.Protocols)
	p.SetHTTP2(true)
	h2 := &http.Transport{Protocols: p, TLSClientConfig: config, DialContext: dial, DisableCompression: true}
	h3 := &http3.Transport{TLSClientConfig: config, DisableCompression: true, Dial: func(ctx context.Context, _ string, tc *tls.Config, qc *quic.Config) (*quic.Conn, error) {
		return quic.DialAddr(ctx, fmt.Sprintf("127.0.0.1:%d", b.secure), tc, qc)
	}}
	b.t.Cleanup(func() {
		h2.CloseIdleConnections()
		h3.Close()
	})
	over := func(tr http.RoundTripper) func(*testing.T, string, [][2]string) got {
		return func(t *testing.T, target string, fields [][2]string) got {
			t.Helper()
			q, err := http.NewRequest("GET", "https://shop.example"+target, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range fields {
				q.Header[f[0]] = append(q.Header[f[0]], f[1])
			}
			r, err := tr.RoundTrip(q)
			if err != nil { // it was refused
				return got{}
			}
			return read(r)
		}
	}
	return map[string]func(*testing.T, string, [][2]string) got{
		"HTTP/1.1": func(t *testing.T, target string, fields [][2]string) got {
			t.Helper()
			var lines []string
			for _, f := range fields {
				lines = append(lines, f[0]+": "+f[1])
			}
			return b.raw(t, request(target, lines...), 1)
		},
		"HTTP/2": over(h2),
		"HTTP/3": over(h3),
	}
}
