package admin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// maxConnections is how many connections a remote address has; others wait for
	// one that ends.
	maxConnections = 256
	// maxToken bounds a bearer token, in bytes.
	maxToken = 8 << 10
)

// Right is what a request needs, in the words of Kubernetes' authorization: to get
// a path, or ChainStatuses.
type Right struct {
	// Path is a URL that is about no object; empty: the right is to ChainStatuses.
	Path string
	// Namespace of the ChainStatuses; empty: all namespaces.
	Namespace string
}

// What an Authorizer returns; its text is told to who asks. Any other error means
// that it cannot be known now, and is answered 503.
var (
	ErrToken  = errors.New("the token is not valid")
	ErrDenied = errors.New("not allowed")
)

// Authorizer knows the owners of bearer tokens.
type Authorizer interface {
	// Authorize returns nil if the owner of the token has the right. It bounds how
	// long it takes, and how much it is asked at once.
	Authorize(ctx context.Context, token string, r Right) error
}

// Guard decides who is answered. The zero value answers nobody.
type Guard struct {
	open   bool
	tls    func() (*tls.Config, error)
	tokens Authorizer
	log    *zap.Logger
}

// Open returns a Guard that answers everybody: for an address that only who is on this
// machine can reach, and for health.
func Open() Guard { return Guard{open: true} }

// Remote returns a Guard for an address that others can reach. tls returns this
// side's certificate and the authorities that vouch for clients (ClientCAs), as
// they are now; it is asked for each connection and each request. tokens knows who
// shows a bearer token in place of a certificate; nil: all must show a certificate.
func Remote(tls func() (*tls.Config, error), tokens Authorizer, log *zap.Logger) Guard {
	seldom := log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core { // strangers cause these lines
		return zapcore.NewSamplerWithOptions(c, time.Minute, 1, 0)
	}))
	return Guard{tls: tls, tokens: tokens, log: seldom}
}

// Listen returns the listener on which a server with this Guard accepts: l itself
// for Open, else one of TLS 1.3 with a bound on its connections.
func (g Guard) Listen(l net.Listener) net.Listener {
	if g.open {
		return l
	}
	asked := tls.RequireAndVerifyClientCert
	if g.tokens != nil {
		asked = tls.VerifyClientCertIfGiven
	}
	return tls.NewListener(newLimited(l, maxConnections), &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			now, err := g.config()
			if err != nil {
				return nil, err
			}
			return &tls.Config{
				MinVersion: tls.VersionTLS13, Certificates: now.Certificates, ClientCAs: now.ClientCAs, ClientAuth: asked,
				NextProtos:             []string{"http/1.1"},
				SessionTicketsDisabled: true, // each connection is judged by the authorities of now
			}, nil
		},
	})
}

// config returns certificate and authorities as they are now.
func (g Guard) config() (*tls.Config, error) {
	if g.tls == nil {
		return nil, errors.New("no certificates")
	}
	now, err := g.tls()
	if err == nil && (now.ClientCAs == nil || len(now.Certificates) == 0) {
		err = errors.New("no certificate, or no authority for clients") // without one crypto/tls would take the system's
	}
	if err != nil {
		g.log.Warn("the admin address cannot be used: its certificates cannot be read", zap.Error(err))
		return nil, err
	}
	return now, nil
}

// allow reports whether a request may be answered; else it has been refused.
func (g Guard) allow(w http.ResponseWriter, r *http.Request, right Right) bool {
	if g.open {
		return true
	}
	if r.TLS == nil || !r.TLS.HandshakeComplete {
		refuse(w, http.StatusForbidden, "TLS is needed\n")
		return false
	}
	if len(r.TLS.PeerCertificates) > 0 {
		return g.allowCertificate(w, r.TLS.PeerCertificates)
	}
	if g.tokens == nil {
		refuse(w, http.StatusForbidden, "a client certificate is needed\n")
		return false
	}
	token, ok := bearer(r.Header["Authorization"])
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="penstock"`)
		refuse(w, http.StatusUnauthorized, "a client certificate or a bearer token is needed\n")
		return false
	}
	err := g.tokens.Authorize(r.Context(), token, right)
	switch {
	case err == nil:
		return true
	case errors.Is(err, ErrToken):
		w.Header().Set("WWW-Authenticate", `Bearer realm="penstock", error="invalid_token"`)
		refuse(w, http.StatusUnauthorized, err.Error()+"\n")
	case errors.Is(err, ErrDenied):
		refuse(w, http.StatusForbidden, err.Error()+"\n")
	default:
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, err.Error()+"\n")
	}
	return false
}

// allowCertificate judges a certificate again, which was good when its connection
// began: it may have expired since, or its authority may be gone.
func (g Guard) allowCertificate(w http.ResponseWriter, shown []*x509.Certificate) bool {
	now, err := g.config()
	if err != nil {
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, "this side's certificates cannot be read\n")
		return false
	}
	between := x509.NewCertPool()
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	if _, err := shown[0].Verify(x509.VerifyOptions{Roots: now.ClientCAs, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		refuse(w, http.StatusForbidden, "the client certificate is no longer valid\n")
		return false
	}
	return true
}

// refuse answers and ends the connection: who is refused keeps none.
func refuse(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Connection", "close")
	text(w, status, body)
}

// bearer returns the token of an Authorization field (RFC 6750, 2.1); ok is false
// if there is not exactly one.
func bearer(fields []string) (token string, ok bool) {
	if len(fields) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(fields[0], " ")
	token = strings.TrimLeft(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return "", false
	}
	body := strings.TrimRight(token, "=")
	for i := 0; i < len(body); i++ {
		c := body[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~+/", rune(c)) {
			return "", false
		}
	}
	return token, body != ""
}
