package admin

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/remote"
)

// serve answers with a Guard on a socket of this machine and returns its address.
func serve(t *testing.T, g Guard, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := HTTP(h, zap.NewNop())
	done := make(chan error, 1)
	go func() { done <- server.Serve(g.Listen(l)) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// guarded answers all paths to whom g lets in.
func guarded(g Guard) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.allow(w, r, Right{Path: r.URL.Path}) {
			text(w, http.StatusOK, "all of it")
		}
	})
}

// client returns a client that trusts a and shows certificates, whoever is asked for.
func client(a *authority, certs ...tls.Certificate) *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: pool, ServerName: "admin.example",
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(certs) == 0 {
				return &tls.Certificate{}, nil
			}
			return &certs[0], nil
		},
	}}}
}

// ask returns the status, 0 if the connection fails, and the body.
func ask(t *testing.T, c *http.Client, url string, fields ...string) (status int, body string, h http.Header) {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	response, err := c.Do(r)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(b), response.Header
}

// cut reports whether a connection was closed before its alert was read: with TLS 1.3
// a client has sent its request by then.
func cut(err string) bool {
	return strings.Contains(err, "connection reset") || strings.Contains(err, "broken pipe") || strings.HasSuffix(err, "EOF")
}

// tokens is an Authorizer that knows some tokens.
type tokens struct {
	mu    sync.Mutex
	asked []Right
}

func (a *tokens) Authorize(_ context.Context, token string, r Right) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, r)
	switch token {
	case "good":
		return nil
	case "weak":
		return fmt.Errorf("%w: get %s", ErrDenied, r.Path)
	case "down":
		return errors.New("nobody answers")
	}
	return ErrToken
}

func (a *tokens) take() []Right {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() { a.asked = nil }()
	return a.asked
}

func TestWhoIsLetIn(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	a.folder(dir, 10, a)
	closed := Remote(remote.FromFolder(dir), nil, zap.NewNop())
	known := &tokens{}
	withTokens := Remote(remote.FromFolder(dir), known, zap.NewNop())
	certificates, both := serve(t, closed, guarded(closed)), serve(t, withTokens, guarded(withTokens))
	one := func(c tls.Certificate) []tls.Certificate { return []tls.Certificate{c} }
	const failed = 0
	tests := map[string]struct {
		address string
		certs   []tls.Certificate
		token   string // the Authorization field
		want    int
		says    string
	}{
		"a client certificate":                       {certificates, one(a.client()), "", 200, "all of it"},
		"no certificate":                             {certificates, nil, "", failed, "certificate required"},
		"no certificate, and a token nobody reviews": {certificates, nil, "Bearer good", failed, "certificate required"},
		"another authority's certificate":            {certificates, one(other.client()), "", failed, "unknown certificate authority"},
		"an expired certificate":                     {certificates, one(a.leaf(3, x509.ExtKeyUsageClientAuth, -time.Hour, -time.Minute)), "", failed, "expired certificate"},
		"a certificate of tomorrow":                  {certificates, one(a.leaf(4, x509.ExtKeyUsageClientAuth, time.Hour, 2*time.Hour)), "", failed, "expired certificate"},
		"a certificate for servers":                  {certificates, one(a.leaf(5, x509.ExtKeyUsageServerAuth, -time.Hour, time.Hour)), "", failed, "bad certificate"},

		"tokens: a client certificate":                       {both, one(a.client()), "", 200, "all of it"},
		"tokens: a certificate and a bad token":              {both, one(a.client()), "Bearer bad", 200, "all of it"},
		"tokens: another authority's, and a good token":      {both, one(other.client()), "Bearer good", failed, "unknown certificate authority"},
		"tokens: an expired one, and a good token":           {both, one(a.leaf(3, x509.ExtKeyUsageClientAuth, -time.Hour, -time.Minute)), "Bearer good", failed, "expired certificate"},
		"tokens: one for servers, and a good token":          {both, one(a.leaf(5, x509.ExtKeyUsageServerAuth, -time.Hour, time.Hour)), "Bearer good", failed, "bad certificate"},
		"tokens: a good token":                               {both, nil, "Bearer good", 200, "all of it"},
		"tokens: the scheme in another case":                 {both, nil, "bearer  good", 200, "all of it"},
		"tokens: nothing":                                    {both, nil, "", 401, "bearer token"},
		"tokens: an unknown token":                           {both, nil, "Bearer bad", 401, "not valid"},
		"tokens: an empty token":                             {both, nil, "Bearer ", 401, "bearer token"},
		"tokens: a token with a space":                       {both, nil, "Bearer good good", 401, "bearer token"},
		"tokens: a token with a comma":                       {both, nil, "Bearer good,", 401, "bearer token"},
		"tokens: a token of fill bytes":                      {both, nil, "Bearer ===", 401, "bearer token"},
		"tokens: a long token":                               {both, nil, "Bearer " + strings.Repeat("x", maxToken+1), 401, "bearer token"},
		"tokens: another scheme":                             {both, nil, "Basic Z29vZA==", 401, "bearer token"},
		"tokens: a token without the right":                  {both, nil, "Bearer weak", 403, "get /x"},
		"tokens: a token while nobody can be asked about it": {both, nil, "Bearer down", 503, "nobody answers"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var fields []string
			if test.token != "" {
				fields = []string{"Authorization", test.token}
			}
			status, body, h := ask(t, client(a, test.certs...), "https://"+test.address+"/x", fields...)
			if says := strings.Contains(body, test.says) || status == failed && cut(body); status != test.want || !says {
				t.Errorf("got %d %s; want %d %s", status, body, test.want, test.says)
			}
			if challenge := h.Get("WWW-Authenticate"); (status == 401) != strings.HasPrefix(challenge, "Bearer ") {
				t.Errorf("%d with the challenge %q", status, challenge)
			}
			if status > 0 && h.Get("Cache-Control") != "no-store" {
				t.Error("it may be stored")
			}
		})
	}
	known.take()
	if status, body, _ := ask(t, client(a), "https://"+both+"/x", "Authorization", "Bearer good", "Authorization", "Bearer good"); status != 401 || len(known.take()) != 0 {
		t.Errorf("two tokens: got %d %s", status, body)
	}
}

func TestNobodyIsLetInByMistake(t *testing.T) {
	a := newAuthority(t)
	cert := a.leaf(1, x509.ExtKeyUsageServerAuth, -time.Hour, time.Hour)
	tests := map[string]Guard{
		"the zero value":         {},
		"no authority":           Remote(func() (*tls.Config, error) { return &tls.Config{Certificates: []tls.Certificate{cert}}, nil }, nil, zap.NewNop()),
		"no files":               Remote(remote.FromFolder(t.TempDir()), nil, zap.NewNop()),
		"no files, but reviews":  Remote(remote.FromFolder(t.TempDir()), &tokens{}, zap.NewNop()),
		"an authority of no use": Remote(func() (*tls.Config, error) { return remote.Mutual(cert, []byte("x")) }, &tokens{}, zap.NewNop()),
	}
	for name, g := range tests {
		t.Run(name, func(t *testing.T) {
			address := serve(t, g, guarded(g))
			if status, body, _ := ask(t, client(a, a.client()), "https://"+address+"/", "Authorization", "Bearer good"); status != 0 {
				t.Errorf("over TLS: got %d %s", status, body)
			}
			if status, body, _ := ask(t, client(a), "http://"+address+"/", "Authorization", "Bearer good"); status == 200 {
				t.Errorf("in plain text: got %s", body)
			}
		})
	}
	g := Remote(remote.FromFolder(t.TempDir()), &tokens{}, zap.NewNop())
	plain := serve(t, Open(), guarded(g)) // a Guard whose listener was forgotten
	if status, _, _ := ask(t, client(a), "http://"+plain+"/", "Authorization", "Bearer good"); status != 403 {
		t.Errorf("without TLS: got %d", status)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	a := newAuthority(t)
	dir := t.TempDir()
	a.folder(dir, 10, a)
	g := Remote(remote.FromFolder(dir), nil, zap.NewNop())
	c := client(a, a.client())
	c.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
	if status, body, _ := ask(t, c, "https://"+serve(t, g, guarded(g))+"/"); status != 0 || !strings.Contains(body, "protocol version") {
		t.Errorf("got %d %s", status, body)
	}
}

// TestRotation: the folder is what counts, also for connections that were there.
func TestRotation(t *testing.T) {
	first, second := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	first.folder(dir, 10, first)
	g := Remote(remote.FromFolder(dir), nil, zap.NewNop())
	address := serve(t, g, guarded(g))
	old := first.client()
	kept, _ := dial(t, address, first, old)
	if status := kept(); status != 200 {
		t.Fatalf("got %d", status)
	}
	first.folder(dir, 11, first)
	renewed, serial := dial(t, address, first, old)
	if status := renewed(); status != 200 || serial != 11 {
		t.Errorf("a renewed certificate: got %d from number %d", status, serial)
	}
	if status := kept(); status != 200 {
		t.Errorf("a connection from before: got %d", status)
	}

	if err := os.Remove(filepath.Join(dir, remote.FileCA)); err != nil {
		t.Fatal(err)
	}
	if status, body, _ := ask(t, client(first, old), "https://"+address+"/"); status != 0 {
		t.Errorf("without authorities: got %d %s", status, body)
	}
	if status := kept(); status != 503 {
		t.Errorf("without authorities, a connection from before: got %d", status)
	}

	first.folder(dir, 12, second) // other clients from now on
	if status := renewed(); status != 403 {
		t.Errorf("a connection of a client that is no longer known: got %d", status)
	}
	if status, body, _ := ask(t, client(first, old), "https://"+address+"/"); status != 0 || !strings.Contains(body, "unknown certificate authority") && !cut(body) {
		t.Errorf("a client that is no longer known: got %d %s", status, body)
	}
	if status, body, _ := ask(t, client(first, second.client()), "https://"+address+"/"); status != 200 {
		t.Errorf("a client that is known now: got %d %s", status, body)
	}
}

// TestCertificateExpiresMeanwhile: a connection does not outlive its certificate.
func TestCertificateExpiresMeanwhile(t *testing.T) {
	a := newAuthority(t)
	dir := t.TempDir()
	a.folder(dir, 10, a)
	g := Remote(remote.FromFolder(dir), nil, zap.NewNop())
	short := a.leaf(2, x509.ExtKeyUsageClientAuth, -time.Hour, 2*time.Second)
	kept, _ := dial(t, serve(t, g, guarded(g)), a, short)
	if status := kept(); status != 200 {
		t.Fatalf("got %d", status)
	}
	<-time.After(time.Until(short.Leaf.NotAfter) + time.Second)
	if status := kept(); status != 403 {
		t.Errorf("after its end: got %d", status)
	}
}

// dial opens a connection and returns a function that asks on it, and the number of
// the server's certificate.
func dial(t *testing.T, address string, a *authority, cert tls.Certificate) (ask func() int, serial int64) {
	t.Helper()
	c, err := tls.Dial("tcp", address, client(a, cert).Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	r := bufio.NewReader(c)
	return func() int {
		t.Helper()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: admin.example\r\n\r\n")
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
		return response.StatusCode
	}, c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}
