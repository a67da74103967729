package upstream

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
)

// issuer is an authority of the test's.
type issuer struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	made := &issuer{key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, made.key.Public(), made.key)
	if err != nil {
		t.Fatal(err)
	}
	if made.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return made
}

// authorities has the issuer vouch for an egress entry.
func (i *issuer) authorities() *config.Authorities {
	return &config.Authorities{Hash: "h", Roots: [][]byte{i.cert.Raw}}
}

// certificate is one for a name that is good until then.
func (i *issuer) certificate(t *testing.T, name string, until time.Time) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
	}
	if a, err := netip.ParseAddr(name); err == nil {
		template.DNSNames, template.IPAddresses = nil, []net.IP{a.AsSlice()}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.cert, key.Public(), i.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// secured is a server behind TLS, and what it saw.
type secured struct {
	addr netip.AddrPort

	mu    sync.Mutex
	first []byte // of each connection
	seen  []string
}

// newSecured serves with protocols over TLS as c says; nil: in plain text.
func newSecured(t *testing.T, c *tls.Config, h http.HandlerFunc) *secured {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &secured{addr: ln.Addr().(*net.TCPAddr).AddrPort()}
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "plain"
		if r.TLS != nil {
			name = r.TLS.ServerName
		}
		s.mu.Lock()
		s.seen = append(s.seen, r.Proto+" "+name+" "+r.Host)
		s.mu.Unlock()
		h(w, r)
	})}
	var l net.Listener = peeked{ln, s}
	if c != nil {
		server.TLSConfig, server.Protocols = c.Clone(), new(http.Protocols)
		server.Protocols.SetHTTP1(true)
		server.Protocols.SetHTTP2(c.NextProtos == nil)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if c != nil {
			server.ServeTLS(l, "", "")
			return
		}
		server.Serve(l)
	})
	t.Cleanup(func() {
		server.Close()
		wg.Wait()
	})
	return s
}

func (s *secured) saw() (firstBytes, requests string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.first), strings.Join(s.seen, ", ")
}

// peeked notes the first byte of each connection: 22 begins TLS (RFC 8446, 5.1).
type peeked struct {
	net.Listener
	s *secured
}

func (p peeked) Accept() (net.Conn, error) {
	nc, err := p.Listener.Accept()
	return &peekedConn{Conn: nc, s: p.s}, err
}

type peekedConn struct {
	net.Conn
	s    *secured
	once sync.Once
}

func (c *peekedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.once.Do(func() {
			c.s.mu.Lock()
			c.s.first = append(c.s.first, p[0])
			c.s.mu.Unlock()
		})
	}
	return n, err
}

// outside is a caller for whom every hostname is at addr, though it believes otherwise.
type outsider struct {
	*Caller
	m    *telemetry.Metrics
	logs *observer.ObservedLogs
}

func newOutsider(t *testing.T, addr netip.AddrPort) *outsider {
	t.Helper()
	p := params()
	core, logs := observer.New(zap.WarnLevel)
	o := &outsider{m: telemetry.New(), logs: logs}
	s := New(zap.New(core), o.m, dialFunc(func(ctx context.Context, _ config.Endpoint, timeout time.Duration) (net.Conn, error) {
		return NetDialer{}.Dial(ctx, config.Endpoint{Address: addr}, timeout)
	}))
	t.Cleanup(s.Close)
	s.Apply(map[string]*config.Upstream{"ns/auth:80": {Name: "ns/auth:80", Protocol: "http", Parameters: p}, "ns/auth:443": {Name: "ns/auth:443", Protocol: "http", Parameters: p}},
		config.OverlayOf(map[string]*config.EndpointSet{"ns/auth:80": endpointSet(addr), "ns/auth:443": endpointSet(addr)}))
	o.Caller = NewCaller(s, func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
	}, p)
	t.Cleanup(o.Close)
	return o
}

func (o *outsider) metrics() string {
	w := httptest.NewRecorder()
	o.m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func hello(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }

func TestCallsOverTLS(t *testing.T) {
	ours, theirs := newIssuer(t), newIssuer(t)
	soon := time.Now().Add(time.Hour)
	good := &tls.Config{Certificates: []tls.Certificate{ours.certificate(t, "auth.example", soon)}}
	old := good.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	tests := map[string]struct {
		server *tls.Config // nil: plain text
		to     string
		secure bool
		egress config.Egress
		saw    string // by the server; empty: the call fails
		fails  string
	}{
		"https":                          {good, "auth.example", true, config.Egress{Hostname: "auth.example", Ports: []uint16{443}, CA: ours.authorities()}, "HTTP/1.1 auth.example a", ""},
		"https on a port":                {good, "auth.example:8443", true, config.Egress{Hostname: "auth.example", CA: ours.authorities()}, "HTTP/1.1 auth.example a", ""},
		"port 443 whatever the scheme":   {good, "outbound|443||auth.example.dns", false, config.Egress{Hostname: "*.example", CA: ours.authorities()}, "HTTP/1.1 auth.example a", ""},
		"an address":                     {&tls.Config{Certificates: []tls.Certificate{ours.certificate(t, "192.0.2.1", soon)}}, "192.0.2.1", true, config.Egress{Hostname: "192.0.2.1", CA: ours.authorities()}, "HTTP/1.1  a", ""},
		"plain text on another port":     {nil, "auth.example:8080", false, config.Egress{Hostname: "auth.example", CA: ours.authorities()}, "HTTP/1.1 plain a", ""},
		"a Service has what it says":     {nil, "auth:80", true, config.Egress{Hostname: "nobody"}, "HTTP/1.1 plain a", ""},
		"and by the port of its scheme":  {nil, "auth", true, config.Egress{Hostname: "nobody"}, "HTTP/1.1 plain a", ""},
		"another name":                   {&tls.Config{Certificates: []tls.Certificate{ours.certificate(t, "other.example", soon)}}, "auth.example", true, config.Egress{Hostname: "auth.example", CA: ours.authorities()}, "", "valid for other.example, not auth.example"},
		"expired":                        {&tls.Config{Certificates: []tls.Certificate{ours.certificate(t, "auth.example", time.Now().Add(-time.Hour))}}, "auth.example", true, config.Egress{Hostname: "auth.example", CA: ours.authorities()}, "", "expired"},
		"an authority that is not ours":  {good, "auth.example", true, config.Egress{Hostname: "auth.example", CA: theirs.authorities()}, "", "unknown authority"},
		"the system's authorities alone": {good, "auth.example", true, config.Egress{Hostname: "auth.example"}, "", "unknown authority"},
		"authorities that are not there": {good, "auth.example", true, config.Egress{Hostname: "auth.example", CA: &config.Authorities{Hash: "f", Fault: "there is no ConfigMap"}}, "", "there is no ConfigMap"},
		"TLS 1.1":                        {old, "auth.example", true, config.Egress{Hostname: "auth.example", CA: ours.authorities()}, "", "protocol version"},
		"a server without TLS":           {nil, "auth.example", true, config.Egress{Hostname: "auth.example", CA: ours.authorities()}, "", "TLS handshake"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSecured(t, test.server, hello)
			o := newOutsider(t, s.addr)
			k := callOf(test.to)
			k.Authority, k.Secure, k.Egress = []byte("a"), test.secure, []config.Egress{test.egress}
			got, _, err := o.begin(k)
			if err != nil {
				t.Fatal(err)
			}
			r := <-got
			first, saw := s.saw()
			if saw != test.saw {
				t.Errorf("the server saw %q; want %q", saw, test.saw)
			}
			if test.saw != "" {
				if r.err != nil || string(r.a.Body) != "hello" {
					t.Errorf("got %+v, %v; want hello", r.a, r.err)
				}
				return
			}
			if r.err == nil || !strings.Contains(r.err.Error(), test.fails) {
				t.Errorf("got %v; want %q in it", r.err, test.fails)
			}
			if strings.Trim(first, "\x16") != "" {
				t.Errorf("something was sent that is not TLS: connections began with %x", first)
			}
			if logged := o.logs.All(); len(logged) != 1 || !strings.Contains(logged[0].Message, "TLS with an upstream fails") {
				t.Errorf("logged %v; want one line", logged)
			}
			if text := o.metrics(); !strings.Contains(text, `penstock_upstream_tls_failures_total{upstream="egress/auth.example:443/tls`) {
				t.Error("the failure is not counted")
			}
		})
	}
}

// TestPlainAndTLSAreTwo: no connection of one is used for the other, nor for one that
// other authorities vouch for.
func TestPlainAndTLSAreTwo(t *testing.T) {
	ours, theirs := newIssuer(t), newIssuer(t)
	s := newSecured(t, &tls.Config{Certificates: []tls.Certificate{ours.certificate(t, "auth.example", time.Now().Add(time.Hour))}}, hello)
	o := newOutsider(t, s.addr)
	call := func(secure bool, ca *config.Authorities) told {
		k := callOf("auth.example:8443")
		k.Secure, k.Egress = secure, []config.Egress{{Hostname: "auth.example", CA: ca}}
		got, _, err := o.begin(k)
		if err != nil {
			t.Fatal(err)
		}
		return <-got
	}
	if r := call(true, ours.authorities()); r.err != nil {
		t.Fatal(r.err)
	}
	if r := call(false, ours.authorities()); r.err != nil || r.a.Status != 400 { // the server says that this is no TLS
		t.Errorf("in plain text: got %+v, %v; want 400", r.a, r.err)
	}
	others := theirs.authorities()
	others.Hash = "others"
	if r := call(true, others); r.err == nil {
		t.Error("other authorities got a connection that they do not vouch for")
	}
	if r := call(true, ours.authorities()); r.err != nil {
		t.Error(r.err)
	}
	if first, _ := s.saw(); first != "\x16P\x16" {
		t.Errorf("connections began with %q; want one in TLS, one in plain text, one in TLS", first)
	}
}

// TestAllowedByTheClosest: of several entries the one that says most of a name holds.
func TestAllowedByTheClosest(t *testing.T) {
	list := []config.Egress{{Hostname: "*.example"}, {Hostname: "*.a.example"}, {Hostname: "x.a.example", Ports: []uint16{443}}, {Hostname: "*.a.example", Ports: []uint16{1}}}
	for name, want := range map[string]string{"x.a.example:443": "x.a.example", "x.a.example:80": "*.a.example", "y.example:80": "*.example", "example:80": "", "a.example:443": "*.example"} {
		hostname, port, _ := splitUpstream(name, false)
		if got, ok := allowedBy(list, hostname, port); got.Hostname != want || ok != (want != "") || len(got.Ports) == 1 && got.Ports[0] == 1 {
			t.Errorf("%s: got %v, %v; want %q", name, got, ok, want)
		}
	}
}

// TestACallThatIsGivenUpInTheHandshake tells nothing, and does not hold the caller up.
func TestACallThatIsGivenUpInTheHandshake(t *testing.T) {
	began := make(chan struct{}, 1)
	silent := newOrigin(t, func(_ int, c *originConn) {
		c.r.ReadByte()
		began <- struct{}{}
		io.Copy(io.Discard, c.r)
	})
	o := newOutsider(t, silent.addr)
	k := callOf("auth.example")
	k.Secure, k.Egress = true, []config.Egress{{Hostname: "auth.example"}}
	got, cancel, err := o.begin(k)
	if err != nil {
		t.Fatal(err)
	}
	<-began
	cancel()
	k.Timeout = 20 * time.Millisecond
	late, _, err := o.begin(k)
	if err != nil {
		t.Fatal(err)
	}
	if r := <-late; r.err == nil {
		t.Errorf("got %+v; want a timeout", r.a)
	}
	silent.closeAll()
	o.Close()
	if len(got) != 0 {
		t.Errorf("got %v after cancel", <-got)
	}
}

func TestGRPCOverTLS(t *testing.T) {
	ours := newIssuer(t)
	certificate := ours.certificate(t, "grpc.example", time.Now().Add(time.Hour))
	handler := &served{ended: make(chan error, 4), release: make(chan struct{})}
	tests := map[string]struct {
		to     string
		secure bool
		config *tls.Config
		want   []string
	}{
		"port 443":              {"grpc.example:443", false, &tls.Config{Certificates: []tls.Certificate{certificate}}, []string{"initial 1/", "message HELLO", "trailing t", "close 0 "}},
		"another port":          {"grpc.example:9443", true, &tls.Config{Certificates: []tls.Certificate{certificate}}, []string{"initial 1/", "message HELLO", "trailing t", "close 0 "}},
		"without HTTP/2":        {"grpc.example:443", false, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}}, []string{"close 14 tls-handshake"}},
		"in plain text instead": {"grpc.example:443", false, nil, []string{"close 14 tls-handshake"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSecured(t, test.config, handler.ServeHTTP)
			o := newOutsider(t, s.addr)
			h := make(heard, 64)
			k := &GRPCCall{Namespace: "ns", Upstream: test.to, Secure: test.secure, Egress: []config.Egress{{Hostname: "grpc.example", CA: ours.authorities()}}, Service: "s", Method: "Unary"}
			k.Metadata.Add([]byte("x-sent"), []byte("1"))
			stream, err := o.GRPC(k, h)
			if err != nil {
				t.Fatal(err)
			}
			stream.Send([]byte("hello"), true)
			h.want(t, test.want...)
			first, saw := s.saw()
			if len(test.want) > 1 && saw != "HTTP/2.0 grpc.example grpc.example" || strings.Trim(first, "\x16") != "" {
				t.Errorf("the server saw %q; connections began with %q", saw, first)
			}
		})
	}
}
