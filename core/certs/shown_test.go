package certs

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
)

// certificateOf is a certificate as one would be read.
func certificateOf(change func(*x509.Certificate)) *x509.Certificate {
	c := &x509.Certificate{
		Raw: []byte("der"), SerialNumber: big.NewInt(0x1f), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<31, 0),
		Subject: pkix.Name{CommonName: "cart", Names: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "cart"}}},
	}
	change(c)
	return c
}

func TestShown(t *testing.T) {
	spiffe := &url.URL{Scheme: "spiffe", Host: "a.example", Path: "/<cart>"}
	whole := certificateOf(func(c *x509.Certificate) {
		c.URIs, c.DNSNames, c.EmailAddresses = []*url.URL{spiffe}, []string{"b.example", "a.example"}, []string{"a@a.example"}
		c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1)}
	})
	got := string(Shown(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{whole}, VerifiedChains: [][]*x509.Certificate{{whole}}}))
	for _, part := range []string{
		`"subject":"CN=cart"`, `"commonName":"cart"`, `"uris":["spiffe://a.example/%3Ccart%3E"]`, `"dns":["b.example","a.example"]`, `"emails":["a@a.example"]`,
		`"ips":["192.0.2.1"]`, `"serial":"1f"`, `"notBefore":"1970-01-01T00:00:00Z"`, `"notAfter":"2038-01-19T03:14:08Z"`,
	} {
		if !strings.Contains(got, part) {
			t.Errorf("%s is missing in %s", part, got)
		}
	}
	var read shown
	if err := json.Unmarshal([]byte(got), &read); err != nil || len(read.SHA256) != 64 {
		t.Errorf("%v: sha256 %q", err, read.SHA256)
	}
}

// TestNotShown: what nobody has verified, or what could be taken for another name, says
// nothing.
func TestNotShown(t *testing.T) {
	good := certificateOf(func(*x509.Certificate) {})
	if got := Shown(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{good}}); got != nil {
		t.Errorf("unverified: got %s", got)
	}
	if got := Shown(&tls.ConnectionState{}); got != nil {
		t.Errorf("none: got %s", got)
	}
	name := func(cn ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.Subject = pkix.Name{CommonName: cn[len(cn)-1]}
			for _, one := range cn {
				c.Subject.Names = append(c.Subject.Names, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: one})
			}
		}
	}
	for what, change := range map[string]func(*x509.Certificate){
		"two common names":    name("admin", "cart"),
		"a NUL":               name("admin\x00.example"),
		"letters that are no": name("adm\xffin"),
		"control in a SAN":    func(c *x509.Certificate) { name("a", "b")(c); c.DNSNames = []string{"a\n", ""} },
	} {
		c := certificateOf(change)
		got := string(Shown(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}, VerifiedChains: [][]*x509.Certificate{{c}}}))
		if got == "" || strings.Contains(got, `"commonName"`) || strings.Contains(got, `"dns"`) {
			t.Errorf("%s: got %s", what, got)
		}
	}
	large := certificateOf(func(c *x509.Certificate) { c.DNSNames = []string{strings.Repeat("a", maxShown)} })
	if got := Shown(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{large}, VerifiedChains: [][]*x509.Certificate{{large}}}); got != nil {
		t.Errorf("a large one: got %d bytes", len(got))
	}
}

// TestUncheckedResumesNothingVerified: a session of a time when certificates were checked
// would say that one has been.
func TestUncheckedResumesNothingVerified(t *testing.T) {
	people, key := newAuthority(t, "people", nil), ecKey()
	leaf := people.sign(&x509.Certificate{SerialNumber: big.NewInt(7), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, key.Public())
	server := certificate(t, "a", ecKey(), "a.example")
	asking := func(a config.ClientAuth) config.ServerName {
		a.Roots = [][]byte{people.cert.Raw}
		return config.ServerName{Hostname: "a.example", TLS: &config.TLS{Certificates: []*config.Certificate{server}, Clients: &a, Tickets: [][]byte{make([]byte, 32)}}}
	}
	s := newServer(t, asking(config.ClientAuth{Optional: true}))
	c := &tls.Config{ServerName: "a.example", ClientSessionCache: tls.NewLRUClientSessionCache(8), Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}}}
	for i, want := range []bool{false, true} {
		if state, _, err := shake(t, s, c); err != nil || state.DidResume != want {
			t.Fatalf("handshake %d: resumed %v, %v", i, state.DidResume, err)
		}
	}
	if err := s.Set([]config.ServerName{asking(config.ClientAuth{Unchecked: true})}); err != nil {
		t.Fatal(err)
	}
	if state, _, err := shake(t, s, c); err != nil || state.DidResume {
		t.Errorf("a session of before: resumed %v, %v", state.DidResume, err)
	}
}
