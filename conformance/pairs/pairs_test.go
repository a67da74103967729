// Package pairs sends the same exchanges from a client of every protocol to an
// upstream of every protocol.
package pairs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"penstock.dev/penstock/conformance/harness"
)

// bed is a proxy with a plain and an encrypted listener, before an upstream of each
// kind, whose name is the first segment of the path.
type bed struct {
	*harness.Proxy
	t      *testing.T
	secure int // port
	pool   *x509.CertPool
	origin *origin
}

// origin does what the path asks, and says how requests ended.
type origin struct {
	mu    sync.Mutex
	ended map[string]chan error // by the value of X-Case
}

func (o *origin) end(name string) chan error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended[name] == nil {
		o.ended[name] = make(chan error, 1)
	}
	return o.ended[name]
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Proto", r.Proto)
	parts := strings.Split(r.URL.Path, "/")
	switch parts[len(parts)-1] {
	case "echo": // whole, then back
		body, err := io.ReadAll(r.Body)
		if err != nil {
			o.end(r.Header.Get("X-Case")) <- err
			return
		}
		h["X-Got"] = r.Header["X-Sent"]
		h.Set("X-Length", strconv.FormatInt(r.ContentLength, 10))
		h.Set("X-Sum", sum(body))
		h.Set("X-Got-Trailer", r.Trailer.Get("X-After"))
		if r.Method == http.MethodHead {
			h.Set("Content-Length", "12345")
			return
		}
		_, _ = w.Write(body)
	case "unknown": // a length that is not said, and trailers
		h.Set("Trailer", "X-After")
		w.WriteHeader(http.StatusOK)
		for i := range 20 {
			fmt.Fprintf(w, "part %d\n", i)
			_ = http.NewResponseController(w).Flush()
		}
		h.Set("X-After", "the end")
	case "both": // each line as it comes
		c := http.NewResponseController(w)
		_ = c.EnableFullDuplex()
		w.WriteHeader(http.StatusOK)
		_ = c.Flush()
		b := make([]byte, 100)
		for {
			n, err := r.Body.Read(b)
			_, _ = w.Write(bytes.ToUpper(b[:n]))
			_ = c.Flush()
			if err != nil {
				return
			}
		}
	case "early": // before the body was read
		h.Set("Connection", "close")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "no")
	case "cut":
		h.Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case "never":
		_, err := io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		o.end(r.Header.Get("X-Case")) <- errors.Join(err, r.Context().Err())
	case "silent": // after the head
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		o.end(r.Header.Get("X-Case")) <- r.Context().Err()
	case "hints":
		h.Set("Link", "</a>")
		w.WriteHeader(http.StatusEarlyHints)
		h.Del("Link")
		_, _ = io.WriteString(w, "after")
	default:
		w.WriteHeader(http.StatusTeapot)
	}
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// upstream starts a server of one protocol and returns its port.
func upstream(t *testing.T, h http.Handler, http2, secure bool) (port int, ca string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = nil
	p := new(http.Protocols)
	p.SetHTTP1(!http2)
	p.SetUnencryptedHTTP2(http2 && !secure)
	p.SetHTTP2(http2 && secure)
	s.Config.Protocols = p
	s.EnableHTTP2 = http2 && secure
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.Listener.Addr().(*net.TCPAddr).Port, string(bytes.TrimSpace(pemOf(s.Certificate())))
}

// upstreams are the kinds, by the name of their Service.
var upstreams = []struct {
	name          string
	http2, secure bool
	proto         string
}{{"h1", false, false, "HTTP/1.1"}, {"h1tls", false, true, "HTTP/1.1"}, {"h2c", true, false, "HTTP/2.0"}, {"h2tls", true, true, "HTTP/2.0"}}

func start(t *testing.T) *bed {
	t.Helper()
	b := &bed{t: t, secure: harness.FreePort(t), origin: &origin{ended: map[string]chan error{}}}
	secret, pool := harness.Secret(t, "edge", "a.example")
	b.pool = pool
	files := map[string]string{
		"edge.yaml":    secret,
		"gateway.yaml": strings.Replace(harness.GatewayFor(1), "port: ${PORT}}]", fmt.Sprintf("port: ${PORT}}, {name: https, protocol: HTTPS, port: %d, tls: {certificateRefs: [{name: edge}]}}]", b.secure), 1),
	}
	for _, u := range upstreams {
		port, ca := upstream(t, b.origin, u.http2, u.secure)
		text := harness.Service(u.name, "", port)
		if u.http2 {
			text = strings.Replace(text, "port: 80, targetPort", "appProtocol: kubernetes.io/h2c, port: 80, targetPort", 1)
		}
		if u.secure {
			text += fmt.Sprintf("---\napiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: %[1]s}\nspec:\n  targetRefs: [{group: \"\", kind: Service, name: %[1]s}]\n  validation: {hostname: example.com, caCertificateRefs: [{group: \"\", kind: ConfigMap, name: %[1]s}]}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %[1]s}\ndata:\n  ca.crt: |\n    %[2]s\n",
				u.name, strings.ReplaceAll(ca, "\n", "\n    "))
		}
		files[u.name+".yaml"] = text
	}
	b.Proxy = harness.Start(t, harness.Options{Files: files})
	return b
}

// client is one of a protocol.
type client struct {
	*http.Client
	base string
	http int  // major version
	read bool // it can read while it writes
}

func (b *bed) clients() map[string]client {
	plain, secure := b.URL, fmt.Sprintf("https://a.example:%d", b.secure)
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", b.secure))
	}
	make := func(h2c, h2 bool) *http.Transport {
		p := new(http.Protocols)
		p.SetHTTP1(!h2c && !h2)
		p.SetUnencryptedHTTP2(h2c)
		p.SetHTTP2(h2)
		t := &http.Transport{Protocols: p, TLSClientConfig: &tls.Config{RootCAs: b.pool, ServerName: "a.example"}, DisableCompression: true}
		if !h2c {
			t.DialContext = nil
		}
		b.t.Cleanup(t.CloseIdleConnections)
		return t
	}
	h1tls, h2tls := make(false, false), make(false, true)
	h1tls.DialContext, h2tls.DialContext = dial, dial
	h3 := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: b.pool, ServerName: "a.example"}, DisableCompression: true}
	b.t.Cleanup(func() { h3.Close() })
	all := map[string]client{
		"HTTP/1.1":          {&http.Client{Transport: make(false, false)}, plain, 1, false},
		"HTTP/1.1 over TLS": {&http.Client{Transport: h1tls}, secure, 1, false},
		"h2c":               {&http.Client{Transport: make(true, false)}, plain, 2, true},
		"HTTP/2 over TLS":   {&http.Client{Transport: h2tls}, secure, 2, true},
		"HTTP/3":            {&http.Client{Transport: h3}, fmt.Sprintf("https://127.0.0.1:%d", b.secure), 3, true},
	}
	for name, c := range all {
		c.Timeout = 60 * time.Second
		all[name] = c
	}
	return all
}

func TestPairs(t *testing.T) {
	b := start(t)
	for name, c := range b.clients() {
		for _, u := range upstreams {
			t.Run(name+" to "+u.name, func(t *testing.T) {
				p := pair{t, b, c, c.base + "/" + u.name, u.proto, name + u.name}
				p.heads()
				p.bodies()
				p.unknownLength()
				p.bothDirections()
				p.early()
				p.cut()
				p.clientGoes("never")
				p.clientGoes("silent")
				p.clientCloses()
				p.hints()
			})
		}
	}
}

// pair is one client before one upstream.
type pair struct {
	t     *testing.T
	b     *bed
	c     client
	base  string
	proto string
	id    string
}

func (p *pair) do(method, what string, body io.Reader, change func(*http.Request)) (*http.Response, []byte) {
	p.t.Helper()
	r, err := http.NewRequest(method, p.base+"/"+what, body)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Host = "a.example"
	if change != nil {
		change(r)
	}
	a, err := p.c.Do(r)
	if err != nil {
		p.t.Errorf("%s %s: %v", method, what, err)
		return nil, nil
	}
	defer a.Body.Close()
	got, err := io.ReadAll(a.Body)
	if err != nil {
		p.t.Errorf("%s %s: %v", method, what, err)
	}
	if a.ProtoMajor != p.c.http {
		p.t.Errorf("%s %s: the answer is of HTTP/%d", method, what, a.ProtoMajor)
	}
	return a, got
}

func (p *pair) heads() {
	p.t.Helper()
	for _, method := range []string{"GET", "HEAD", "DELETE", "OPTIONS", "PATCH"} {
		a, _ := p.do(method, "echo?q=%20&r", nil, func(r *http.Request) {
			r.Header["X-Sent"] = []string{"one", "two, three", "\xe4"}
			r.Header.Set("Cookie", "a=1; b=2")
		})
		if a == nil {
			continue
		}
		if got := strings.Join(a.Header["X-Got"], "|"); a.StatusCode != 200 || got != "one|two, three|\xe4" || a.Header.Get("X-Proto") != p.proto {
			p.t.Errorf("%s: got %d %q over %s", method, a.StatusCode, got, a.Header.Get("X-Proto"))
		}
		if method == "HEAD" && a.ContentLength != 12345 {
			p.t.Errorf("HEAD: got a length of %d", a.ContentLength)
		}
	}
}

func (p *pair) bodies() {
	p.t.Helper()
	for _, size := range []int{0, 1, 16 << 10, 8 << 20} {
		body := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		for _, known := range []bool{true, false} {
			var reader io.Reader = bytes.NewReader(body)
			if !known {
				reader = io.MultiReader(reader)
			}
			a, got := p.do("POST", "echo", reader, func(r *http.Request) {
				if !known {
					r.Trailer = http.Header{"X-After": {"the end"}}
				}
			})
			if a == nil {
				continue
			}
			if a.Header.Get("X-Sum") != sum(body) || !bytes.Equal(got, body) {
				p.t.Errorf("%d bytes, known %v: got %d, %s back", size, known, len(got), a.Header.Get("X-Sum"))
			}
			if known && a.Header.Get("X-Length") != strconv.Itoa(size) {
				p.t.Errorf("%d bytes: the origin was told %s", size, a.Header.Get("X-Length"))
			}
			if !known && size > 0 && a.Header.Get("X-Got-Trailer") != "the end" {
				p.t.Errorf("%d bytes: the origin got the trailer %q", size, a.Header.Get("X-Got-Trailer"))
			}
		}
	}
}

func (p *pair) unknownLength() {
	p.t.Helper()
	a, got := p.do("GET", "unknown", nil, nil)
	if a != nil && (a.ContentLength != -1 || !strings.HasSuffix(string(got), "part 19\n") || a.Trailer.Get("X-After") != "the end") {
		p.t.Errorf("unknown length: got %d, %.30q, trailer %v", a.ContentLength, got, a.Trailer)
	}
}

// bothDirections: what is sent comes back before more is sent.
func (p *pair) bothDirections() {
	p.t.Helper()
	if !p.c.read { // Go's client of HTTP/1.1 reads while it writes too, but ends the body on an answer
		return
	}
	in, out := io.Pipe()
	r, err := http.NewRequest("POST", p.base+"/both", in)
	if err != nil {
		p.t.Fatal(err)
	}
	a, err := p.c.Do(r)
	if err != nil {
		p.t.Errorf("both directions: %v", err)
		return
	}
	defer a.Body.Close()
	for i := range 50 {
		line := fmt.Sprintf("line %d\n", i)
		if _, err := io.WriteString(out, line); err != nil {
			p.t.Errorf("both directions: %v", err)
			return
		}
		got := make([]byte, len(line))
		if _, err := io.ReadFull(a.Body, got); err != nil || string(got) != strings.ToUpper(line) {
			p.t.Errorf("both directions: got %q, %v", got, err)
			return
		}
	}
	out.Close()
	if rest, err := io.ReadAll(a.Body); err != nil || len(rest) > 0 {
		p.t.Errorf("both directions: got %q, %v at the end", rest, err)
	}
}

func (p *pair) early() {
	p.t.Helper()
	a, got := p.do("POST", "early", io.MultiReader(bytes.NewReader(make([]byte, 4<<20))), nil)
	if a != nil && (a.StatusCode != 403 || string(got) != "no") {
		p.t.Errorf("early: got %d %q", a.StatusCode, got)
	}
}

// cut: half of an answer must not look whole.
func (p *pair) cut() {
	p.t.Helper()
	a, err := p.c.Get(p.base + "/cut")
	if err != nil {
		return // before the head came: fine as well
	}
	defer a.Body.Close()
	if got, err := io.ReadAll(a.Body); err == nil && a.StatusCode == 200 {
		p.t.Errorf("cut: got %q, and it looks whole", got)
	}
}

// clientGoes: the origin sees that the client has gone, before or after the head.
func (p *pair) clientGoes(what string) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", p.base+"/"+what, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	name := p.id + " " + what
	r.Header.Set("X-Case", name)
	go func() {
		time.Sleep(150 * time.Millisecond)
		cancel()
	}()
	if a, err := p.c.Do(r); err == nil {
		_, _ = io.Copy(io.Discard, a.Body)
		a.Body.Close()
	}
	p.ends(name)
}

// clientCloses: a client that wants no more of a body is as one that has gone.
func (p *pair) clientCloses() {
	p.t.Helper()
	name := p.id + " closes"
	r, err := http.NewRequest("GET", p.base+"/silent", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("X-Case", name)
	a, err := p.c.Do(r)
	if err != nil {
		p.t.Errorf("closes: %v", err)
		return
	}
	time.Sleep(50 * time.Millisecond) // the proxy waits by then, or finds it out
	a.Body.Close()
	p.ends(name)
}

// ends waits until the origin has seen the client go: long before any timeout.
func (p *pair) ends(name string) {
	p.t.Helper()
	select {
	case <-p.b.origin.end(name):
	case <-time.After(10 * time.Second):
		p.t.Errorf("%s: the origin did not see the client go", name)
	}
}

func (p *pair) hints() {
	p.t.Helper()
	a, got := p.do("GET", "hints", nil, nil)
	if a != nil && (a.StatusCode != 200 || string(got) != "after") {
		p.t.Errorf("hints: got %d %q", a.StatusCode, got)
	}
}
