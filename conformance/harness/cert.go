package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// Secret makes a certificate for names that signs itself, and writes it as a Secret
// of type kubernetes.io/tls; pool trusts it.
func Secret(t testing.TB, name string, names ...string) (yaml string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(c)
	block := func(kind string, der []byte) string {
		text := string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
		return "|\n    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
	}
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: %s\n  tls.key: %s\n",
		name, block("CERTIFICATE", der), block("PRIVATE KEY", pkcs8)), pool
}

// SecureGateway is GatewayFor with HTTPS in place of HTTP, and the certificate of a
// Secret called edge.
func SecureGateway(registryPort int) string {
	return strings.Replace(GatewayFor(registryPort), "{name: http, protocol: HTTP, port: ${PORT}}", "{name: https, protocol: HTTPS, port: ${PORT}, tls: {certificateRefs: [{name: edge}]}}", 1)
}
