package proxywasm

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// person makes a client's certificate, which signs itself.
func person(t *testing.T) tls.Certificate {
	t.Helper()
	key := harness.NewKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shop", Organization: []string{"A"}},
		DNSNames: []string{"client.example", "other.example"}, URIs: []*url.URL{{Scheme: "spiffe", Host: "a.example", Path: "/shop"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	return tls.Certificate{Certificate: [][]byte{harness.Sign(t, template, nil, key.Public(), key).Raw}, PrivateKey: key}
}

// TestConnectionOfAPlugin: what a plugin reads of a TLS connection, with a client's
// certificate and, where there is none, without TLS.
func TestConnectionOfAPlugin(t *testing.T) {
	layout := t.TempDir()
	harness.Pack(t, layout, "connection", harness.Guest(t, "guests/connection"))
	shop := person(t)
	people := harness.ConfigMap("people", map[string]string{"ca.crt": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: shop.Certificate[0]}))})
	secret, pool := harness.Secret(t, "edge", "a.example")
	service := harness.Service("connection", "- image: test.example/plugins/connection:1\n  limits: {cpuTime: 200ms, cpuTimeExchange: 1s}", harness.Upstream(t, harness.Echo))
	mutual := strings.Replace(harness.SecureGateway(1), "  gatewayClassName: penstock\n",
		"  gatewayClassName: penstock\n  tls: {frontend: {default: {validation: {caCertificateRefs: [{group: \"\", kind: ConfigMap, name: people}]}}}}\n", 1)
	secure := harness.Start(t, harness.Options{Images: []string{layout}, Files: map[string]string{"gateway.yaml": mutual, "edge.yaml": secret, "people.yaml": people, "a.yaml": service}})
	plain := harness.Start(t, harness.Options{Images: []string{layout}, Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": service}})
	for _, p := range []*harness.Proxy{secure, plain} {
		p.Eventually("the plugin runs", func() bool { return p.Chain("Service/default/connection").State == "Running" })
	}

	sum := sha256.Sum256(shop.Certificate[0])
	whole := map[string]string{
		"Mtls": "1", "Requested-Server-Name": "a.example", "Subject-Peer-Certificate": "CN=shop,O=A", "Dns-San-Peer-Certificate": "client.example",
		"Uri-San-Peer-Certificate": "spiffe://a.example/shop", "Sha256-Peer-Certificate-Digest": hex.EncodeToString(sum[:]),
	}
	for version, name := range map[uint16]string{tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3"} {
		tr := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{shop}, MaxVersion: version},
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(secure.URL, "http://"))
			},
		}
		t.Cleanup(tr.CloseIdleConnections)
		r, err := (&http.Client{Transport: tr, Timeout: 30 * time.Second}).Get("https://a.example/connection")
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		want(t, r.Header, "X-Got-X-Tls-Version", name)
		for field, value := range whole {
			want(t, r.Header, "X-Got-X-"+field, value)
		}
	}
	r, _ := do(t, "GET", plain.URL+"/connection", "", nil)
	want(t, r.Header, "X-Got-X-Mtls", "0")
	want(t, r.Header, "X-Got-X-Tls-Version", "none")
	for field := range whole {
		if field != "Mtls" {
			want(t, r.Header, "X-Got-X-"+field, "none")
		}
	}
}
