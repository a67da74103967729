package listener

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// certificate makes one for the name.
func certificate(t testing.TB, name string) *config.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &config.Certificate{Hash: name + time.Now().String(), Names: []string{name}, Chain: [][]byte{der}, Key: pkcs8}
}

func names(certs ...*config.Certificate) []config.ServerName {
	var all []config.ServerName
	for _, c := range certs {
		all = append(all, config.ServerName{Hostname: c.Names[0], TLS: &config.TLS{Certificates: []*config.Certificate{c}}})
	}
	return all
}

func secureSocket(p *config.ProxyParameters, certs ...*config.Certificate) []config.Socket {
	return []config.Socket{{Address: anyPort, Parameters: p, Names: names(certs...)}}
}

// dialTLS connects and asks for a name.
func dialTLS(t *testing.T, l *Listeners, c *tls.Config) (*tls.Conn, error) {
	t.Helper()
	c = c.Clone()
	c.InsecureSkipVerify = true
	nc := tls.Client(dial(t, l.Addr(anyPort.String())), c)
	return nc, nc.Handshake()
}

// failures returns the lines of the metric.
func failures(m *telemetry.Metrics) string {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	var b strings.Builder
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "penstock_tls_handshake_failures_total{") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestTLS(t *testing.T) {
	conns := make(chan *exchange.Conn, 10)
	l, _ := newListeners(t, func(x *exchange.Exchange) {
		conns <- x.Conn
		answer(x, string(x.Request.Scheme))
	})
	a, b := certificate(t, "a.example"), certificate(t, "b.example")
	p := config.DefaultProxyParameters()
	if err := l.Reconcile(secureSocket(p, a, b)); err != nil {
		t.Fatal(err)
	}
	get := func(name, want string) *tls.Conn {
		t.Helper()
		c, err := dialTLS(t, l, &tls.Config{ServerName: name, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := ask(t, c); got != "https" {
			t.Errorf("got scheme %q", got)
		}
		facts := <-conns
		if facts.TLS == nil || facts.TLS.ServerName != strings.ToLower(name) || facts.TLS.NegotiatedProtocol != "http/1.1" || facts.TLS.Version != tls.VersionTLS13 {
			t.Errorf("got %+v", facts.TLS)
		}
		if got := c.ConnectionState().PeerCertificates[0].Raw; !bytes.Equal(got, map[string]*config.Certificate{"a": a, "b": b}[want].Chain[0]) {
			t.Errorf("%s: got another certificate", name)
		}
		return c
	}
	old := get("a.example", "a")
	get("B.example", "b")
	get("", "a")

	a = certificate(t, "a.example")
	if err := l.Reconcile(secureSocket(p, a, b)); err != nil {
		t.Fatal(err)
	}
	get("a.example", "a")
	if got := ask(t, old); got != "https" {
		t.Errorf("the old connection: got %q", got)
	}
	<-conns

	// The same address, in plain text and back.
	if err := l.Reconcile(socketOf(p)); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, dial(t, l.Addr(anyPort.String()))); got != "http" {
		t.Errorf("got scheme %q", got)
	}
	<-conns
	if err := l.Reconcile(secureSocket(p, a, b)); err != nil {
		t.Fatal(err)
	}
	get("a.example", "a")
}

func TestABadCertificateIsNamed(t *testing.T) {
	l, _ := newListeners(t, func(x *exchange.Exchange) { answer(x, "x") })
	good, bad := certificate(t, "a.example"), certificate(t, "b.example")
	bad.Key, bad.Object = []byte("secret"), config.Object{Kind: "Secret", Namespace: "ns", Name: "bad"}
	err := l.Reconcile(secureSocket(config.DefaultProxyParameters(), good, bad))
	if err == nil || !strings.Contains(err.Error(), "Secret/ns/bad") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	if _, err := dialTLS(t, l, &tls.Config{ServerName: "a.example"}); err != nil {
		t.Errorf("got %v; want the other to serve", err)
	}
	if _, err := dialTLS(t, l, &tls.Config{ServerName: "b.example"}); err == nil {
		t.Error("the bad one serves")
	}
}

func TestHandshakesThatFailAreCounted(t *testing.T) {
	l, m := newListeners(t, func(x *exchange.Exchange) { answer(x, "x") })
	p := config.DefaultProxyParameters()
	p.HeaderTimeout = 3 * time.Second // no other handshake takes so long
	if err := l.Reconcile(secureSocket(p, certificate(t, "a.example"))); err != nil {
		t.Fatal(err)
	}
	raw := func(send string) func(t *testing.T) string {
		return func(t *testing.T) string {
			nc := dial(t, l.Addr(anyPort.String()))
			io.WriteString(nc, send)
			if send == "" {
				nc.CloseWrite()
			}
			b, _ := io.ReadAll(nc)
			return string(b)
		}
	}
	shake := func(c *tls.Config) func(t *testing.T) string {
		return func(t *testing.T) string {
			nc, err := dialTLS(t, l, c)
			if err == nil {
				t.Error("no error")
			}
			nc.Close()
			return ""
		}
	}
	tests := map[string]func(t *testing.T) string{
		"plain_http":  raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		"not_tls":     raw("SSH-2.0-OpenSSH_10.0\r\n"),
		"client_gone": raw(""),
		"timeout":     raw("\x16\x03"),
		"version":     shake(&tls.Config{ServerName: "a.example", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}),
		"name":        shake(&tls.Config{ServerName: "b.example"}),
		"alpn":        shake(&tls.Config{ServerName: "a.example", NextProtos: []string{"h9"}}),
		"client_alert": func(t *testing.T) string {
			c := tls.Client(dial(t, l.Addr(anyPort.String())), &tls.Config{ServerName: "a.example"}) // trusts nobody
			if c.Handshake() == nil {
				t.Error("no error")
			}
			io.Copy(io.Discard, c.NetConn())
			return ""
		},
		"other": shake(&tls.Config{ServerName: "a.example", MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}),
	}
	for reason, test := range tests {
		t.Run(reason, func(t *testing.T) {
			got := test(t)
			if reason == "plain_http" && (!strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.HasSuffix(got, "not http\n")) {
				t.Errorf("got %q", got)
			}
			want := `penstock_tls_handshake_failures_total{reason="` + reason + `",socket="127.0.0.1:0"} 1`
			for end := time.Now().Add(5 * time.Second); !strings.Contains(failures(m), want); {
				if time.Now().After(end) {
					t.Fatalf("%s is missing:\n%s", want, failures(m))
				}
				time.Sleep(time.Millisecond) // it is counted after the client has seen the end
			}
		})
	}
}

func TestDrainEndsHandshakes(t *testing.T) {
	l, _ := newListeners(t, func(x *exchange.Exchange) { answer(x, "x") })
	if err := l.Reconcile(secureSocket(config.DefaultProxyParameters(), certificate(t, "a.example"))); err != nil {
		t.Fatal(err)
	}
	silent := dial(t, l.Addr(anyPort.String()))
	idle, err := dialTLS(t, l, &tls.Config{ServerName: "a.example"})
	if err != nil {
		t.Fatal(err)
	}
	ask(t, idle)
	if err := l.Drain(context.Background()); err != nil {
		t.Error(err)
	}
	for _, nc := range []net.Conn{silent, idle} {
		if b, err := io.ReadAll(nc); err != nil || len(b) > 0 {
			t.Errorf("got %q, %v; want the end", b, err)
		}
	}
}

// TestHTTP2OverTLS: a client that can speak HTTP/2 does, one request beside another.
func TestHTTP2OverTLS(t *testing.T) {
	l, _ := newListeners(t, func(x *exchange.Exchange) {
		answer(x, string(x.Request.Scheme)+" "+strconv.Itoa(int(x.Request.Version)))
	})
	if err := l.Reconcile(secureSocket(config.DefaultProxyParameters(), certificate(t, "a.example"))); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{ServerName: "a.example", InsecureSkipVerify: true},
	}}
	defer client.CloseIdleConnections()
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			r, err := client.Get("https://" + l.Addr(anyPort.String()).String() + "/")
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			if b, err := io.ReadAll(r.Body); err != nil || string(b) != "https 20" || r.ProtoMajor != 2 {
				t.Errorf("got %q, %v by %s; want https 20", b, err, r.Proto)
			}
		})
	}
	group.Wait()
}

// TestRefusedClientsAreCounted: for the same reasons over TCP and over QUIC.
func TestRefusedClientsAreCounted(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(template, parent *x509.Certificate) *x509.Certificate {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		if parent == nil {
			parent = template
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	authority := func(name string) *x509.Certificate {
		return sign(&x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte(name)}, nil)
	}
	root, stranger := authority("root"), authority("stranger")
	leaf := func(serial int64, name string, by *x509.Certificate) []tls.Certificate {
		c := sign(&x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, by)
		return []tls.Certificate{{Certificate: [][]byte{c.Raw}, PrivateKey: key}}
	}
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(3), RevocationTime: time.Now()}},
	}, root, key)
	if err != nil {
		t.Fatal(err)
	}
	l, m := newListeners(t, func(x *exchange.Exchange) { answer(x, "x") })
	sockets := secureSocket(config.DefaultProxyParameters(), certificate(t, "a.example"))
	sockets[0].Names[0].TLS.Clients = &config.ClientAuth{Roots: [][]byte{root.Raw}, Revoked: [][]byte{list}, Names: []config.SubjectAltName{{DNS: "shop.example"}}}
	if err := l.Reconcile(sockets); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the UDP port is bound", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.sockets[anyPort.String()].quic != nil
	})
	// always shows it, whatever the server asks for.
	always := func(c []tls.Certificate) *tls.Config {
		return &tls.Config{ServerName: "a.example", GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if c == nil {
				return &tls.Certificate{}, nil
			}
			return &c[0], nil
		}}
	}
	for reason, shown := range map[string][]tls.Certificate{
		"client_certificate_missing": nil,
		"client_certificate_invalid": leaf(2, "shop.example", stranger),
		"client_certificate_revoked": leaf(3, "shop.example", root),
		"client_certificate_name":    leaf(4, "other.example", root),
	} {
		t.Run(reason, func(t *testing.T) {
			if nc, err := dialTLS(t, l, always(shown)); err == nil {
				_, err = nc.Read(make([]byte, 1)) // TLS 1.3: the client is done first
				if err == nil {
					t.Error("over TCP it was let in")
				}
			}
			if qc, err := dialQUIC(t, l.Addr(anyPort.String()), always(shown)); err == nil {
				<-qc.Context().Done()
			}
			for _, socket := range []string{anyPort.String(), anyPort.String() + "/udp"} {
				want := `penstock_tls_handshake_failures_total{reason="` + reason + `",socket="` + socket + `"} 1`
				eventually(t, want, func() bool { return strings.Contains(failures(m), want) })
			}
		})
	}
	if qc, err := dialQUIC(t, l.Addr(anyPort.String()), always(leaf(5, "shop.example", root))); err != nil || ask3(t, qc) != "x" {
		t.Errorf("a good one: got %v", err)
	}
}
