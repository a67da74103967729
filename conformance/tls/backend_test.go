package tls

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// origin serves TLS as shop.example, and asks for a certificate.
func origin(t *testing.T, a *authority) int {
	t.Helper()
	id, err := url.Parse("spiffe://a.example/shop")
	if err != nil {
		t.Fatal(err)
	}
	key := harness.NewKey(t)
	c := a.sign(&x509.Certificate{DNSNames: []string{"shop.example"}, URIs: []*url.URL{id}}, key.Public())
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Server-Name", r.TLS.ServerName)
		if len(r.TLS.PeerCertificates) > 0 {
			w.Header().Set("X-Client", r.TLS.PeerCertificates[0].DNSNames[0])
		}
		if r.TLS.DidResume {
			w.Header().Set("X-Resumed", "yes")
		}
		harness.Echo(w, r)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{c.Raw}, PrivateKey: key}}, ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port
}

func policy(validation string) string {
	return "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: a}\nspec:\n  targetRefs: [{group: \"\", kind: Service, name: a}]\n  validation: {" + validation + "}\n"
}

func TestBackends(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	crt, key := a.pair("edge.example")
	port := origin(t, a)
	p := harness.Start(t, harness.Options{Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1), "upstream.yaml": harness.Service("a", "", port),
		"ca.yaml":    harness.ConfigMap("ca", map[string]string{"ca.crt": inPEM("CERTIFICATE", a.root.Raw)}),
		"other.yaml": harness.ConfigMap("other", map[string]string{"ca.crt": inPEM("CERTIFICATE", stranger.root.Raw)}),
		"edge.yaml":  harness.SecretOf("edge", crt, key),
		"a.yaml":     policy(`hostname: shop.example, caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]`),
	}})
	get := func() *http.Response {
		r, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/a", p.Port), "text/plain", strings.NewReader(strings.Repeat("x", 100_000)))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if r.ContentLength, err = io.Copy(io.Discard, r.Body); err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := get(); r.StatusCode != http.StatusOK || r.Header.Get("X-Server-Name") != "shop.example" || r.Header.Get("X-Client") != "" || r.ContentLength != 100_000 {
		t.Fatalf("got %v", r)
	}
	ca := `caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]`
	for _, tt := range []struct {
		name, validation string
		status           int
	}{
		{"another name", "hostname: other.example, " + ca, 502},
		{"a name of its own", `hostname: other.example, subjectAltNames: [{type: URI, uri: "spiffe://a.example/shop"}], ` + ca, 200},
		{"another id", `hostname: shop.example, subjectAltNames: [{type: URI, uri: "spiffe://a.example/other"}], ` + ca, 502},
		{"another authority", `hostname: shop.example, caCertificateRefs: [{group: "", kind: ConfigMap, name: other}]`, 502},
		{"the system's authorities", "hostname: shop.example, wellKnownCACertificates: System", 502},
		{"no authority", `hostname: shop.example, caCertificateRefs: [{group: "", kind: ConfigMap, name: nothing}]`, 500},
		{"right again", "hostname: shop.example, " + ca, 200},
	} {
		p.Write("a.yaml", policy(tt.validation))
		p.Eventually(tt.name, func() bool { return get().StatusCode == tt.status })
	}

	// A policy that cannot be read is not the same as none: at the start, or if another
	// file has it. In the place of a good one it changes nothing.
	wrong := strings.Replace(policy("hostname: shop.example, "+ca), "hostname:", "host:", 1)
	p.Write("a.yaml", wrong)
	p.Eventually("the mistake is told", func() bool { return strings.Contains(p.Log(), "spec.validation.host") })
	if r := get(); r.StatusCode != http.StatusOK || r.Header.Get("X-Server-Name") != "shop.example" {
		t.Errorf("the last good policy: got %v", r)
	}
	p.Write("a.yaml", "")
	p.Write("b.yaml", wrong)
	p.Eventually("the Service is closed", func() bool { return get().StatusCode == 500 })
	p.Write("b.yaml", policy("hostname: shop.example, "+ca))
	p.Eventually("it is right", func() bool { return get().StatusCode == 200 })

	// The Gateway says who it is.
	p.Write("gateway.yaml", strings.Replace(harness.GatewayFor(1), "  listeners:", "  tls: {backend: {clientCertificateRef: {name: edge}}}\n  listeners:", 1))
	p.Eventually("the Gateway's certificate is shown", func() bool { return get().Header.Get("X-Client") == "edge.example" })
	p.Write("edge.yaml", "")
	p.Eventually("without it nothing is sent", func() bool { return get().StatusCode == 500 })

	// Plain text is never sent in TLS's place.
	p.Write("gateway.yaml", harness.GatewayFor(1))
	plain := harness.Upstream(t, func(w http.ResponseWriter, r *http.Request) { t.Errorf("got a request in plain text: %v", r.URL) })
	p.Write("upstream.yaml", harness.Service("a", "", plain))
	p.Eventually("an upstream without TLS is not spoken to", func() bool { return get().StatusCode == 502 })
}
