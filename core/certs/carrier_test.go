package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
)

// connected returns both ends of a connection.
func connected(t *testing.T) (dialled, accepted *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	d, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Close()
		a.Close()
	})
	return d.(*net.TCPConn), a.(*net.TCPConn)
}

// TestTLSWritesByItself: what TLS sends on its own, after the deadline of the last
// message, must not end the connection.
func TestTLSWritesByItself(t *testing.T) {
	_, tcp := connected(t)
	c := NewCarrier(tcp, time.Minute)
	c.SetWriteDeadline(time.Now().Add(-time.Second))
	if _, err := c.Write([]byte("x")); err != nil {
		t.Errorf("got %v", err)
	}
	if by := time.Unix(0, c.writeBy.Load()); time.Until(by) < 50*time.Second {
		t.Errorf("got %v; want a new deadline", by)
	}
	c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := c.Write(make([]byte, 64<<20)); err == nil {
		t.Error("a write that hangs did not end")
	}
}

// TestUpstreamsAreCarried: the same of a connection to an upstream.
func TestUpstreamsAreCarried(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	near, far := connected(t)
	server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"h2"}})
	heard := make(chan string, 1)
	go func() {
		b := make([]byte, 5)
		_, _ = io.ReadFull(server, b)
		heard <- string(b)
	}()
	c := NewClient(&config.UpstreamTLS{ServerName: "a.example", Roots: [][]byte{der}}, []string{"h2"})
	secured, protocol, err := c.Handshake(t.Context(), near, time.Minute)
	if err != nil || protocol != "h2" {
		t.Fatalf("got %q, %v", protocol, err)
	}
	secured.SetWriteDeadline(time.Now().Add(-time.Second))
	if _, err := secured.Write([]byte("hello")); err != nil {
		t.Errorf("got %v", err)
	}
	if got := <-heard; got != "hello" {
		t.Errorf("the upstream got %q", got)
	}
}
