package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"penstock.dev/penstock/core/config"
)

// Why a client's certificate is refused.
const (
	ClientMissing Refusal = "client_certificate_missing"
	ClientInvalid Refusal = "client_certificate_invalid" // no chain to the authorities, expired, not for clients
	ClientRevoked Refusal = "client_certificate_revoked" // or its authority's list is missing or too old
	ClientName    Refusal = "client_certificate_name"    // good, and somebody else's
)

// clientError is why a client's certificate is refused.
type clientError struct {
	why Refusal
	err error
}

func (e *clientError) Error() string { return string(e.why) + ": " + e.err.Error() }
func (e *clientError) Unwrap() error { return e.err }

// ClientRefusal returns why a handshake failed on the client's certificate; ""
// if it did not. err is this side's: TLS's, or QUIC's around it.
func ClientRefusal(err error) Refusal {
	var known *clientError
	var invalid *tls.CertificateVerificationError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &known):
		return known.why
	case errors.As(err, &invalid):
		return ClientInvalid
	case strings.HasSuffix(err.Error(), "tls: client didn't provide a certificate"): // crypto/tls has no value for it
		return ClientMissing
	}
	return ""
}

// clients checks the certificates of a listener's clients; immutable.
type clients struct {
	auth  *config.ClientAuth
	roots *x509.CertPool
	lists map[string]*revoked // by the authority's subject, DER
}

// revoked is an authority's list (RFC 5280, 5).
type revoked struct {
	list    *x509.RevocationList
	serials map[string]struct{}
}

// newClients reads authorities and lists; all that is wrong with them is in err.
func newClients(a *config.ClientAuth) (*clients, error) {
	roots, err := pool(a.Roots)
	if err != nil {
		return nil, err
	}
	c := &clients{auth: a, roots: roots, lists: map[string]*revoked{}}
	for _, der := range a.Revoked {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("a revocation list: %w", err)
		}
		key := string(list.RawIssuer)
		if old := c.lists[key]; old != nil && old.list.ThisUpdate.After(list.ThisUpdate) {
			continue
		}
		r := &revoked{list: list, serials: make(map[string]struct{}, len(list.RevokedCertificateEntries))}
		for i := range list.RevokedCertificateEntries {
			r.serials[string(list.RevokedCertificateEntries[i].SerialNumber.Bytes())] = struct{}{}
		}
		c.lists[key] = r
	}
	return c, nil
}

// ask makes a listener ask for certificates. A connection has VerifiedChains only
// if what its client showed was judged good.
func (c *clients) ask(to *tls.Config) {
	to.ClientCAs = c.roots
	switch {
	case c.auth.Unchecked:
		to.ClientAuth = tls.RequestClientCert
		return
	case c.auth.Optional:
		to.ClientAuth = tls.VerifyClientCertIfGiven
	default:
		to.ClientAuth = tls.RequireAndVerifyClientCert
	}
	to.VerifyConnection = c.check
}

// check judges what a client shows. A session that is resumed is judged again, by
// the authorities and lists of today.
func (c *clients) check(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return nil // optional, else crypto/tls has refused it
	}
	own, chains := s.PeerCertificates[0], s.VerifiedChains
	var err error
	if s.DidResume {
		if chains, err = chainsOf(s.PeerCertificates, c.roots, x509.ExtKeyUsageClientAuth); err != nil {
			return &clientError{ClientInvalid, err}
		}
	}
	if len(c.auth.Names) > 0 && !hasName(own, c.auth.Names) {
		return &clientError{ClientName, errName}
	}
	if len(c.lists) == 0 {
		return nil
	}
	for _, chain := range chains {
		if err = c.standing(chain, time.Now()); err == nil {
			return nil
		}
	}
	return &clientError{ClientRevoked, err}
}

var (
	errRevoked = errors.New("the certificate is revoked")
	errNoList  = errors.New("its authority has no revocation list")
	errOldList = errors.New("its authority's revocation list is too old")
)

// standing reports whether nothing in a chain is revoked. The authority of the
// client's own certificate must have a list; an older one than it promised to
// renew says nothing any more.
func (c *clients) standing(chain []*x509.Certificate, now time.Time) error {
	for i, one := range chain[:len(chain)-1] {
		by := chain[i+1]
		r := c.lists[string(by.RawSubject)]
		switch {
		case r == nil && i == 0:
			return errNoList
		case r == nil:
			continue
		case !r.list.NextUpdate.IsZero() && now.After(r.list.NextUpdate):
			return errOldList
		}
		if err := r.list.CheckSignatureFrom(by); err != nil {
			return err
		}
		if _, yes := r.serials[string(one.SerialNumber.Bytes())]; yes {
			return errRevoked
		}
	}
	return nil
}
