package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"penstock.dev/penstock/core/config"
)

// Refusal says why a client's first message cannot lead to a connection.
type Refusal string

// The refusals.
const (
	OldVersion    Refusal = "version"        // it speaks none that is allowed
	UnknownName   Refusal = "name"           // no listener has the name that it asks for
	NoCertificate Refusal = "no_certificate" // the listener has none that is good
	NoProtocol    Refusal = "alpn"           // it speaks none of the protocols
)

// Refusable is a connection that wants to know why it is refused, before the
// handshake fails for it.
type Refusable interface{ Refuse(Refusal) }

// Choosable is a connection that wants to know who ends its TLS.
type Choosable interface{ Choose(config.ServerName) }

// RefusableKey is where a handshake over QUIC, which has no connection of ours,
// finds its Refusable, and its Choosable: a value of its context.
type RefusableKey struct{}

// Server ends TLS for one socket.
type Server struct {
	tickets *Tickets
	label   string
	alpn    []string
	config  *tls.Config
	quic    *tls.Config

	mu    sync.Mutex // one Set at a time
	names []config.ServerName

	// Written by Set; read by every handshake.
	current atomic.Pointer[table]
}

// table is what serves; immutable but for ticket keys.
type table struct {
	exact, wildcard map[string]*entry // wildcard by ".example"
	// unnamed is for clients that ask for no name: the listener without a
	// hostname, else the first. any: the listener without a hostname, or nil.
	any, unnamed *entry
	loaded       map[string]*tls.Certificate // by hash
}

// entry is a listener's part.
type entry struct {
	name   config.ServerName
	choice *choice // nil: TLS is passed through
	config *tls.Config
	quic   *tls.Config // config as it is for QUIC
	label  string
	shared bool          // the ticket keys are from the configuration
	epoch  atomic.Uint64 // of the ticket keys in both
}

// NewServer returns a Server without certificates. label tells its session
// tickets from those of other sockets; alpn are the protocols that are spoken,
// best first (RFC 7301).
func NewServer(tickets *Tickets, label string, alpn []string) *Server {
	s := &Server{tickets: tickets, label: label, alpn: alpn}
	s.config = &tls.Config{GetConfigForClient: s.hello}
	s.quic = &tls.Config{GetConfigForClient: s.helloQUIC, MinVersion: tls.VersionTLS13}
	s.current.Store(&table{})
	return s
}

// Set makes names serve from the next handshake on. Certificates that were
// there before are not read again. After an error, which names the objects that
// are wrong, those are left out and the rest serves. It is cheap if nothing changed.
func (s *Server) Set(names []config.ServerName) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(s.names, names) {
		return nil
	}
	old := s.current.Load()
	t := &table{exact: map[string]*entry{}, wildcard: map[string]*entry{}, loaded: map[string]*tls.Certificate{}}
	var errs []error
	for _, n := range names {
		e, err := s.entry(n, old, t)
		if err != nil {
			errs = append(errs, err)
		}
		t.add(n.Hostname, e)
	}
	s.current.Store(t)
	s.names = slices.Clone(names)
	return errors.Join(errs...)
}

// entry makes a listener's part.
func (s *Server) entry(n config.ServerName, old, new *table) (*entry, error) {
	e := &entry{name: n, label: s.label + "\x00" + resumable(n)}
	if n.TLS == nil {
		return e, nil
	}
	protocols := s.alpn
	if n.Raw { // what is spoken is the client's and the upstream's business
		protocols = nil
	}
	var errs []error
	var good []*config.Certificate
	read := func(c *config.Certificate) (*tls.Certificate, error) {
		done := new.loaded[c.Hash]
		if done == nil {
			done = old.loaded[c.Hash]
		}
		if done == nil {
			var err error
			if done, err = load(c); err != nil {
				return nil, err
			}
		}
		new.loaded[c.Hash] = done
		return done, nil
	}
	for _, c := range n.TLS.Certificates {
		if _, err := read(c); err != nil {
			errs = append(errs, err)
			continue
		}
		good = append(good, c)
	}
	choice, err := newChoice(good, read)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	e.choice = choice
	e.config = &tls.Config{
		MinVersion:   minVersion(n.TLS.MinVersion),
		CipherSuites: ciphers,
		NextProtos:   protocols,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return choice.certificate(hello, lower(hello.ServerName)), nil
		},
	}
	if len(n.TLS.Curves) > 0 {
		e.config.CurvePreferences = curves(n.TLS.Curves)
	}
	if n.TLS.Clients != nil {
		c, err := newClients(n.TLS.Clients)
		if err != nil { // nobody is let in unseen
			errs = append(errs, fmt.Errorf("listener %q: client certificates: %w", n.Hostname, err))
			choice.fallback = nil
			e.config.GetCertificate = refused.GetCertificate
		} else {
			c.ask(e.config)
		}
	}
	e.quic = e.config.Clone()
	e.quic.MinVersion, e.quic.NextProtos = tls.VersionTLS13, overQUIC
	if len(n.TLS.Tickets) > 0 { // other proxies have other sockets
		keys := ticketKeys(n.TLS.Tickets, "shared\x00"+resumable(n))
		e.config.SetSessionTicketKeys(keys)
		e.quic.SetSessionTicketKeys(keys)
		e.shared = true
	}
	s.renew(e)
	return e, errors.Join(errs...)
}

// resumable names those that may be resumed at a listener. One that checks no certificates
// resumes none of a time when it did: they would say that it has checked one.
func resumable(n config.ServerName) string {
	if n.TLS != nil && n.TLS.Clients != nil && n.TLS.Clients.Unchecked {
		return n.Hostname + "\x00unchecked"
	}
	return n.Hostname
}

// ciphers of TLS 1.2 are those with forward secrecy and an AEAD (RFC 9325, 4.2).
var ciphers = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// curves names key exchanges as crypto/tls does.
func curves(list []config.Curve) []tls.CurveID {
	ids := make([]tls.CurveID, len(list))
	for i, c := range list {
		ids[i] = tls.CurveID(c)
	}
	return ids
}

func minVersion(v config.TLSVersion) uint16 {
	if v == config.TLS13 {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// add puts e under its hostname; the first one keeps it.
func (t *table) add(hostname string, e *entry) {
	suffix, isWildcard := strings.CutPrefix(hostname, "*")
	switch {
	case hostname == "":
		if t.any == nil {
			t.any, t.unnamed = e, e
		}
	case isWildcard:
		if t.wildcard[suffix] == nil {
			t.wildcard[suffix] = e
		}
	default:
		if t.exact[hostname] == nil {
			t.exact[hostname] = e
		}
	}
	if t.unnamed == nil {
		t.unnamed = e
	}
}

// find returns the listener for a name, as the one for a request's hostname is
// found; nil if there is none.
func (t *table) find(name string) *entry {
	if name == "" {
		return t.unnamed
	}
	if e := t.exact[name]; e != nil {
		return e
	}
	for rest := name; len(t.wildcard) > 0; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			break
		}
		if e := t.wildcard[rest[i:]]; e != nil {
			return e
		}
		rest = rest[i+1:]
	}
	return t.any
}

// renew gives e the ticket keys of today.
func (s *Server) renew(e *entry) {
	if e.shared || e.epoch.Load() == s.tickets.current() {
		return
	}
	keys, epoch := s.tickets.keys(e.label)
	e.config.SetSessionTicketKeys(keys)
	e.quic.SetSessionTicketKeys(keys)
	e.epoch.Store(epoch)
}

// Config returns what connections of the socket are made with; it follows Set.
func (s *Server) Config() *tls.Config { return s.config }

// Choose returns what a client is served by that asks for this server name, in
// lower case; empty: for none. false: nobody has the name.
func (s *Server) Choose(name string) (config.ServerName, bool) {
	e := s.current.Load().find(name)
	if e == nil {
		return config.ServerName{}, false
	}
	return e.name, true
}

// overQUIC is what is spoken over QUIC (RFC 9114, 3.1); never changed.
var overQUIC = []string{"h3"}

// QUIC returns what QUIC connections of the socket are made with: the same
// certificates, names and tickets, TLS 1.3 alone (RFC 9001, 4.2), and HTTP/3 in
// place of the protocols given. It follows Set.
func (s *Server) QUIC() *tls.Config { return s.quic }

// refused has no certificate: crypto/tls answers unrecognized_name (RFC 6066, 3).
var refused = &tls.Config{
	MinVersion:     tls.VersionTLS12,
	GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil },
}

// hello chooses the listener by the name that the client asks for.
func (s *Server) hello(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	e := s.find(hello)
	if e == nil {
		return refused, nil
	}
	e.judge(hello, e.config)
	choose(hello, e.name)
	return e.config, nil
}

// helloQUIC is hello over QUIC.
func (s *Server) helloQUIC(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	e := s.find(hello)
	if e == nil {
		return refused, nil
	}
	if e.name.Raw { // no HTTP
		refuse(hello, UnknownName)
		return refused, nil
	}
	e.judge(hello, e.quic)
	choose(hello, e.name)
	return e.quic, nil
}

// find returns the listener with today's tickets; nil, and hello is told, if there
// is none.
func (s *Server) find(hello *tls.ClientHelloInfo) *entry {
	e := s.current.Load().find(lower(hello.ServerName))
	if e == nil || e.choice == nil {
		refuse(hello, UnknownName)
		return nil
	}
	s.renew(e)
	return e
}

// judge tells a client why the handshake will fail.
func (e *entry) judge(hello *tls.ClientHelloInfo, c *tls.Config) {
	switch {
	case !slices.ContainsFunc(hello.SupportedVersions, func(v uint16) bool { return v >= c.MinVersion && v <= tls.VersionTLS13 }):
		refuse(hello, OldVersion)
	case len(e.choice.fallback) == 0:
		refuse(hello, NoCertificate)
	case len(hello.SupportedProtos) > 0 && len(c.NextProtos) > 0 && !slices.ContainsFunc(hello.SupportedProtos, func(p string) bool { return slices.Contains(c.NextProtos, p) }):
		refuse(hello, NoProtocol)
	}
}

func refuse(hello *tls.ClientHelloInfo, why Refusal) {
	if c, ok := hello.Conn.(Refusable); ok {
		c.Refuse(why)
	} else if c, ok := hello.Context().Value(RefusableKey{}).(Refusable); ok {
		c.Refuse(why)
	}
}

// choose tells a connection who ends its TLS.
func choose(hello *tls.ClientHelloInfo, n config.ServerName) {
	if c, ok := hello.Conn.(Choosable); ok {
		c.Choose(n)
	} else if c, ok := hello.Context().Value(RefusableKey{}).(Choosable); ok {
		c.Choose(n)
	}
}

// lower returns a server name in lower case.
func lower(name string) string { return strings.ToLower(name) }
