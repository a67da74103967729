package tls

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"

	"penstock.dev/penstock/conformance/harness"
)

// Two Gateways on one port, each with an authority of its own; c is asked for nothing, and
// d for anything.
const knownGateways = `
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: two}
spec:
  gatewayClassName: penstock
  listeners: [{name: b, protocol: HTTPS, port: ${PORT}, hostname: b.example, tls: {certificateRefs: [{name: b}]}}]
  tls: {frontend: {default: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: others}]}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: three}
spec:
  gatewayClassName: penstock
  listeners: [{name: c, protocol: HTTPS, port: ${PORT}, hostname: c.example, tls: {certificateRefs: [{name: c}]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: four}
spec:
  gatewayClassName: penstock
  listeners: [{name: d, protocol: HTTPS, port: ${PORT}, hostname: d.example, tls: {certificateRefs: [{name: d}]}}]
  tls: {frontend: {default: {validation: {mode: AllowInsecureFallback, caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]}}}}
`

const knownConsumer = `apiVersion: penstock.dev/v1alpha1
kind: Consumer
metadata: {name: cart}
spec: {groups: [shops], credentials: [{name: cart}]}
---
apiVersion: v1
kind: Secret
metadata: {name: cart, labels: {penstock.dev/credential: mtls-auth}}
stringData: {uri: "spiffe://a.example/cart"}
`

// knownBed is four hostnames before one Service that wants to know the certificate; cart
// is known, and other is not.
type knownBed struct {
	*bed
	people      *authority
	cart, other *tls.Certificate
}

func newKnownBed(t *testing.T) *knownBed {
	t.Helper()
	k := &knownBed{bed: &bed{t: t, a: newAuthority(t)}, people: newAuthority(t)}
	named := func(a *authority, path string) *tls.Certificate {
		return a.client(func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "a.example", Path: path}} })
	}
	k.cart, k.other = named(k.people, "/cart"), named(k.people, "/other")
	files := map[string]string{
		"gateway.yaml":  strings.Replace(mutualGateway, "  infrastructure: {parametersRef: {group: penstock.dev, kind: ProxyParameters, name: mutual}}", "", 1) + knownGateways,
		"ca.yaml":       harness.ConfigMap("ca", map[string]string{"ca.crt": inPEM("CERTIFICATE", k.people.root.Raw)}),
		"others.yaml":   harness.ConfigMap("others", map[string]string{"ca.crt": inPEM("CERTIFICATE", newAuthority(t).root.Raw)}),
		"consumer.yaml": knownConsumer,
	}
	service := harness.Service("a", "- {use: mtls-auth, config: {consumers: {}}}", harness.Upstream(t, harness.Echo))
	files["upstream.yaml"] = strings.Replace(service, "parentRefs: [{name: edge}]", "parentRefs: [{name: edge}, {name: two}, {name: three}, {name: four}]", 1)
	for _, name := range []string{"a", "b", "c", "d"} {
		crt, key := k.a.pair(name + ".example")
		files[name+".yaml"] = harness.SecretOf(name, crt, key)
	}
	k.Proxy = harness.Start(t, harness.Options{Images: []string{harness.BundledPlugins(t)}, Files: files})
	k.Eventually("the plugin runs", func() bool { return k.Chain("Service/default/a").State == "Running" })
	return k
}

// showing makes a client show a certificate, whoever it is asked by.
func showing(c *tls.Certificate, sessions tls.ClientSessionCache) func(*tls.Config) {
	return func(to *tls.Config) {
		to.ClientSessionCache = sessions
		to.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
	}
}

// TestKnownCertificates: who has shown a known certificate is its consumer, in a resumed
// session too, and until the Consumer is gone.
func TestKnownCertificates(t *testing.T) {
	k := newKnownBed(t)
	sessions := tls.NewLRUClientSessionCache(8)
	for _, resumed := range []bool{false, true} {
		nc := k.mustDial("a.example", showing(k.cart, sessions))
		r := k.get(nc, "a.example")
		if r.StatusCode != http.StatusOK || r.Header.Get("X-Got-X-Consumer-Username") != "cart" || nc.ConnectionState().DidResume != resumed {
			t.Errorf("resumed %v: got %d, %q", nc.ConnectionState().DidResume, r.StatusCode, r.Header.Get("X-Got-X-Consumer-Username"))
		}
	}
	k.want(k.mustDial("a.example", showing(k.other, nil)), "a.example", http.StatusForbidden)

	open := k.mustDial("a.example", showing(k.cart, nil))
	k.want(open, "a.example", http.StatusOK)
	k.Write("consumer.yaml", strings.Replace(knownConsumer, "a.example/cart", "a.example/other", 1))
	k.Eventually("the certificate is somebody's", func() bool {
		return k.get(k.mustDial("a.example", showing(k.other, nil)), "a.example").StatusCode == http.StatusOK
	})
	k.want(open, "a.example", http.StatusForbidden)
}

// TestUnknownCertificates: what no listener has verified, or another Gateway's, counts for
// nothing.
func TestUnknownCertificates(t *testing.T) {
	k := newKnownBed(t)
	for _, name := range []string{"c.example", "d.example"} { // it asks for none; it verifies none
		nc := k.mustDial(name, showing(k.cart, tls.NewLRUClientSessionCache(8)))
		k.want(nc, name, http.StatusForbidden)
	}

	// HTTP/2 over one connection for several names, as a client may that sees one address.
	for _, from := range []string{"a.example", "c.example", "d.example"} {
		status := k.reuse(t, from)
		want := map[string]int{"a.example": 421, "b.example": 421, "c.example": 421, "d.example": 421}
		want[from] = http.StatusForbidden
		if from == "a.example" {
			want[from] = http.StatusOK
		}
		for name, code := range want {
			if status[name] != code {
				t.Errorf("%s over the connection to %s: got %d; want %d", name, from, status[name], code)
			}
		}
	}
}

// reuse asks for all names over one connection of HTTP/2 that was made for one.
func (k *knownBed) reuse(t *testing.T, from string) map[string]int {
	t.Helper()
	c := &tls.Config{RootCAs: k.a.pool, ServerName: from}
	showing(k.cart, nil)(c)
	transport := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true, MaxConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	return k.ask(t, transport, 2)
}

// ask asks for all names at the proxy's address.
func (k *knownBed) ask(t *testing.T, through http.RoundTripper, major int) map[string]int {
	t.Helper()
	all := map[string]int{}
	for _, name := range []string{"a.example", "b.example", "c.example", "d.example"} {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/a", k.Port), nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Host = name
		r, err := through.RoundTrip(q)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
		if all[name] = r.StatusCode; r.ProtoMajor != major {
			t.Errorf("%s: got HTTP/%d", name, r.ProtoMajor)
		}
	}
	return all
}

// TestKnownOverHTTP3: the same over QUIC.
func TestKnownOverHTTP3(t *testing.T) {
	k := newKnownBed(t)
	c := &tls.Config{RootCAs: k.a.pool, ServerName: "a.example"}
	showing(k.cart, nil)(c)
	transport := &http3.Transport{TLSClientConfig: c}
	defer func() { _ = transport.Close() }()
	for name, code := range map[string]int{"a.example": http.StatusOK, "b.example": 421, "c.example": 421, "d.example": 421} {
		if got := k.ask(t, transport, 3)[name]; got != code {
			t.Errorf("%s: got %d; want %d", name, got, code)
		}
	}
}
