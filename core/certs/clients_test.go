package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
)

func TestNames(t *testing.T) {
	id, err := url.Parse("spiffe://a.example/ns/x")
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{DNSNames: []string{"A.example", "*.wild.example", "x.b.example"}, URIs: []*url.URL{id}}
	for _, tt := range []struct {
		name config.SubjectAltName
		want bool
	}{
		{config.SubjectAltName{DNS: "a.example"}, true},
		{config.SubjectAltName{DNS: "b.example"}, false},
		{config.SubjectAltName{DNS: "y.wild.example"}, true},
		{config.SubjectAltName{DNS: "z.y.wild.example"}, false},
		{config.SubjectAltName{DNS: "*.wild.example"}, true},
		{config.SubjectAltName{DNS: "*.b.example"}, true},
		{config.SubjectAltName{DNS: "*.example"}, true},    // A.example
		{config.SubjectAltName{DNS: "*.a.example"}, false}, // not the domain itself
		{config.SubjectAltName{URI: "spiffe://a.example/ns/x"}, true},
		{config.SubjectAltName{URI: "spiffe://a.example/ns/x/"}, false},
		{config.SubjectAltName{URI: "spiffe://A.example/ns/x"}, false},
	} {
		if got := hasName(c, []config.SubjectAltName{tt.name}); got != tt.want {
			t.Errorf("%+v: got %v; want %v", tt.name, got, tt.want)
		}
	}
}

// authority is a certificate that signs others.
type authority struct {
	t    *testing.T
	key  crypto.Signer
	cert *x509.Certificate
}

// newAuthority makes one, below parent if that is not nil.
func newAuthority(t *testing.T, title string, parent *authority) *authority {
	t.Helper()
	a := &authority{t: t, key: ecKey()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: title}, IsCA: true, BasicConstraintsValid: true, SubjectKeyId: []byte(title),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if parent == nil {
		parent = &authority{t: t, key: a.key, cert: template}
	}
	a.cert = parent.sign(template, a.key.Public())
	return a
}

func (a *authority) sign(template *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

// revoke makes a list of serial numbers that holds for d from now.
func (a *authority) revoke(d time.Duration, serials ...int64) []byte {
	a.t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(d)}
	for _, s := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

func TestRevocation(t *testing.T) {
	root := newAuthority(t, "root", nil)
	below := newAuthority(t, "below", root)
	impostor := newAuthority(t, "below", nil) // the same name, another key
	leaf := below.sign(&x509.Certificate{SerialNumber: big.NewInt(300), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ecKey().Public())
	for _, tt := range []struct {
		name  string
		lists [][]byte
		want  error
	}{
		{"no list at all", nil, nil},
		{"others are revoked", [][]byte{below.revoke(time.Hour, 299, 301)}, nil},
		{"it is revoked", [][]byte{below.revoke(time.Hour, 299, 300)}, errRevoked},
		{"its authority is revoked", [][]byte{below.revoke(time.Hour), root.revoke(time.Hour, 7)}, errRevoked},
		{"its authority has no list", [][]byte{root.revoke(time.Hour)}, errNoList},
		{"the list is too old", [][]byte{below.revoke(-time.Minute)}, errOldList},
	} {
		c, err := newClients(&config.ClientAuth{Roots: [][]byte{root.cert.Raw}, Revoked: tt.lists})
		if err != nil {
			t.Fatal(err)
		}
		err = c.check(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf, below.cert}, DidResume: true})
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: got %v; want %v", tt.name, err, tt.want)
		}
		if tt.want != nil && ClientRefusal(err) != ClientRevoked {
			t.Errorf("%s: got reason %q", tt.name, ClientRefusal(err))
		}
	}
	c, err := newClients(&config.ClientAuth{Roots: [][]byte{root.cert.Raw}, Revoked: [][]byte{impostor.revoke(time.Hour)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.check(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf, below.cert}, DidResume: true}); ClientRefusal(err) != ClientRevoked {
		t.Errorf("a list that another key signed: got %v", err)
	}
}

// TestClientsThatCannotBeJudged: nobody is let in.
func TestClientsThatCannotBeJudged(t *testing.T) {
	s := NewServer(&Tickets{}, "socket", nil)
	n := name("a.example", certificate(t, "a", ecKey(), "a.example"))
	n.TLS.Clients = &config.ClientAuth{Optional: true, Roots: [][]byte{{1, 2, 3}}}
	if err := s.Set([]config.ServerName{n}); err == nil || !strings.Contains(err.Error(), "client certificates") {
		t.Errorf("got %v", err)
	}
	if _, _, err := shake(t, s, &tls.Config{ServerName: "a.example"}); err == nil {
		t.Error("a client was let in")
	}
}
