package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock/core/config"
)

// choice is the certificates of a listener; immutable.
type choice struct {
	exact    map[string][]*tls.Certificate
	wildcard map[string][]*tls.Certificate // by ".example"
	// fallback begins with what is shown to those who ask for none of the names.
	fallback []*tls.Certificate
}

// newChoice readies certificates. loaded holds those of before, by hash.
func newChoice(list []*config.Certificate, loaded func(*config.Certificate) (*tls.Certificate, error)) (*choice, error) {
	c := &choice{exact: map[string][]*tls.Certificate{}, wildcard: map[string][]*tls.Certificate{}}
	for _, one := range list {
		cert, err := loaded(one)
		if err != nil {
			return nil, err
		}
		c.fallback = append(c.fallback, cert)
		for _, name := range one.Names {
			if suffix, ok := strings.CutPrefix(name, "*"); ok {
				c.wildcard[suffix] = append(c.wildcard[suffix], cert)
			} else {
				c.exact[name] = append(c.exact[name], cert)
			}
		}
	}
	for _, same := range []map[string][]*tls.Certificate{c.exact, c.wildcard} {
		for _, certs := range same {
			slices.SortStableFunc(certs, func(a, b *tls.Certificate) int { return cost(a) - cost(b) })
		}
	}
	// Those that share a name with the first one stand for each other.
	if len(list) > 0 && len(list[0].Names) > 0 {
		group := c.find(strings.Replace(list[0].Names[0], "*", "x", 1))
		rest := slices.DeleteFunc(c.fallback, func(cert *tls.Certificate) bool { return slices.Contains(group, cert) })
		c.fallback = slices.Concat(group, rest)
	}
	return c, nil
}

// cost orders keys by what a signature takes.
func cost(c *tls.Certificate) int {
	switch c.PrivateKey.(crypto.Signer).Public().(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return 0
	}
	return 1
}

// find returns the certificates for a name: those that name it, else those with
// a wildcard for its first label (RFC 6125, 6.4.3); nil if there are none.
func (c *choice) find(name string) []*tls.Certificate {
	if list := c.exact[name]; list != nil {
		return list
	}
	if i := strings.IndexByte(name, '.'); i > 0 {
		return c.wildcard[name[i:]]
	}
	return nil
}

// certificate returns what the client is shown: of the certificates for the name
// the first that it can check. nil if there is no certificate at all.
func (c *choice) certificate(hello *tls.ClientHelloInfo, name string) *tls.Certificate {
	list := c.find(name)
	if list == nil {
		list = c.fallback
	}
	asked := *hello
	asked.ServerName = "" // the name has been looked at
	for _, cert := range list {
		if asked.SupportsCertificate(cert) == nil {
			return cert
		}
	}
	if len(list) > 0 {
		return list[0] // let the handshake say why not
	}
	return nil
}

// load makes a certificate ready for use.
func load(c *config.Certificate) (*tls.Certificate, error) {
	if len(c.Chain) == 0 {
		return nil, fmt.Errorf("%s: no certificate", c.Object)
	}
	leaf, err := x509.ParseCertificate(c.Chain[0])
	if err != nil {
		return nil, fmt.Errorf("%s: certificate: %w", c.Object, err)
	}
	key, err := x509.ParsePKCS8PrivateKey(c.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: the key cannot be read", c.Object) // the cause might tell of it
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: the key cannot sign", c.Object)
	}
	if public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(signer.Public()) {
		return nil, fmt.Errorf("%s: the key is not the certificate's", c.Object)
	}
	return &tls.Certificate{Certificate: c.Chain, PrivateKey: signer, Leaf: leaf}, nil
}
