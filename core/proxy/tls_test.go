package proxy_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
)

// newTLS returns what a listener needs.
func newTLS(t *testing.T, hash string) *config.TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &config.TLS{Certificates: []*config.Certificate{{Hash: hash, Chain: [][]byte{der}, Key: pkcs8}}}
}

// status sends a request for the hostname and returns the answer's status.
func status(t *testing.T, nc net.Conn, hostname string) int {
	t.Helper()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(nc, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", hostname)
	r, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	io.Copy(io.Discard, r.Body)
	return r.StatusCode
}

// TestMisdirectedRequests: RFC 9110, 15.5.20; Gateway API, Listener.hostname.
func TestMisdirectedRequests(t *testing.T) {
	b := newBed(t)
	c := newConfig(b.port, rule("echo", "/", "echo"))
	service(t, c, "echo", echo)
	routes := c.Gateways[0].Listeners[0].Routes
	listeners := func(hostnames ...string) {
		c.Gateways[0].Listeners = nil
		for _, h := range hostnames {
			c.Gateways[0].Listeners = append(c.Gateways[0].Listeners, &config.Listener{Name: "n" + h, Port: b.port, Protocol: "HTTPS", Hostname: h, TLS: newTLS(t, h), Routes: routes})
		}
		if err := b.store.Apply(c); err != nil {
			t.Fatal(err)
		}
	}
	secure := func(server string) net.Conn {
		t.Helper()
		nc, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.port), &tls.Config{ServerName: server, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		return nc
	}
	check := func(nc net.Conn, hostname string, want int) {
		t.Helper()
		if got := status(t, nc, hostname); got != want {
			t.Errorf("%s: got %d; want %d", hostname, got, want)
		}
	}

	// In plain text first.
	if err := b.store.Apply(c); err != nil {
		t.Fatal(err)
	}
	plain, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	check(plain, "a.example", 200)

	listeners("a.example", "*.example.org", "b.example.org")
	check(plain, "a.example", 421) // the listener is for TLS now
	nc := secure("a.example")
	check(nc, "a.example", 200)
	check(nc, "A.EXAMPLE:443", 200)
	check(nc, "b.example.org", 421)
	check(nc, "nobody.example", 404)
	check(nc, "a.example", 200) // the connection goes on
	nc = secure("c.example.org")
	check(nc, "c.example.org", 200)
	check(nc, "d.example.org", 200) // the same listener
	check(nc, "b.example.org", 421) // a more specific one
	check(secure("B.example.org"), "b.example.org", 200)
	check(secure(""), "a.example", 200) // no name: the first
	check(secure(""), "b.example.org", 421)

	old := secure("a.example")
	listeners("a.example", "")
	check(old, "a.example", 200)
	check(old, "nobody.example", 421)
	check(secure("nobody.example"), "nobody.example", 200)
	check(secure("nobody.example"), "a.example", 421)
	check(secure(""), "nobody.example", 200) // no name: the listener without a hostname
}

// TestAltSvc: RFC 7838, 3.
func TestAltSvc(t *testing.T) {
	b := newBed(t)
	c := newConfig(b.port, rule("echo", "/", "echo"))
	service(t, c, "echo", echo)
	l := c.Gateways[0].Listeners[0]
	l.Protocol, l.Hostname, l.TLS = "HTTPS", "a.example", newTLS(t, "a.example")
	if err := b.store.Apply(c); err != nil {
		t.Fatal(err)
	}
	nc, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.port), &tls.Config{ServerName: "a.example", InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(nc, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
	r, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if got, want := r.Header.Get("Alt-Svc"), fmt.Sprintf(`h3=":%d"; ma=86400`, b.port); got != want {
		t.Errorf("got %q; want %q", got, want)
	}
}
