package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxShown bounds what is told of a certificate, in bytes.
const maxShown = 16 << 10

// shown is what plugins are told of a client's certificate.
type shown struct {
	Subject    string    `json:"subject"`
	Issuer     string    `json:"issuer"`
	CommonName string    `json:"commonName,omitempty"`
	URIs       []string  `json:"uris,omitempty"`
	DNS        []string  `json:"dns,omitempty"`
	Emails     []string  `json:"emails,omitempty"`
	IPs        []string  `json:"ips,omitempty"`
	Serial     string    `json:"serial"`
	SHA256     string    `json:"sha256"`
	NotBefore  time.Time `json:"notBefore"`
	NotAfter   time.Time `json:"notAfter"`
}

// Shown describes the certificate that a client has shown, as a JSON object: subject,
// issuer (RFC 2253), commonName, uris, dns, emails, ips, serial and sha256 (of the DER;
// both hexadecimal), notBefore, notAfter (RFC 3339). nil unless its chain was verified, and
// if it takes more than 16 KiB. A text with control characters is left out, and the common
// name where there are several: nobody is to be taken for somebody else.
func Shown(s *tls.ConnectionState) []byte {
	if len(s.VerifiedChains) == 0 || len(s.PeerCertificates) == 0 {
		return nil
	}
	c := s.PeerCertificates[0]
	sum := sha256.Sum256(c.Raw)
	made := shown{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), CommonName: commonName(&c.Subject),
		DNS: plain(c.DNSNames), Emails: plain(c.EmailAddresses), URIs: plain(uris(c)),
		Serial: hex.EncodeToString(c.SerialNumber.Bytes()), SHA256: hex.EncodeToString(sum[:]),
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
	}
	for _, ip := range c.IPAddresses {
		made.IPs = append(made.IPs, ip.String())
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(&made); err != nil || b.Len() > maxShown { // a year that JSON has not
		return nil
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func uris(c *x509.Certificate) []string {
	var all []string
	for _, u := range c.URIs {
		all = append(all, u.String())
	}
	return all
}

// commonName returns the one that a subject has; "": none, or several.
func commonName(subject *pkix.Name) string {
	n := 0
	for _, part := range subject.Names {
		if part.Type.Equal(asn1.ObjectIdentifier{2, 5, 4, 3}) {
			n++
		}
	}
	if n != 1 || !visible(subject.CommonName) {
		return ""
	}
	return subject.CommonName
}

// plain returns the texts that can be told from all others.
func plain(all []string) []string {
	var kept []string
	for _, s := range all {
		if visible(s) {
			kept = append(kept, s)
		}
	}
	return kept
}

func visible(s string) bool {
	return s != "" && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
