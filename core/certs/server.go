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

// Server ends TLS for one socket.
type Server struct {
	tickets *Tickets
	label   string
	alpn    []string
	config  *tls.Config

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
	label  string
	epoch  atomic.Uint64 // of the ticket keys in config
}

// NewServer returns a Server without certificates. label tells its session
// tickets from those of other sockets; alpn are the protocols that are spoken,
// best first (RFC 7301).
func NewServer(tickets *Tickets, label string, alpn []string) *Server {
	s := &Server{tickets: tickets, label: label, alpn: alpn}
	s.config = &tls.Config{GetConfigForClient: s.hello}
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
	e := &entry{name: n, label: s.label + "\x00" + n.Hostname}
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
	s.renew(e)
	return e, errors.Join(errs...)
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
	if e.epoch.Load() == s.tickets.current() {
		return
	}
	keys, epoch := s.tickets.keys(e.label)
	e.config.SetSessionTicketKeys(keys)
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

// refused has no certificate: crypto/tls answers unrecognized_name (RFC 6066, 3).
var refused = &tls.Config{
	MinVersion:     tls.VersionTLS12,
	GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil },
}

// hello chooses the listener by the name that the client asks for.
func (s *Server) hello(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	e := s.current.Load().find(lower(hello.ServerName))
	if e == nil || e.choice == nil {
		refuse(hello, UnknownName)
		return refused, nil
	}
	s.renew(e)
	switch {
	case !slices.ContainsFunc(hello.SupportedVersions, func(v uint16) bool { return v >= e.config.MinVersion && v <= tls.VersionTLS13 }):
		refuse(hello, OldVersion)
	case len(e.choice.fallback) == 0:
		refuse(hello, NoCertificate)
	case len(hello.SupportedProtos) > 0 && len(e.config.NextProtos) > 0 && !slices.ContainsFunc(hello.SupportedProtos, func(p string) bool { return slices.Contains(e.config.NextProtos, p) }):
		refuse(hello, NoProtocol)
	}
	return e.config, nil
}

func refuse(hello *tls.ClientHelloInfo, why Refusal) {
	if c, ok := hello.Conn.(Refusable); ok {
		c.Refuse(why)
	}
}

// lower returns a server name in lower case.
func lower(name string) string { return strings.ToLower(name) }
