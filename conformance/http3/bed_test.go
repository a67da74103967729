package http3

import (
	"context"
	"crypto/tls"
	"fmt"
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

func start(t *testing.T, handler http.HandlerFunc) *bed {
	t.Helper()
	return startBefore(t, harness.Service("a", "", harness.Upstream(t, handler)))
}

// startBefore is start with that Service and its route.
func startBefore(t *testing.T, service string) *bed {
	t.Helper()
	files := map[string]string{"gateway.yaml": gateway, "upstream.yaml": service}
	for _, name := range []string{"a", "b"} {
		files[name+".yaml"], _ = harness.Secret(t, name, name+".example")
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

// renew gives a.example another certificate, and returns what Chromium knows its
// key by.
func (b *bed) renew() (spki string) {
	b.t.Helper()
	crt, key := harness.Pair(b.t, "a.example")
	c, spki := harness.Leaf(b.t, crt)
	b.Write("a.yaml", harness.SecretOf("a", crt, key))
	b.Eventually("the new certificate is shown", func() bool {
		qc, err := b.dial("a.example")
		if err != nil {
			b.t.Fatal(err)
		}
		defer qc.CloseWithError(0x100, "")
		return qc.ConnectionState().TLS.PeerCertificates[0].Equal(c)
	})
	return spki
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
