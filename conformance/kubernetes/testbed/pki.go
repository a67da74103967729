package testbed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// authority signs every certificate of the cluster.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// subject is who a certificate speaks for: a user and its groups, or the names
// and addresses of a server.
type subject struct {
	user      string
	groups    []string
	hostnames []string
	addresses []string
}

func newAuthority(file string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "penstock testbed"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key}, writePEM(file, "CERTIFICATE", der, 0o644)
}

// issue writes name.crt and name.key.
func (a *authority) issue(name string, s subject) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: s.user, Organization: s.groups},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		DNSNames:    s.hostnames,
	}
	for _, ip := range s.addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(ip))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return fmt.Errorf("issue %s: %w", name, err)
	}
	if err := writePEM(dir("pki", name+".crt"), "CERTIFICATE", der, 0o644); err != nil {
		return err
	}
	return writeKey(dir("pki", name+".key"), key)
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(file, "EC PRIVATE KEY", der, 0o600)
}

func writePEM(file, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}

// kubeconfig issues a certificate and writes a kubeconfig that holds it.
func (a *authority) kubeconfig(name string, s subject, server string) (file string, err error) {
	if err := a.issue(name, s); err != nil {
		return "", err
	}
	c := clientcmdapi.NewConfig()
	if c.Clusters["testbed"], err = cluster(server); err != nil {
		return "", err
	}
	user := clientcmdapi.NewAuthInfo()
	if user.ClientCertificateData, err = os.ReadFile(dir("pki", name+".crt")); err != nil {
		return "", err
	}
	if user.ClientKeyData, err = os.ReadFile(dir("pki", name+".key")); err != nil {
		return "", err
	}
	c.AuthInfos[name] = user
	c.Contexts["testbed"] = &clientcmdapi.Context{Cluster: "testbed", AuthInfo: name}
	c.CurrentContext = "testbed"
	file = dir("pki", name+".kubeconfig")
	return file, clientcmd.WriteToFile(*c, file)
}

func cluster(server string) (*clientcmdapi.Cluster, error) {
	ca, err := os.ReadFile(dir("pki", "ca.crt"))
	c := clientcmdapi.NewCluster()
	c.Server, c.CertificateAuthorityData = server, ca
	return c, err
}
