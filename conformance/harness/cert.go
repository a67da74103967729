package harness

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// NewKey makes a key on the curve P-256.
func NewKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Sign makes a certificate of a template, with an hour before and after now. by
// signs, which is the key of parent; nil: the certificate signs itself.
func Sign(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	t.Helper()
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// PEM encodes a certificate and its key.
func PEM(t testing.TB, c *x509.Certificate, private *ecdsa.PrivateKey) (crt, key []byte) {
	t.Helper()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// Pair makes a certificate for names that signs itself, and its key, in PEM.
func Pair(t testing.TB, names ...string) (crt, key []byte) {
	t.Helper()
	private := NewKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, IsCA: true, BasicConstraintsValid: true}
	return PEM(t, Sign(t, template, nil, private.Public(), private), private)
}

// Leaf reads a certificate in PEM. spki is what Chromium knows its key by.
func Leaf(t testing.TB, crt []byte) (c *x509.Certificate, spki string) {
	t.Helper()
	block, _ := pem.Decode(crt)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return c, base64.StdEncoding.EncodeToString(sum[:])
}

// Secret makes a certificate as Pair does, and writes it as SecretOf does; pool
// trusts it.
func Secret(t testing.TB, name string, names ...string) (yaml string, pool *x509.CertPool) {
	t.Helper()
	crt, key := Pair(t, names...)
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(crt)
	return SecretOf(name, crt, key), pool
}

// SecretOf is a Secret of type kubernetes.io/tls.
func SecretOf(name string, crt, key []byte) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: %s\n  tls.key: %s\n", name, block(crt), block(key))
}

// ConfigMap is one with these texts.
func ConfigMap(name string, data map[string]string) string {
	text := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata:\n", name)
	for key, value := range data {
		text += "  " + key + ": " + block([]byte(value)) + "\n"
	}
	return text
}

// BackendTLS is a BackendTLSPolicy for a Service, whose certificate must be for
// hostname and be vouched for by ca, in PEM.
func BackendTLS(service, hostname string, ca []byte) string {
	return ConfigMap(service+"-ca", map[string]string{"ca.crt": string(ca)}) + fmt.Sprintf(`---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: %[1]s}
spec:
  targetRefs: [{group: "", kind: Service, name: %[1]s}]
  validation: {hostname: %[2]s, caCertificateRefs: [{group: "", kind: ConfigMap, name: %[1]s-ca}]}
`, service, hostname)
}

// block writes a text of several lines as YAML, two deep.
func block(text []byte) string {
	return "|\n    " + strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\n    ")
}

// SecureGateway is GatewayFor with HTTPS in place of HTTP, and the certificate of a
// Secret called edge.
func SecureGateway(registryPort int) string {
	return strings.Replace(GatewayFor(registryPort), "{name: http, protocol: HTTP, port: ${PORT}}", "{name: https, protocol: HTTPS, port: ${PORT}, tls: {certificateRefs: [{name: edge}]}}", 1)
}
