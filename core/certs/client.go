package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"penstock.dev/penstock/core/config"
)

// sessions is how many sessions an upstream's connections keep for resumption.
const sessions = 32

// ErrFault means that an upstream's TLS is configured wrongly: nothing may be
// sent to it, least of all in plain text.
var ErrFault = errors.New("TLS to the upstream is not configured right")

// Client encrypts connections to one upstream. Its methods are safe for use by
// several goroutines.
type Client struct {
	config *tls.Config
	err    error
}

// NewClient returns a Client. alpn are the protocols that it offers, best first
// (RFC 7301). One whose configuration is wrong fails every handshake.
func NewClient(c *config.UpstreamTLS, alpn []string) *Client {
	made, err := clientConfig(c)
	if err != nil {
		return &Client{err: fmt.Errorf("%w: %w", ErrFault, err)}
	}
	made.NextProtos = alpn
	return &Client{config: made}
}

func clientConfig(c *config.UpstreamTLS) (*tls.Config, error) {
	if c.Fault != "" {
		return nil, errors.New(c.Fault)
	}
	made := &tls.Config{
		ServerName:         c.ServerName,
		MinVersion:         minVersion(c.MinVersion),
		ClientSessionCache: tls.NewLRUClientSessionCache(sessions),
	}
	var err error
	if len(c.Roots) > 0 {
		if made.RootCAs, err = pool(c.Roots); err != nil {
			return nil, err
		}
	}
	if c.Certificate != nil {
		own, err := load(c.Certificate)
		if err != nil {
			return nil, err
		}
		// Shown whoever the upstream would have vouch for it: it says no itself.
		made.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
	}
	if len(c.Names) > 0 {
		roots, names := made.RootCAs, c.Names
		made.InsecureSkipVerify = true // crypto/tls would want ServerName in it: VerifyConnection checks all
		made.VerifyConnection = func(s tls.ConnectionState) error { return verify(s.PeerCertificates, roots, names) }
	}
	return made, nil
}

// pool reads authorities.
func pool(roots [][]byte) (*x509.CertPool, error) {
	p := x509.NewCertPool()
	for _, der := range roots {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("an authority's certificate: %w", err)
		}
		p.AddCert(c)
	}
	return p, nil
}

// errName means that a certificate is good, and somebody else's.
var errName = errors.New("the certificate has none of the names that it must have")

// verify checks a server's chain, and that it has one of the names.
func verify(chain []*x509.Certificate, roots *x509.CertPool, names []config.SubjectAltName) error {
	if len(chain) == 0 {
		return errors.New("no certificate")
	}
	if _, err := chainsOf(chain, roots, x509.ExtKeyUsageServerAuth); err != nil {
		return err
	}
	if !hasName(chain[0], names) {
		return errName
	}
	return nil
}

// chainsOf returns the ways from a peer's own certificate, the first one, to roots.
func chainsOf(shown []*x509.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage) ([][]*x509.Certificate, error) {
	between := x509.NewCertPool()
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	return shown[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}})
}

// Handshake makes nc speak TLS, until ctx ends, and returns it with the protocol
// that was agreed on, "" if none was. idle is what a write of TLS's own may take later.
// After an error nc is closed. The error wraps ErrFault if nothing was sent.
func (c *Client) Handshake(ctx context.Context, nc net.Conn, idle time.Duration) (secured net.Conn, protocol string, err error) {
	if c.err != nil {
		nc.Close()
		return nil, "", c.err
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		nc = NewCarrier(tcp, idle)
	}
	t := tls.Client(nc, c.config)
	if err := t.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, "", err
	}
	return t, t.ConnectionState().NegotiatedProtocol, nil
}
