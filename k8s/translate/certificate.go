package translate

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"penstock.dev/penstock/core/config"
)

// keyPair is what a Secret of type kubernetes.io/tls holds, or what is wrong with it.
type keyPair struct {
	config *config.Certificate
	leaf   *x509.Certificate
	err    error
}

// certificate reads a Secret.
func (r *run) certificate(secret *corev1.Secret) *keyPair {
	o := object("Secret", secret)
	return r.t.memo.certificates.get(o.String(), version(secret), func() *keyPair {
		if secret.Type != corev1.SecretTypeTLS {
			return &keyPair{err: fmt.Errorf("it is of type %.40q: want %s", secret.Type, corev1.SecretTypeTLS)}
		}
		for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			if len(secret.Data[key]) == 0 {
				return &keyPair{err: fmt.Errorf("it has no %s, or it is empty", key)}
			}
		}
		c, leaf, err := parseKeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
		if err != nil {
			return &keyPair{err: err}
		}
		c.Object = o
		return &keyPair{config: c, leaf: leaf}
	})
}

// maxChain bounds the certificates of a chain, which every handshake sends.
const maxChain = 16

// parseKeyPair reads a chain, the server's own certificate first, and its key,
// both in PEM. An error says what is wrong, never a part of the key.
func parseKeyPair(chain, key []byte) (*config.Certificate, *x509.Certificate, error) {
	certs, err := parseChain(chain)
	if err != nil {
		return nil, nil, err
	}
	signer, err := parseKey(key)
	if err != nil {
		return nil, nil, err
	}
	leaf := certs[0]
	if !fits(leaf, signer) {
		for i, c := range certs {
			if fits(c, signer) {
				return nil, nil, fmt.Errorf("%s: the key is that of certificate %d: it must be the first", corev1.TLSCertKey, i+1)
			}
		}
		return nil, nil, fmt.Errorf("%s is not the key of %s: they are from different pairs", corev1.TLSPrivateKeyKey, corev1.TLSCertKey)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, nil, errKey
	}
	c := &config.Certificate{NotAfter: leaf.NotAfter, Key: pkcs8}
	sum := sha256.New()
	for _, one := range certs {
		c.Chain = append(c.Chain, one.Raw)
		sum.Write(one.Raw)
	}
	c.Hash = hex.EncodeToString(sum.Sum(nil))
	for _, name := range leaf.DNSNames {
		c.Names = append(c.Names, strings.ToLower(name))
	}
	return c, leaf, nil
}

func parseChain(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s holds a %.40q: want certificates only", corev1.TLSCertKey, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d cannot be read: %w", corev1.TLSCertKey, len(certs)+1, err)
		}
		if certs = append(certs, c); len(certs) > maxChain {
			return nil, fmt.Errorf("%s: more than %d certificates", corev1.TLSCertKey, maxChain)
		}
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s holds no certificate in PEM", corev1.TLSCertKey)
	}
	return certs, nil
}

var errKey = fmt.Errorf("%s cannot be read: want one private key in PEM, as PKCS #8, PKCS #1 or SEC 1", corev1.TLSPrivateKeyKey)

// parseKey reads a key that TLS can sign with.
func parseKey(text []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var key any
		var err error
		switch block.Type {
		case "EC PARAMETERS": // openssl writes them before the key
			continue
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, fmt.Errorf("%s is encrypted: want it without a password", corev1.TLSPrivateKeyKey)
		default:
			return nil, errKey
		}
		if err != nil || block.Headers["DEK-Info"] != "" {
			return nil, errKey
		}
		return usable(key)
	}
	return nil, errKey
}

func usable(key any) (crypto.Signer, error) {
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P224() {
			return nil, errors.New("the key is on P-224, which TLS does not have: want P-256, P-384 or P-521")
		}
		return k, nil
	case *rsa.PrivateKey:
		if k.N.BitLen() < 2048 || k.N.BitLen() > 8192 {
			return nil, fmt.Errorf("the RSA key has %d bits: want 2048 to 8192", k.N.BitLen())
		}
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, errors.New("want an ECDSA, RSA or Ed25519 key")
}

func fits(c *x509.Certificate, key crypto.Signer) bool {
	public, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key.Public())
}
