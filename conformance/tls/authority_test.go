package tls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// authority signs certificates that clients of the test trust.
type authority struct {
	t      *testing.T
	key    *ecdsa.PrivateKey
	root   *x509.Certificate
	pool   *x509.CertPool
	serial int64
	// secrets are lines of the keys, which nothing may show.
	secrets []string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, key: harness.NewKey(t), pool: x509.NewCertPool()}
	a.root = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true}, a.key.Public())
	a.pool.AddCert(a.root)
	return a
}

// sign makes a certificate; the first one is the root.
func (a *authority) sign(template *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	a.t.Helper()
	a.serial++
	template.SerialNumber = big.NewInt(a.serial)
	return harness.Sign(a.t, template, a.root, public, a.key)
}

// pair makes a certificate for the names, and its key, in PEM. Its serial number
// is a.serial then.
func (a *authority) pair(names ...string) (crt, key []byte) {
	a.t.Helper()
	k := harness.NewKey(a.t)
	crt, key = harness.PEM(a.t, a.sign(&x509.Certificate{DNSNames: names}, k.Public()), k)
	lines := strings.Split(strings.TrimSpace(string(key)), "\n")
	a.secrets = append(a.secrets, lines[1:len(lines)-1]...)
	return crt, key
}

// encoded is a Secret in base64, as kubectl shows it.
func encoded(name string, crt, key []byte) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ntype: kubernetes.io/tls\ndata:\n  tls.crt: %s\n  tls.key: %s\n",
		name, base64.StdEncoding.EncodeToString(crt), base64.StdEncoding.EncodeToString(key))
}
