package bed

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// adminName is the name in the certificate of control's admin address.
	adminName = "penstock-admin"
	adminPort = "9901"
)

// Admin is an authority for control's remote admin address, and for its clients.
type Admin struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAdmin returns a new authority.
func NewAdmin() (*Admin, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "admin"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &Admin{cert, key}, err
}

// Certificate returns one for a use.
func (a *Admin) Certificate(use x509.ExtKeyUsage) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: adminName}, DNSNames: []string{adminName}, ExtKeyUsage: []x509.ExtKeyUsage{use},
		KeyUsage: x509.KeyUsageDigitalSignature, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, about, a.cert, &key.PublicKey, a.key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// Options returns o with control's admin address on all of its Pods' addresses, as
// docs/kubernetes.md says.
func (a *Admin) Options(o Options) (Options, error) {
	cert, err := a.Certificate(x509.ExtKeyUsageServerAuth)
	if err != nil {
		return o, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return o, err
	}
	o.Objects += fmt.Sprintf("---\napiVersion: v1\nkind: Secret\nmetadata: {name: penstock-admin, namespace: %s}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: %q\n  tls.key: %q\n  ca.crt: %q\n", Namespace,
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
	replace := maps.Clone(o.Replace)
	if replace == nil {
		replace = map[string]string{}
	}
	replace[`--images, /plugins, --health, "0.0.0.0:9902"]`] = `--images, /plugins, --health, "0.0.0.0:9902", --admin, "0.0.0.0:` + adminPort + `", --admin-tls, /admin]`
	replace["volumeMounts:\n        - {name: state, mountPath: /state}"] = "volumeMounts:\n        - {name: admin, mountPath: /admin, readOnly: true}\n        - {name: state, mountPath: /state}"
	replace["volumes:\n      - {name: state, emptyDir: {}}"] = "volumes:\n      - {name: admin, secret: {secretName: penstock-admin, defaultMode: 0444}}\n      - {name: state, emptyDir: {}}"
	o.Replace = replace
	return o, nil
}

// Client returns a client of the admin address that shows a certificate; nil: none.
func (a *Admin) Client(cert *tls.Certificate) *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	c := &tls.Config{RootCAs: pool, ServerName: adminName}
	if cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}}
}

// AdminURL returns where the process that leads has its admin address.
func (b *Bed) AdminURL(t testing.TB) (url string) {
	t.Helper()
	Eventually(t, "a process leads", 30*time.Second, func() error {
		leader, err := b.Leader(context.Background())
		if err != nil {
			return err
		}
		url = AdminOf(leader)
		return nil
	})
	return url
}

// AdminOf returns where a Pod of control has its admin address.
func AdminOf(p *corev1.Pod) string { return "https://" + p.Status.PodIP + ":" + adminPort }

// Ask gets a URL with a bearer token, empty: with none.
func Ask(c *http.Client, url, token string) (status int, body string, err error) {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}
