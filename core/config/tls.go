package config

import "time"

// TLS is how a listener ends TLS. Two are the same if their pointers are.
type TLS struct {
	// Certificates: the first one is shown to a client that asks for none of
	// their names. None: every handshake for the listener is refused.
	Certificates []*Certificate
	// MinVersion is the oldest version that is spoken; default TLS12.
	MinVersion TLSVersion
	// Curves are the key exchanges that are offered; none: those of crypto/tls.
	Curves []Curve
	// Tickets are secrets that the keys of session tickets are made of, the first
	// for new ones, which all proxies with this config share. None: random ones of
	// each process, replaced each day.
	Tickets [][]byte `json:"-"` // never shown or logged
	// Clients is what is asked of clients; nil: no certificate.
	Clients *ClientAuth
}

// ClientAuth is how clients are known by their certificates. Two are the same if
// their pointers are.
type ClientAuth struct {
	// Optional lets clients without a certificate in. One that is shown must be
	// good all the same, unless Unchecked.
	Optional bool
	// Unchecked lets every client in, whatever it shows: what is behind the proxy
	// judges the certificate.
	Unchecked bool
	Roots     [][]byte `json:"-"` // who may vouch for it, DER
	// Names: its subjectAltName must hold one of these; none: any.
	Names []SubjectAltName
	// Revoked are lists of certificates (RFC 5280, 5), DER.
	Revoked [][]byte `json:"-"`
}

// SubjectAltName is a name in a certificate: one of its fields is set.
type SubjectAltName struct {
	DNS string // lower case; "*.example" is that name, or any that it stands for
	URI string // a SPIFFE id for one; compared byte by byte
}

// UpstreamTLS is how connections to an upstream are encrypted. Two are the same
// if their pointers are.
type UpstreamTLS struct {
	// ServerName is sent (SNI), and is what the certificate must be for unless
	// there are Names, of which it must have one.
	ServerName string
	Names      []SubjectAltName
	// Roots vouch for the certificate, DER; none: the system's.
	Roots [][]byte `json:"-"`
	// Certificate is shown to an upstream that asks for one; nil: none.
	Certificate *Certificate
	MinVersion  TLSVersion
	// Fault says why nothing may be sent: the policy that asks for encryption is
	// wrong. Empty: none.
	Fault string
}

// TLSVersion is a version of TLS.
type TLSVersion uint8

// The versions.
const (
	TLS12 TLSVersion = iota
	TLS13
)

// Curve is a key exchange, by its number in TLS (RFC 8446, 4.2.7).
type Curve uint16

// Curves are the key exchanges that there are, by name.
var Curves = map[string]Curve{"X25519MLKEM768": 4588, "X25519": 29, "P-256": 23, "P-384": 24, "P-521": 25}

// Certificate is a chain with its private key. Two are equal if their Hash is.
type Certificate struct {
	Object Object // where it is from
	// Hash is of Chain; its first certificate fixes the key.
	Hash string
	// Names are the DNS names that it is for, lower case, "*.example" included.
	Names    []string
	NotAfter time.Time
	Chain    [][]byte `json:"-"` // DER, the server's own first
	Key      []byte   `json:"-"` // PKCS #8; never shown or logged
}

// ServerName is what ends TLS on a socket for a hostname.
type ServerName struct {
	Hostname string // "", "a.example" or "*.example"; lower case
	TLS      *TLS   // nil: TLS is passed through
	Raw      bool   // what TLS carries is no HTTP
	// Owner is the Gateway whose listener it is, "namespace/name".
	Owner string
}
