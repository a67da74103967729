package proxy

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

var (
	xForwardedClientCert = []byte("X-Forwarded-Client-Cert")
	clientCert           = []byte("Client-Cert")
	clientCertChain      = []byte("Client-Cert-Chain")
)

// certificates tells the upstream what certificate the client showed, as the
// parameters ask. What came from outside under these names is gone already, but
// from a trusted proxy, which may have such a client of its own.
func certificates(x *exchange.Exchange, p *config.ProxyParameters) {
	if c := x.Conn.TLS; c == nil || len(c.PeerCertificates) == 0 {
		return
	}
	shown := x.Conn.TLS.PeerCertificates
	q := &x.Request.Header
	// A certificate that nobody has checked may go on to who checks it, but not as
	// a statement of the proxy's.
	if p.ForwardXFCC && len(x.Conn.TLS.VerifiedChains) > 0 {
		element := appendXFCC(nil, shown[0])
		if before, ok := q.Get("X-Forwarded-Client-Cert"); ok && len(before) > 0 {
			element = append(append(append([]byte(nil), before...), ','), element...)
		}
		q.Set(xForwardedClientCert, x.Arena.Copy(element))
	}
	if p.ForwardClientCert {
		q.Set(clientCert, appendBytes(x, nil, shown[0]))
		q.Del("Client-Cert-Chain")
		if rest := shown[1:]; len(rest) > 0 {
			var list []byte
			for i, c := range rest {
				if i > 0 {
					list = append(list, ", "...)
				}
				list = appendBytes(x, list, c)
			}
			q.Add(clientCertChain, x.Arena.Copy(list))
		}
	}
}

// appendBytes appends a certificate as a byte sequence (RFC 9440, 2.1; RFC 9651,
// 3.3.5).
func appendBytes(x *exchange.Exchange, to []byte, c *x509.Certificate) []byte {
	n := base64.StdEncoding.EncodedLen(len(c.Raw))
	if to == nil {
		to = x.Arena.Alloc(n + 2)[:0]
	}
	to = append(to, ':')
	to = base64.StdEncoding.AppendEncode(to, c.Raw)
	return append(to, ':')
}

// appendXFCC appends an element as Envoy has it (x-forwarded-client-cert): the
// certificate's hash, subject, and names.
func appendXFCC(to []byte, c *x509.Certificate) []byte {
	sum := sha256.Sum256(c.Raw)
	to = append(to, "Hash="...)
	to = hex.AppendEncode(to, sum[:])
	to = append(to, ";Subject="...)
	to = appendQuoted(to, c.Subject.String())
	for _, u := range c.URIs {
		to = append(to, ";URI="...)
		to = appendXFCCValue(to, u.String())
	}
	for _, name := range c.DNSNames {
		to = append(to, ";DNS="...)
		to = appendXFCCValue(to, name)
	}
	return to
}

// appendXFCCValue quotes a value if it must be.
func appendXFCCValue(to []byte, v string) []byte {
	for i := range len(v) {
		if c := v[i]; c <= ' ' || c > '~' || strings.IndexByte(`",;=\`, c) >= 0 {
			return appendQuoted(to, v)
		}
	}
	return append(to, v...)
}

// appendQuoted quotes what a certificate says. What cannot stand in a field's
// value is left out.
func appendQuoted(to []byte, v string) []byte {
	to = append(to, '"')
	for i := range len(v) {
		switch c := v[i]; {
		case c == '"' || c == '\\':
			to = append(to, '\\', c)
		case c >= ' ' && c != 0x7f:
			to = append(to, c)
		}
	}
	return append(to, '"')
}
