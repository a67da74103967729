package http3

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"penstock.dev/penstock/conformance/harness"
)

var gateway = strings.Replace(harness.GatewayFor(1), "listeners: [{name: http, protocol: HTTP, port: ${PORT}}]", `listeners:
    - {name: a, protocol: HTTPS, port: ${PORT}, hostname: a.example, tls: {certificateRefs: [{name: a}]}}
    - {name: b, protocol: HTTPS, port: ${PORT}, hostname: b.example, tls: {certificateRefs: [{name: b}]}}`, 1)

const off = `apiVersion: penstock.dev/v1alpha1
kind: ProxyParameters
metadata: {name: edge}
spec:
  http3: {enabled: false}
`

// bed is a proxy with two HTTPS listeners on one port.
type bed struct {
	*harness.Proxy
	t *testing.T
}

// secret makes a certificate for a name, and the Secret with it. spki is what
// Chromium knows its key by.
func secret(t *testing.T, name string) (text string, serial *big.Int, spki string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, DNSNames: []string{name + ".example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(public)
	encode := func(kind string, b []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	text = fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ntype: kubernetes.io/tls\ndata:\n  tls.crt: %s\n  tls.key: %s\n",
		name, encode("CERTIFICATE", der), encode("PRIVATE KEY", pkcs8))
	return text, serial, base64.StdEncoding.EncodeToString(sum[:])
}

func start(t *testing.T, handler http.HandlerFunc) *bed {
	t.Helper()
	return startBefore(t, harness.Service("a", "", harness.Upstream(t, handler)))
}

// startBefore is start with that Service and its route.
func startBefore(t *testing.T, service string) *bed {
	t.Helper()
	files := map[string]string{"gateway.yaml": gateway, "upstream.yaml": service}
	for _, name := range []string{"a", "b"} {
		files[name+".yaml"], _, _ = secret(t, name)
	}
	b := &bed{harness.Start(t, harness.Options{Files: files}), t}
	b.Eventually("the UDP port is bound", func() bool { return strings.Contains(b.Log(), "listening for HTTP/3") }) // another test may have had it
	return b
}

func (b *bed) address() string { return fmt.Sprintf("127.0.0.1:%d", b.Port) }

// dial makes a QUIC connection for a server name.
func (b *bed) dial(name string) (*quic.Conn, error) {
	ctx, done := context.WithTimeout(context.Background(), 10*time.Second)
	defer done()
	c := &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"h3"}}
	qc, err := quic.DialAddr(ctx, b.address(), c, &quic.Config{MaxIdleTimeout: 30 * time.Second})
	if err == nil {
		b.t.Cleanup(func() { _ = qc.CloseWithError(0x100, "") })
	}
	return qc, err
}

// client returns a client on a connection of its own, and the connection.
func (b *bed) client(name string) (*http3.ClientConn, *quic.Conn) {
	b.t.Helper()
	qc, err := b.dial(name)
	if err != nil {
		b.t.Fatal(err)
	}
	tr := &http3.Transport{DisableCompression: true}
	return tr.NewClientConn(qc), qc
}

// tcp returns a client of HTTP/1.1 or HTTP/2 for a server name.
func (b *bed) tcp(name string, http2 bool) *http.Client {
	p := new(http.Protocols)
	p.SetHTTP1(!http2)
	p.SetHTTP2(http2)
	tr := &http.Transport{Protocols: p, TLSClientConfig: &tls.Config{ServerName: name, InsecureSkipVerify: true}, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", b.address())
	}}
	b.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}
