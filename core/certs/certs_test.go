package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"penstock.dev/penstock/core/config"
)

// rsaKey is made once, since that takes long.
var rsaKey = sync.OnceValue(func() crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func ecKey() crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

// certificate makes one whose subject is called title.
func certificate(t testing.TB, title string, key crypto.Signer, names ...string) *config.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: title}, DNSNames: names,
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return &config.Certificate{Object: config.Object{Kind: "Secret", Namespace: "ns", Name: title}, Hash: hex.EncodeToString(sum[:]), Names: names, NotAfter: template.NotAfter, Chain: [][]byte{der}, Key: pkcs8}
}

func name(hostname string, certs ...*config.Certificate) config.ServerName {
	return config.ServerName{Hostname: hostname, TLS: &config.TLS{Certificates: certs}}
}

func newServer(t testing.TB, names ...config.ServerName) *Server {
	t.Helper()
	s := NewServer(&Tickets{}, "socket", []string{"http/1.1"})
	if err := s.Set(names); err != nil {
		t.Fatal(err)
	}
	return s
}

// refusable notes why the server refuses.
type refusable struct {
	net.Conn
	why Refusal
}

func (r *refusable) Refuse(why Refusal) { r.why = why }

// pair is a connection over loopback: one in memory has no room for what both
// sides write at a time.
func pair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// shake makes a connection, and returns the client's side of it.
func shake(t testing.TB, s *Server, c *tls.Config) (state tls.ConnectionState, why Refusal, err error) {
	t.Helper()
	near, far := pair(t)
	defer near.Close()
	c = c.Clone()
	c.InsecureSkipVerify = true
	noted := &refusable{Conn: far}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer far.Close()
		server := tls.Server(noted, s.Config())
		if server.Handshake() == nil {
			server.Write([]byte("x"))
		}
	}()
	client := tls.Client(near, c)
	if err = client.Handshake(); err == nil {
		_, err = client.Read(make([]byte, 1))
	}
	near.Close()
	<-done
	return client.ConnectionState(), noted.why, err
}

func TestChoice(t *testing.T) {
	ec := certificate(t, "ec", ecKey(), "both.example")
	rsa := certificate(t, "rsa", rsaKey(), "both.example")
	wild := certificate(t, "wild", ecKey(), "*.example.org")
	exact := certificate(t, "exact", ecKey(), "www.example.org")
	other := certificate(t, "other", ecKey(), "other.example")
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed := certificate(t, "ed", edKey, "ed.example")
	onlyRSA := &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}
	several := []config.ServerName{name("", rsa, ec, wild, exact, ed)}
	split := []config.ServerName{name("first.example", other), name("*.example.org", wild), name("www.example.org", exact)}
	tests := map[string]struct {
		names  []config.ServerName
		client *tls.Config
		ask    string
		want   string
		why    Refusal
	}{
		"ECDSA is preferred":                          {several, nil, "both.example", "ec", ""},
		"RSA for a client that knows nothing else":    {several, onlyRSA, "both.example", "rsa", ""},
		"an exact name is before a wildcard":          {several, nil, "www.example.org", "exact", ""},
		"case does not matter":                        {several, nil, "WWW.Example.ORG", "exact", ""},
		"a wildcard":                                  {several, nil, "a.example.org", "wild", ""},
		"a wildcard is one label":                     {several, nil, "a.b.example.org", "ec", ""},
		"a wildcard is not the domain":                {several, nil, "example.org", "ec", ""},
		"Ed25519":                                     {several, nil, "ed.example", "ed", ""},
		"no name: the first, and who stands for it":   {several, nil, "", "ec", ""},
		"no name, RSA only":                           {several, onlyRSA, "", "rsa", ""},
		"another name: the listener's default":        {several, nil, "nobody.example", "ec", ""},
		"another name, RSA only":                      {several, onlyRSA, "nobody.example", "rsa", ""},
		"the listener is chosen by name":              {split, nil, "www.example.org", "exact", ""},
		"the listener's wildcard":                     {split, nil, "a.example.org", "wild", ""},
		"the listener's wildcard is many labels":      {split, nil, "a.b.example.org", "wild", ""},
		"no name: the first listener":                 {split, nil, "", "other", ""},
		"a name that no listener has":                 {split, nil, "nobody.example", "", UnknownName},
		"no name: the listener without a hostname":    {append(split, name("", ec)), nil, "", "ec", ""},
		"an unknown name, a listener without one":     {append(split, name("", ec)), nil, "nobody.example", "ec", ""},
		"of two with a hostname the first":            {[]config.ServerName{name("a", ec), name("a", other)}, nil, "a", "ec", ""},
		"a listener without certificates":             {append(split, name("a.example.org"), name("", ec)), nil, "a.example.org", "", NoCertificate},
		"nothing configured":                          {nil, nil, "a", "", UnknownName},
		"TLS 1.1":                                     {several, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "both.example", "", OldVersion},
		"a protocol that is spoken":                   {several, &tls.Config{NextProtos: []string{"h2", "http/1.1"}}, "both.example", "ec", ""},
		"only protocols that are not":                 {several, &tls.Config{NextProtos: []string{"h9"}}, "both.example", "", NoProtocol},
		"TLS 1.2 where 1.3 is the least":              {[]config.ServerName{{TLS: &config.TLS{Certificates: []*config.Certificate{ec}, MinVersion: config.TLS13}}}, onlyRSA, "a", "", OldVersion},
		"an RSA client where there is no RSA":         {[]config.ServerName{name("", ec)}, onlyRSA, "both.example", "", ""},
		"TLS 1.2 with ECDSA":                          {several, &tls.Config{MaxVersion: tls.VersionTLS12}, "both.example", "ec", ""},
		"a client that knows ECDSA after RSA's suite": {several, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}, "both.example", "ec", ""},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			c := test.client
			if c == nil {
				c = &tls.Config{}
			}
			c = c.Clone()
			c.ServerName = test.ask
			state, why, err := shake(t, newServer(t, test.names...), c)
			got := ""
			if err == nil {
				got = state.PeerCertificates[0].Subject.CommonName
			}
			if got != test.want || why != test.why {
				t.Errorf("got %q, %q (%v); want %q, %q", got, why, err, test.want, test.why)
			}
			if why == UnknownName && !strings.Contains(err.Error(), "unrecognized name") {
				t.Errorf("got %v; want the alert unrecognized_name", err)
			}
			if err == nil && test.client == nil && (state.Version != tls.VersionTLS13 || state.CurveID != tls.X25519MLKEM768) {
				t.Errorf("got %x, %v; want TLS 1.3 with the hybrid key exchange", state.Version, state.CurveID)
			}
		})
	}
}

func TestSetKeepsWhatItCan(t *testing.T) {
	a, b := certificate(t, "a", ecKey(), "a.example"), certificate(t, "b", ecKey(), "b.example")
	s := newServer(t, name("", a))
	before := s.current.Load().loaded[a.Hash]
	again := *a
	again.Key = nil // an equal certificate is not read again
	if err := s.Set([]config.ServerName{name("", &again, b)}); err != nil {
		t.Fatal(err)
	}
	if s.current.Load().loaded[a.Hash] != before {
		t.Error("an equal certificate was read again")
	}
	broken, swapped := *b, *b
	broken.Hash, broken.Key = "x", []byte("secret bytes")
	swapped.Hash, swapped.Key = "y", a.Key
	err := s.Set([]config.ServerName{name("", a, &broken, &swapped)})
	if err == nil || strings.Contains(err.Error(), "secret bytes") || strings.Count(err.Error(), "Secret/ns/b") != 2 {
		t.Errorf("got %v", err)
	}
	if state, _, err := shake(t, s, &tls.Config{ServerName: "b.example"}); err != nil || state.PeerCertificates[0].Subject.CommonName != "a" {
		t.Errorf("got %v; want the good certificate to serve", err)
	}
}

func TestResumption(t *testing.T) {
	for title, max := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(title, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b, b2 := certificate(t, "a", ecKey(), "a.example"), certificate(t, "b", ecKey(), "b.example"), certificate(t, "b2", ecKey(), "b.example")
				listenerA := name("a.example", a)
				s := newServer(t, listenerA, name("b.example", b))
				c := &tls.Config{ServerName: "a.example", MaxVersion: max, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
				resumed := func(what string, want bool) {
					t.Helper()
					state, _, err := shake(t, s, c)
					if err != nil || state.DidResume != want {
						t.Errorf("%s: got %v, %v; want %v", what, state.DidResume, err, want)
					}
				}
				resumed("the first", false)
				resumed("the second", true)
				if err := s.Set([]config.ServerName{listenerA, name("b.example", b2)}); err != nil {
					t.Fatal(err)
				}
				resumed("after a change of another name", true)
				fresh := c.Clone()
				fresh.ClientSessionCache = tls.NewLRUClientSessionCache(8)
				old := c
				c = fresh
				resumed("another client", false)
				kept := &frozen{c.ClientSessionCache}
				c = c.Clone()
				c.ClientSessionCache = kept // its ticket stays that of day 0
				time.Sleep(rotate + time.Hour)
				resumed("a day later", true)
				time.Sleep(rotate)
				resumed("two days later", false)
				c = old
				resumed("the first client, two days later", false)
				resumed("and again", true)
			})
		})
	}
}

// frozen is a session cache that learns nothing new.
type frozen struct{ tls.ClientSessionCache }

func (*frozen) Put(string, *tls.ClientSessionState) {}

func TestTicketsAreOfOneListener(t *testing.T) {
	a, b := certificate(t, "a", ecKey(), "a.example"), certificate(t, "b", ecKey(), "b.example")
	s := newServer(t, name("a.example", a), name("b.example", b))
	c := &tls.Config{ServerName: "a.example", ClientSessionCache: &oneSession{}}
	if _, _, err := shake(t, s, c); err != nil {
		t.Fatal(err)
	}
	c.ServerName = "b.example"
	if state, _, err := shake(t, s, c); err != nil || state.DidResume || state.PeerCertificates[0].Subject.CommonName != "b" {
		t.Errorf("got resumed %v, %v; want a session of another listener refused", state.DidResume, err)
	}
}

// oneSession offers its last session to every server.
type oneSession struct{ s *tls.ClientSessionState }

func (o *oneSession) Get(string) (*tls.ClientSessionState, bool) { return o.s, o.s != nil }
func (o *oneSession) Put(_ string, s *tls.ClientSessionState)    { o.s = s }

func TestSetUnderHandshakes(t *testing.T) {
	a, b := certificate(t, "a", ecKey(), "a.example"), certificate(t, "b", ecKey(), "a.example")
	s := newServer(t, name("", a))
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 20 {
				if _, _, err := shake(t, s, &tls.Config{ServerName: "a.example"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 40 {
		if err := s.Set([]config.ServerName{name("", []*config.Certificate{a, b}[i%2])}); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

// TestTicketsAreShared: a proxy resumes sessions of another one that has the same
// secrets, and of one that has had them, but not under another name.
func TestTicketsAreShared(t *testing.T) {
	old, current := []byte(strings.Repeat("o", 32)), []byte(strings.Repeat("n", 48))
	of := func(socket string, hostname string, secrets ...[]byte) *Server {
		s := NewServer(&Tickets{}, socket, nil)
		n := name(hostname, certificate(t, "a", ecKey(), "a.example", "b.example"))
		n.TLS.Tickets = secrets
		if err := s.Set([]config.ServerName{n}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	for what, tt := range map[string]struct {
		to   *Server
		want bool
	}{
		"another proxy":     {of("other", "", old), true},
		"after a rotation":  {of("other", "", current, old), true},
		"after two of them": {of("other", "", current), false},
		"another listener":  {of("other", "a.example", old), false},
		"without secrets":   {of("other", ""), false},
	} {
		c := &tls.Config{ServerName: "a.example", ClientSessionCache: tls.NewLRUClientSessionCache(8)}
		if _, _, err := shake(t, of("one", "", old), c); err != nil {
			t.Fatal(err)
		}
		if state, _, err := shake(t, tt.to, c); err != nil || state.DidResume != tt.want {
			t.Errorf("%s: resumed %v, %v; want %v", what, state.DidResume, err, tt.want)
		}
	}
}
