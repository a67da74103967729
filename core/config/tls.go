package config

import "time"

// TLS is how a listener ends TLS. Two are the same if their pointers are.
type TLS struct {
	// Certificates: the first one is shown to a client that asks for none of
	// their names. None: every handshake for the listener is refused.
	Certificates []*Certificate
	// MinVersion is the oldest version that is spoken; default TLS12.
	MinVersion TLSVersion
}

// TLSVersion is a version of TLS.
type TLSVersion uint8

// The versions.
const (
	TLS12 TLSVersion = iota
	TLS13
)

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
}
