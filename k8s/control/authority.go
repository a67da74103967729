package control

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"penstock.dev/penstock/core/remote"
)

const (
	authorityFor = 2 * 365 * 24 * time.Hour
	// A new authority is made when the newest has renewAuthority left, and signs once
	// proxies have had spread to learn of it.
	renewAuthority = 180 * 24 * time.Hour
	spread         = 24 * time.Hour
	leafFor        = 7 * 24 * time.Hour // renewed at half of it
	clockSkew      = 5 * time.Minute
	fileCAKey      = "ca.key"
	stateKeyBytes  = 32
)

// Authority is the certificate authority of a fleet. It lives in a Secret, so that
// every control process has the same one; its methods turn what a Secret holds
// into what it should hold, and leave reading and writing to the caller.
type Authority struct {
	now func() time.Time

	mu     sync.Mutex
	bundle []byte           // PEM of all that are valid
	server *tls.Certificate // control's own
	issued time.Time
}

// NewAuthority returns one that has read no Secret yet.
func NewAuthority(now func() time.Time) *Authority { return &Authority{now: now} }

// signer is an authority with its key.
type signer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// Renew returns what the authority's Secret should hold, given what it holds, and
// takes it over. changed says that it has to be written; then it counts only once
// it was, by another call with what was read.
func (a *Authority) Renew(have map[string][]byte) (want map[string][]byte, changed bool, err error) {
	now := a.now()
	all, err := signers(have)
	if err != nil {
		return nil, false, err
	}
	var valid []signer
	for _, s := range all {
		if now.Before(s.cert.NotAfter) {
			valid = append(valid, s)
		}
	}
	if len(valid) == 0 || valid[len(valid)-1].cert.NotAfter.Sub(now) < renewAuthority {
		made, err := newSigner(now)
		if err != nil {
			return nil, false, err
		}
		valid = append(valid, made)
		changed = true
	}
	want = map[string][]byte{}
	for _, s := range valid {
		key, err := x509.MarshalPKCS8PrivateKey(s.key)
		if err != nil {
			return nil, false, err
		}
		want[remote.FileCA] = append(want[remote.FileCA], pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw})...)
		want[fileCAKey] = append(want[fileCAKey], pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	}
	changed = changed || len(valid) != len(all)
	if changed {
		return want, true, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bundle = want[remote.FileCA]
	if a.server == nil || now.Sub(a.issued) > leafFor/2 || !signedBy(a.server, valid) {
		if a.server, err = leaf(signing(valid, now), now, x509.ExtKeyUsageServerAuth, remote.ServerName); err != nil {
			return nil, false, err
		}
		a.issued = now
	}
	return want, false, nil
}

// Proxy returns what the proxies' Secret should hold, given what it and the
// authority's hold.
func (a *Authority) Proxy(authority, have map[string][]byte) (want map[string][]byte, changed bool, err error) {
	now := a.now()
	valid, err := signers(authority)
	if err != nil || len(valid) == 0 {
		return nil, false, errors.Join(err, errors.New("there is no authority"))
	}
	want = map[string][]byte{remote.FileCA: authority[remote.FileCA], remote.FileCert: have[remote.FileCert], remote.FileKey: have[remote.FileKey], remote.FileStateKey: have[remote.FileStateKey]}
	if !bytes.Equal(have[remote.FileCA], want[remote.FileCA]) {
		changed = true
	}
	if len(want[remote.FileStateKey]) < stateKeyBytes {
		key := make([]byte, stateKeyBytes)
		if _, err := rand.Read(key); err != nil {
			return nil, false, err
		}
		want[remote.FileStateKey], changed = key, true
	}
	cert, err := tls.X509KeyPair(have[remote.FileCert], have[remote.FileKey])
	if err == nil && cert.Leaf.NotAfter.Sub(now) > leafFor/2 && signedBy(&cert, valid) {
		return want, changed, nil
	}
	made, err := leaf(signing(valid, now), now, x509.ExtKeyUsageClientAuth, "proxy.penstock.dev")
	if err != nil {
		return nil, false, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	if err != nil {
		return nil, false, err
	}
	want[remote.FileCert] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Certificate[0]})
	want[remote.FileKey] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	return want, true, nil
}

// TLS returns what control meets connections with.
func (a *Authority) TLS() (*tls.Config, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server == nil {
		return nil, errors.New("the authority is not read yet")
	}
	return remote.Mutual(*a.server, a.bundle)
}

// signers reads an authority's Secret: certificates and keys in the same order.
func signers(data map[string][]byte) ([]signer, error) {
	var all []signer
	certs, keys := data[remote.FileCA], data[fileCAKey]
	for {
		var c, k *pem.Block
		c, certs = pem.Decode(certs)
		k, keys = pem.Decode(keys)
		if c == nil && k == nil {
			return all, nil
		}
		if c == nil || k == nil {
			return nil, fmt.Errorf("%s and %s do not belong together", remote.FileCA, fileCAKey)
		}
		cert, err := x509.ParseCertificate(c.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", remote.FileCA, err)
		}
		key, err := x509.ParsePKCS8PrivateKey(k.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", fileCAKey, err)
		}
		s, ok := key.(*ecdsa.PrivateKey)
		if !ok || !s.PublicKey.Equal(cert.PublicKey) {
			return nil, fmt.Errorf("%s and %s do not belong together", remote.FileCA, fileCAKey)
		}
		all = append(all, signer{cert, s})
	}
}

// signing returns the newest authority that proxies have had time to learn of.
func signing(valid []signer, now time.Time) signer {
	for i := len(valid) - 1; i > 0; i-- {
		if now.Sub(valid[i].cert.NotBefore) > spread {
			return valid[i]
		}
	}
	return valid[0]
}

func signedBy(c *tls.Certificate, valid []signer) bool {
	for _, s := range valid {
		if c.Leaf.CheckSignatureFrom(s.cert) == nil {
			return true
		}
	}
	return false
}

func newSigner(now time.Time) (signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return signer{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Penstock control"}, NotBefore: now.Add(-clockSkew), NotAfter: now.Add(authorityFor),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return signer{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return signer{cert, key}, err
}

func leaf(by signer, now time.Time, usage x509.ExtKeyUsage, name string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: now.Add(-clockSkew), NotAfter: now.Add(leafFor),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}, err
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // there is no randomness: nothing is safe
	}
	return n
}
