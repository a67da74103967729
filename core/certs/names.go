package certs

import (
	"crypto/x509"
	"net/url"
	"slices"
	"strings"

	"penstock.dev/penstock/core/config"
)

// hasName reports whether a certificate's subjectAltName holds one of names
// (RFC 6125, 6.4; SPIFFE X509-SVID, 2).
func hasName(c *x509.Certificate, names []config.SubjectAltName) bool {
	return slices.ContainsFunc(names, func(n config.SubjectAltName) bool {
		if n.URI != "" {
			return slices.ContainsFunc(c.URIs, func(u *url.URL) bool { return u.String() == n.URI })
		}
		return hasDNS(c, n.DNS)
	})
}

// hasDNS reports whether a certificate is for name; a wildcard is for itself,
// and for the names that it stands for.
func hasDNS(c *x509.Certificate, name string) bool {
	suffix, isWildcard := strings.CutPrefix(name, "*")
	if !isWildcard {
		return c.VerifyHostname(name) == nil
	}
	return slices.ContainsFunc(c.DNSNames, func(one string) bool {
		one = strings.ToLower(one)
		rest, ok := strings.CutSuffix(one, suffix)
		return ok && rest != "" && !strings.Contains(rest, ".")
	})
}
