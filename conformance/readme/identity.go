package readme

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Identities are the certificates of examples with HTTPS, by the files that curl is told: the
// authority ca.pem has signed shop.pem, the listener's, and those of the clients cart.pem and
// other.pem, whose keys are cart.key and other.key.
type Identities struct {
	root  *x509.Certificate
	key   *ecdsa.PrivateKey
	pairs map[string]tls.Certificate // by name, "cart"
	// Objects are the Secret shop-tls and the ConfigMap clients, which examples name.
	Objects string
}

// NewIdentities makes certificates that hold for a day.
func NewIdentities() (*Identities, error) {
	m := &Identities{pairs: map[string]tls.Certificate{}}
	var err error
	if m.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	root := &x509.Certificate{Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	if m.root, err = m.sign(root, root, &m.key.PublicKey); err != nil {
		return nil, err
	}
	if err := m.add("shop", &x509.Certificate{DNSNames: []string{"shop.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
		return nil, err
	}
	for _, name := range []string{"cart", "other"} {
		of := &url.URL{Scheme: "spiffe", Host: "shop.example", Path: "/" + name}
		if err := m.add(name, &x509.Certificate{URIs: []*url.URL{of}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			return nil, err
		}
	}
	return m, m.write()
}

// sign signs a certificate.
func (m *Identities) sign(template, parent *x509.Certificate, public *ecdsa.PublicKey) (*x509.Certificate, error) {
	template.SerialNumber = big.NewInt(int64(len(m.pairs) + 1))
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, m.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func (m *Identities) add(name string, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	c, err := m.sign(template, m.root, &key.PublicKey)
	if err != nil {
		return err
	}
	m.pairs[name] = tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key, Leaf: c}
	return nil
}

// write writes the objects.
func (m *Identities) write() error {
	shop := m.pairs["shop"]
	key, err := x509.MarshalPKCS8PrivateKey(shop.PrivateKey)
	if err != nil {
		return err
	}
	text := func(kind string, der []byte) string {
		return strings.ReplaceAll(strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))), "\n", "\n    ")
	}
	m.Objects = fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: shop-tls}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n    %s\n  tls.key: |\n    %s\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: clients}\ndata:\n  ca.crt: |\n    %s\n",
		text("CERTIFICATE", shop.Certificate[0]), text("PRIVATE KEY", key), text("CERTIFICATE", m.root.Raw))
	return nil
}

// Client returns what makes the step's request as base does, with the certificates that the
// command names; base itself for one without TLS. m may be nil for those alone.
func (m *Identities) Client(s *Step, base *http.Client) (*http.Client, error) {
	if !s.Secure() {
		return base, nil
	}
	c := &tls.Config{ServerName: s.curl.url.Hostname(), RootCAs: x509.NewCertPool()}
	if s.curl.ca == "ca.pem" { // else nobody is trusted
		c.RootCAs.AddCert(m.root)
	}
	if s.curl.cert != "" {
		name := strings.TrimSuffix(s.curl.cert, ".pem")
		pair, ok := m.pairs[name]
		if !ok || s.curl.cert != name+".pem" || s.curl.key != name+".key" {
			return nil, fmt.Errorf("$ %s: there are no files %s and %s", s.Line, s.curl.cert, s.curl.key)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	made := *base
	made.Transport = &http.Transport{DisableCompression: true, DisableKeepAlives: true, TLSClientConfig: c}
	return &made, nil
}
