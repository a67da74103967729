package tls

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

const mutualParameters = `apiVersion: penstock.dev/v1alpha1
kind: ProxyParameters
metadata: {name: mutual}
spec:
  tls:
    clientCertificates:
      subjectAltNames: [{uri: "spiffe://a.example/shop"}, {hostname: client.example}]
      forward: [X-Forwarded-Client-Cert, Client-Cert]
`

// mutualGateway asks for certificates on its one listener.
var mutualGateway = strings.Replace(harness.GatewayFor(1), "listeners: [{name: http, protocol: HTTP, port: ${PORT}}]", `listeners:
    - {name: a, protocol: HTTPS, port: ${PORT}, hostname: a.example, tls: {certificateRefs: [{name: a}]}}
  tls: {frontend: {default: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]}}}}
  infrastructure: {parametersRef: {group: penstock.dev, kind: ProxyParameters, name: mutual}}`, 1)

func inPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// client makes a certificate for a client.
func (a *authority) client(change func(*x509.Certificate)) *tls.Certificate {
	a.t.Helper()
	key := harness.NewKey(a.t)
	template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	change(template)
	c := a.sign(template, key.Public())
	return &tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key, Leaf: c}
}

// revoke lists certificates.
func (a *authority) revoke(list ...*tls.Certificate) string {
	a.t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range list {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.Leaf.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.root, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return inPEM("X509 CRL", der)
}

func TestClientCertificates(t *testing.T) {
	servers, people := newAuthority(t), newAuthority(t)
	people.root = nil
	people.root = people.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1}}, people.key.Public())
	spiffe, err := url.Parse("spiffe://a.example/shop")
	if err != nil {
		t.Fatal(err)
	}
	shop := people.client(func(c *x509.Certificate) { c.URIs = []*url.URL{spiffe}; c.Subject.CommonName = `shop "1"` })
	named := people.client(func(c *x509.Certificate) { c.DNSNames = []string{"client.example"} })
	other := people.client(func(c *x509.Certificate) { c.DNSNames = []string{"other.example"} })
	server := people.client(func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = []string{"client.example"}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	stranger := servers.client(func(c *x509.Certificate) { c.DNSNames = []string{"client.example"} })

	b := &bed{t: t, a: servers}
	crt, key := servers.pair("a.example")
	root := inPEM("CERTIFICATE", people.root.Raw)
	b.Proxy = harness.Start(t, harness.Options{Files: map[string]string{
		"gateway.yaml": mutualGateway, "parameters.yaml": mutualParameters, "a.yaml": harness.SecretOf("a", crt, key),
		"ca.yaml": harness.ConfigMap("ca", map[string]string{"ca.crt": root}), "upstream.yaml": harness.Service("a", "", harness.Upstream(t, harness.Echo)),
	}})
	sessions := map[*tls.Certificate]tls.ClientSessionCache{shop: tls.NewLRUClientSessionCache(8), named: tls.NewLRUClientSessionCache(8)}
	with := func(c *tls.Certificate) func(*tls.Config) {
		return func(to *tls.Config) {
			to.ClientSessionCache = sessions[c]
			if c != nil {
				to.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
			}
		}
	}
	// With TLS 1.3 a client learns of the refusal when it reads.
	refused := func(c *tls.Certificate) bool {
		nc, err := b.dial("a.example", func(to *tls.Config) { with(c)(to); to.ClientSessionCache = nil })
		if err != nil {
			return true
		}
		fmt.Fprintf(nc, "GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n")
		_, err = nc.Read(make([]byte, 1))
		return err != nil
	}

	r := b.get(b.mustDial("a.example", with(shop)), "a.example")
	xfcc := r.Header.Get("X-Got-X-Forwarded-Client-Cert")
	if r.StatusCode != http.StatusOK || !strings.Contains(xfcc, `;Subject="CN=shop \`) || !strings.HasSuffix(xfcc, ";URI=spiffe://a.example/shop") || !strings.HasPrefix(xfcc, "Hash=") {
		t.Errorf("got %d, X-Forwarded-Client-Cert %s", r.StatusCode, xfcc)
	}
	if got := r.Header.Get("X-Got-Client-Cert"); !strings.HasPrefix(got, ":MII") || !strings.HasSuffix(got, ":") {
		t.Errorf("Client-Cert: got %q", got)
	}
	b.want(b.mustDial("a.example", with(named)), "a.example", http.StatusOK)
	for what, c := range map[string]*tls.Certificate{"nothing": nil, "another name": other, "a server's": server, "a stranger's": stranger} {
		if !refused(c) {
			t.Errorf("%s: was let in", what)
		}
	}
	for _, reason := range []string{"missing", "name", "invalid"} {
		b.Eventually("the refusal is counted: "+reason, func() bool {
			return strings.Contains(b.Metrics(), `penstock_tls_handshake_failures_total{reason="client_certificate_`+reason+`"`)
		})
	}

	// Who is revoked does not come back with a session of before.
	b.Write("ca.yaml", harness.ConfigMap("ca", map[string]string{"ca.crt": root, "ca.crl": people.revoke(shop)}))
	b.Eventually("the revoked one is refused", func() bool { return refused(shop) })
	if nc, err := b.dial("a.example", with(shop)); err == nil {
		fmt.Fprintf(nc, "GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n")
		if _, err := nc.Read(make([]byte, 1)); err == nil {
			t.Error("a session of a revoked certificate was resumed")
		}
	}
	b.want(b.mustDial("a.example", with(named)), "a.example", http.StatusOK)

	// Without authorities nobody is let in.
	b.Write("ca.yaml", harness.ConfigMap("ca", map[string]string{"ca.crt": "nothing"}))
	b.Eventually("without authorities nobody is let in", func() bool { return refused(named) && refused(nil) })
}

const fallbackMode = `mode: AllowInsecureFallback, caCertificateRefs`

func TestUncheckedCertificatesAreNoStatement(t *testing.T) {
	b := &bed{t: t, a: newAuthority(t)}
	crt, key := b.a.pair("a.example")
	stranger := newAuthority(t).client(func(c *x509.Certificate) { c.DNSNames = []string{"client.example"} })
	b.Proxy = harness.Start(t, harness.Options{Files: map[string]string{
		"gateway.yaml": strings.Replace(mutualGateway, "caCertificateRefs", fallbackMode, 1), "parameters.yaml": mutualParameters, "a.yaml": harness.SecretOf("a", crt, key),
		"ca.yaml": harness.ConfigMap("ca", map[string]string{"ca.crt": inPEM("CERTIFICATE", b.a.root.Raw)}), "upstream.yaml": harness.Service("a", "", harness.Upstream(t, harness.Echo)),
	}})
	r := b.get(b.mustDial("a.example", func(c *tls.Config) { c.Certificates = []tls.Certificate{*stranger} }), "a.example")
	if r.StatusCode != http.StatusOK || r.Header.Get("X-Got-X-Forwarded-Client-Cert") != "" || r.Header.Get("X-Got-Client-Cert") == "" {
		t.Errorf("got %d, %q, %q; want it passed on, but not vouched for", r.StatusCode, r.Header.Get("X-Got-X-Forwarded-Client-Cert"), r.Header.Get("X-Got-Client-Cert"))
	}
	nc := b.mustDial("a.example", nil)
	fmt.Fprintf(nc, "GET /a HTTP/1.1\r\nHost: a.example\r\nClient-Cert: :AAAA:\r\nX_Forwarded_Client_Cert: Hash=0\r\n\r\n")
	b.want(nc, "a.example", http.StatusOK)
}
