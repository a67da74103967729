package pairs

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// forwardProxy is what a CONNECT is for: it does what the target's first label says,
// as if that were there.
func forwardProxy(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	what, _, _ := strings.Cut(r.Host, ".")
	w.Header().Set("X-Proto", r.Proto)
	w.Header().Set("X-Target", r.Host)
	if what == "refuse" {
		w.WriteHeader(http.StatusProxyAuthRequired)
		_, _ = io.WriteString(w, "who are you?")
		return
	}
	t, err := tunnelOf(w, r)
	if err != nil {
		panic(err)
	}
	defer t.Close()
	switch what {
	case "cut": // in the middle
		_, _ = io.WriteString(t, "half")
		time.Sleep(50 * time.Millisecond)
		t.cut()
	case "first": // it ends first, and says what comes all the same
		_, _ = io.WriteString(t, "hello")
		t.closeWrite()
		_, _ = io.Copy(io.Discard, t)
	case "never":
		_, err := io.Copy(io.Discard, t)
		gone <- err
	default:
		b := make([]byte, 32<<10)
		for {
			n, err := t.Read(b)
			if _, werr := t.Write(bytes.ToUpper(b[:n])); werr != nil {
				return
			}
			if err != nil {
				_, _ = io.WriteString(t, "bye")
				return
			}
		}
	}
}

// gone is how tunnels to "never" ended.
var gone = make(chan error, 100)

// upstreamTunnel is the end of one.
type upstreamTunnel struct {
	io.Reader
	io.Writer
	cut, closeWrite func()
	close           func()
}

func (t *upstreamTunnel) Close() { t.close() }

type flushing struct {
	w http.ResponseWriter
	c *http.ResponseController
}

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = f.c.Flush()
	}
	return n, err
}

func tunnelOf(w http.ResponseWriter, r *http.Request) (*upstreamTunnel, error) {
	c := http.NewResponseController(w)
	if r.ProtoMajor == 2 {
		w.WriteHeader(http.StatusOK)
		return &upstreamTunnel{r.Body, flushing{w, c}, func() { panic(http.ErrAbortHandler) }, func() {}, func() {}}, c.Flush()
	}
	nc, rw, err := c.Hijack()
	if err != nil {
		return nil, err
	}
	// A length in it means nothing (RFC 9110, 9.3.6).
	fmt.Fprintf(nc, "HTTP/1.1 200 Connection established\r\nContent-Length: 3\r\nX-Proto: %s\r\nX-Target: %s\r\n\r\n", r.Proto, r.Host)
	return &upstreamTunnel{rw.Reader, nc, func() {
		below := nc
		if secure, ok := nc.(*tls.Conn); ok {
			below = secure.NetConn()
		}
		_ = below.(*net.TCPConn).SetLinger(0)
		below.Close()
	}, func() { _ = nc.(interface{ CloseWrite() error }).CloseWrite() }, func() { nc.Close() }}, nil
}

// startTunnels is start with Services that are forward proxies: that to which CONNECT
// goes is the target's last label but one.
func startTunnels(t *testing.T) *bed {
	t.Helper()
	b := &bed{t: t, secure: harness.FreePort(t)}
	secret, pool := harness.Secret(t, "edge", "a.example")
	b.pool = pool
	files := map[string]string{
		"edge.yaml":    secret,
		"gateway.yaml": strings.Replace(harness.GatewayFor(1), "port: ${PORT}}]", fmt.Sprintf("port: ${PORT}}, {name: https, protocol: HTTPS, port: %d, tls: {certificateRefs: [{name: edge}]}}]", b.secure), 1),
	}
	const route = `
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: connect-%[1]s}
spec:
  parentRefs: [{name: edge}]
  hostnames: ["*.%[1]s.example"]
  rules:
    - matches: [{method: CONNECT}]
      backendRefs: [{name: %[1]s, port: 80}]
`
	for _, u := range upstreams {
		port, ca := upstream(t, http.HandlerFunc(forwardProxy), u.http2, u.secure)
		text := harness.Service(u.name, "", port)
		if u.http2 {
			text = strings.Replace(text, "port: 80, targetPort", "appProtocol: kubernetes.io/h2c, port: 80, targetPort", 1)
		}
		if u.secure {
			text += fmt.Sprintf("---\napiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: %[1]s}\nspec:\n  targetRefs: [{group: \"\", kind: Service, name: %[1]s}]\n  validation: {hostname: example.com, caCertificateRefs: [{group: \"\", kind: ConfigMap, name: %[1]s}]}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %[1]s}\ndata:\n  ca.crt: |\n    %[2]s\n",
				u.name, strings.ReplaceAll(ca, "\n", "\n    "))
		}
		files[u.name+".yaml"] = text + fmt.Sprintf(route, u.name)
	}
	guarded := "- use: key-auth\n  config: {keys: [{key: secret-enough, consumer: c}]}\n- use: transform\n  config: {request: {headers: {remove: [X-Api-Key]}}, response: {headers: {set: {X-Served-By: penstock}}}}"
	port, _ := upstream(t, http.HandlerFunc(forwardProxy), false, false)
	files["guarded.yaml"] = harness.Service("guarded", guarded, port) + fmt.Sprintf(route, "guarded")
	b.Proxy = harness.Start(t, harness.Options{Files: files, Images: []string{harness.BundledPlugins(t)}})
	return b
}

// tunnel is a client's end.
type tunnel struct {
	io.Reader
	io.WriteCloser // closes its direction alone
	status         int
	header         http.Header
	reset          func()
}

// opener asks for a tunnel.
type opener func(t *testing.T, target string, header http.Header) *tunnel

func (b *bed) openers() map[string]opener {
	all := map[string]opener{
		"HTTP/1.1": over1(func() (net.Conn, error) { return net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.Port)) }),
		"HTTP/1.1 over TLS": over1(func() (net.Conn, error) {
			return tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.secure), &tls.Config{RootCAs: b.pool, ServerName: "a.example"})
		}),
	}
	for name, c := range b.clients() {
		if c.http > 1 {
			all[name] = overRequest(c)
		}
	}
	return all
}

// over1 writes HTTP/1.1 by hand.
func over1(dial func() (net.Conn, error)) opener {
	return func(t *testing.T, target string, header http.Header) *tunnel {
		t.Helper()
		nc, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
		fmt.Fprintf(nc, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", target, target)
		_ = header.Write(nc)
		_, _ = io.WriteString(nc, "\r\n")
		r := bufio.NewReader(nc)
		resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
		if err != nil {
			t.Fatalf("CONNECT %s: %v", target, err)
		}
		a := &tunnel{r, writer{nc, nc.(interface{ CloseWrite() error }).CloseWrite}, resp.StatusCode, resp.Header, func() {
			below := nc
			if secure, ok := nc.(*tls.Conn); ok {
				below = secure.NetConn()
			}
			_ = below.(*net.TCPConn).SetLinger(0)
			below.Close()
		}}
		if a.status != 200 {
			a.Reader = resp.Body
		}
		return a
	}
}

type writer struct {
	io.Writer
	close func() error
}

func (w writer) Close() error { return w.close() }

// overRequest has a client of Go's send a CONNECT whose content is what goes in.
func overRequest(c client) opener {
	return func(t *testing.T, target string, header http.Header) *tunnel {
		t.Helper()
		in, out := io.Pipe()
		r, err := http.NewRequest(http.MethodConnect, c.base, in)
		if err != nil {
			t.Fatal(err)
		}
		r.Host, r.Header = target, header
		if r.Header == nil {
			r.Header = http.Header{}
		}
		a, err := c.Do(r)
		if err != nil {
			t.Fatalf("CONNECT %s: %v", target, err)
		}
		t.Cleanup(func() { a.Body.Close() })
		if a.ProtoMajor != c.http {
			t.Errorf("the answer is of HTTP/%d", a.ProtoMajor)
		}
		return &tunnel{a.Body, out, a.StatusCode, a.Header, func() {
			out.CloseWithError(errors.New("cut"))
			a.Body.Close()
		}}
	}
}

func TestConnect(t *testing.T) {
	b := startTunnels(t)
	long := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB
	for name, open := range b.openers() {
		for _, u := range upstreams {
			t.Run(name+" to "+u.name, func(t *testing.T) {
				at := func(what string) string { return what + "." + u.name + ".example:443" }
				a := open(t, at("echo"), nil)
				if a.status != 200 || a.header.Get("X-Target") != at("echo") || a.header.Get("X-Proto") != u.proto || a.header.Get("Content-Length") != "" {
					t.Fatalf("got %d, %v", a.status, a.header)
				}
				for _, word := range []string{"one", "two"} { // at once, not when there is more
					_, _ = io.WriteString(a, word)
					got := make([]byte, len(word))
					if _, err := io.ReadFull(a, got); err != nil || string(got) != strings.ToUpper(word) {
						t.Fatalf("got %q, %v", got, err)
					}
				}
				go func() {
					_, _ = a.Write(long)
					_ = a.Close()
				}()
				got, err := io.ReadAll(a)
				if want := append(bytes.ToUpper(long), "bye"...); err != nil || !bytes.Equal(got, want) {
					t.Errorf("got %d bytes, %v; want %d, and the end", len(got), err, len(want))
				}

				a = open(t, at("refuse"), nil)
				if got, err := io.ReadAll(a); a.status != 407 || err != nil || string(got) != "who are you?" {
					t.Errorf("got %d, %q, %v; want what the upstream says", a.status, got, err)
				}
				a = open(t, at("cut"), nil)
				if got, err := io.ReadAll(a); a.status != 200 || err == nil || !strings.HasPrefix("half", string(got)) {
					t.Errorf("got %d, %q, %v; want what was cut not to look like an end", a.status, got, err)
				}
				a = open(t, at("never"), nil)
				_, _ = io.WriteString(a, "x")
				time.Sleep(20 * time.Millisecond)
				a.reset()
				select {
				case err := <-gone:
					if err == nil {
						t.Error("the upstream saw an end; want a cut")
					}
				case <-time.After(10 * time.Second):
					t.Error("the upstream's end lives on")
				}
				if u.http2 { // Go's server ends no response before its handler does
					return
				}
				a = open(t, at("first"), nil)
				if got, err := io.ReadAll(a); err != nil || string(got) != "hello" {
					t.Errorf("got %q, %v; want the upstream's end alone", got, err)
				}
				if _, err := a.Write(long[:100]); err != nil {
					t.Errorf("then it takes nothing: %v", err)
				}
				_ = a.Close()
			})
		}
		t.Run(name+" guarded", func(t *testing.T) {
			const target = "echo.guarded.example:443"
			a := open(t, target, nil)
			if got, err := io.ReadAll(a); a.status != 401 || err != nil || a.header.Get("X-Target") != "" {
				t.Errorf("got %d, %q, %v; want 401 of the guard, and nothing sent", a.status, got, err)
			}
			a = open(t, target, http.Header{"X-Api-Key": {"secret-enough"}})
			if a.status != 200 || a.header.Get("X-Served-By") != "penstock" {
				t.Fatalf("got %d, %v; want 200, with what a filter adds", a.status, a.header)
			}
			_ = a.Close()
			if got, err := io.ReadAll(a); err != nil || string(got) != "bye" {
				t.Errorf("got %q, %v", got, err)
			}
		})
		t.Run(name+" without a rule", func(t *testing.T) {
			for _, target := range []string{"a.example:443", "127.0.0.1:80", "[::1]:80", "h1.example:443"} {
				if a := open(t, target, nil); a.status != 501 {
					t.Errorf("%s: got %d; want 501", target, a.status)
				}
			}
		})
	}
	b.Eventually("the tunnels in the access log", func() bool {
		return strings.Contains(b.Log(), `"method":"CONNECT"`)
	})
	for line := range strings.SplitSeq(b.Log(), "\n") {
		if strings.Contains(line, "echo.h1.example:443") && !strings.Contains(line, "1048582") { // both words, and 1 MiB
			t.Errorf("the log does not count what passed: %s", line)
		}
	}
}
