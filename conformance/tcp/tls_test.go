package tcp

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// secure is an upstream that ends TLS itself and says its name.
func secure(t *testing.T, name string, cert tls.Certificate) int {
	return harness.UpstreamTCP(t, func(nc *net.TCPConn) {
		c := tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"own"}})
		if c.Handshake() != nil {
			return
		}
		_, _ = io.WriteString(c, name)
		_, _ = io.Copy(c, c)
		_ = c.CloseWrite()
	})
}

// ask dials with a server name and returns the connection.
func ask(t *testing.T, port int, name string, protocols ...string) (*tls.Conn, error) {
	t.Helper()
	c := tls.Client(dial(t, port), &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: protocols})
	return c, c.Handshake()
}

// TestTLSRoute: Gateway API, TLSRoute, Listener.tls.mode: TLS that is passed
// through, TLS that is ended, and HTTPS, on one port.
func TestTLSRoute(t *testing.T) {
	a, _ := certificate(t, "a.through.example")
	b, _ := certificate(t, "b.through.example")
	own, ownSecret := certificate(t, "ended.example")
	web, webSecret := certificate(t, "web.example")
	p := start(t,
		gateway(`{name: through, protocol: TLS, port: ${PORT}, hostname: "*.through.example", tls: {mode: Passthrough}}`,
			`{name: ended, protocol: TLS, port: ${PORT}, hostname: ended.example, tls: {mode: Terminate, certificateRefs: [{name: ended.example}]}}`,
			`{name: web, protocol: HTTPS, port: ${PORT}, hostname: web.example, tls: {certificateRefs: [{name: web.example}]}}`),
		parameters("{}"), ownSecret, webSecret,
		service("a", "", secure(t, "a", a)), service("b", "", secure(t, "b", b)), service("plain", "", harness.UpstreamTCP(t, echo("plain"))),
		route("TLSRoute", "a", "through", "hostnames: [a.through.example]", "{name: a, port: 80}"),
		route("TLSRoute", "b", "through", `hostnames: ["*.through.example"]`, "{name: b, port: 80}"),
		route("TLSRoute", "plain", "ended", "hostnames: [ended.example]", "{name: plain, port: 80}"),
		"---", harness.Service("web", "", harness.Upstream(t, harness.Echo)),
	)
	leaf := func(c *tls.Conn) string { return string(c.ConnectionState().PeerCertificates[0].Raw) }

	for name, want := range map[string]struct {
		says string
		cert tls.Certificate
	}{
		"a.through.example": {"a", a}, "A.Through.Example": {"a", a}, "b.through.example": {"b", b}, "x.through.example": {"b", b}, "ended.example": {"plain", own},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := ask(t, p.Port, name, "own")
			if err != nil {
				t.Fatal(err)
			}
			if got := read(t, c, len(want.says)); got != want.says || leaf(c) != string(want.cert.Certificate[0]) {
				t.Fatalf("got %q, or another certificate", got)
			}
			if protocol := c.ConnectionState().NegotiatedProtocol; (protocol == "own") != (want.says != "plain") {
				t.Errorf("got protocol %q", protocol)
			}
			io.WriteString(c, "hello")
			if got := read(t, c, 5); got != "hello" {
				t.Fatalf("got %q", got)
			}
			io.WriteString(c, "last")
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if rest, err := io.ReadAll(c); string(rest) != "last" || err != nil {
				t.Errorf("got %q, %v", rest, err)
			}
		})
	}
	t.Run("HTTPS on the same port", func(t *testing.T) {
		c, err := ask(t, p.Port, "web.example", "http/1.1")
		if err != nil || leaf(c) != string(web.Certificate[0]) {
			t.Fatalf("%v, or another certificate", err)
		}
		for hostname, status := range map[string]int{"web.example": 200, "ended.example": 421, "a.through.example": 421} {
			fmt.Fprintf(c, "GET /web HTTP/1.1\r\nHost: %s\r\n\r\n", hostname)
			r, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, r.Body)
			if r.StatusCode != status {
				t.Errorf("%s: got %d; want %d", hostname, r.StatusCode, status)
			}
		}
	})
	t.Run("nobody's name is refused", func(t *testing.T) {
		for _, name := range []string{"nobody.example", "through.example"} {
			if _, err := ask(t, p.Port, name); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
				t.Errorf("%s: got %v", name, err)
			}
		}
	})
	t.Run("a hello in small pieces", func(t *testing.T) {
		c := tls.Client(&dripping{dial(t, p.Port)}, &tls.Config{ServerName: "a.through.example", InsecureSkipVerify: true})
		if got := read(t, c, 1); got != "a" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("plain HTTP", func(t *testing.T) {
		nc := dial(t, p.Port)
		io.WriteString(nc, "GET / HTTP/1.1\r\nHost: web.example\r\n\r\n")
		if b, _ := io.ReadAll(nc); !strings.HasPrefix(string(b), "HTTP/1.1 400 ") {
			t.Errorf("got %q", b)
		}
	})
	t.Run("the log names the server name", func(t *testing.T) {
		p.Eventually("a record", func() bool {
			return strings.Contains(p.Log(), `"protocol":"tls","serverName":"a.through.example"`) && strings.Contains(p.Log(), `"protocol":"tls","serverName":"ended.example"`)
		})
	})
}

// dripping writes a few bytes at a time.
type dripping struct{ *net.TCPConn }

func (d *dripping) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := d.TCPConn.Write(b[i : i+1]); err != nil {
			return i, err
		}
		if i%100 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	return len(b), nil
}

// TestALotOverTLS: what is ended here is moved whole, both ways.
func TestALotOverTLS(t *testing.T) {
	_, secret := certificate(t, "ended.example")
	p := start(t, gateway(`{name: ended, protocol: TLS, port: ${PORT}, tls: {mode: Terminate, certificateRefs: [{name: ended.example}]}}`), parameters("{}"), secret,
		service("a", "", harness.UpstreamTCP(t, echo("a"))), route("TCPRoute", "a", "ended", "", "{name: a, port: 80}"))
	c, err := ask(t, p.Port, "ended.example")
	if err != nil {
		t.Fatal(err)
	}
	read(t, c, 1)
	const size = 16 << 20
	go func() {
		_, _ = io.Copy(c, io.LimitReader(zeros{}, size))
		_ = c.CloseWrite()
	}()
	if n, err := io.Copy(io.Discard, c); n != size || err != nil {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
