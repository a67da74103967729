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

// Pair makes a certificate for names that signs itself, and its key, in PEM.
func Pair(t testing.TB, names ...string) (crt, key []byte) {
	t.Helper()
	c, private := pair(t, names)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}

// pair returns a certificate that signs itself, and its key as PKCS #8.
func pair(t testing.TB, names []string) (*x509.Certificate, []byte) {
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
	return c, pkcs8
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

// BackendTLS is a BackendTLSPolicy for a Service, whose certificate must be for
// hostname and be vouched for by ca, in PEM.
func BackendTLS(service, hostname string, ca []byte) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: ConfigMap
metadata: {name: %[1]s-ca}
data:
  ca.crt: %[3]s
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: %[1]s}
spec:
  targetRefs: [{group: "", kind: Service, name: %[1]s}]
  validation: {hostname: %[2]s, caCertificateRefs: [{group: "", kind: ConfigMap, name: %[1]s-ca}]}
`, service, hostname, block(ca))
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
