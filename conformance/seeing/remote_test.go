package seeing

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// TestAdminOverTheNetwork: off loopback the admin address answers who shows a
// certificate, and goes on to do so when the process is replaced.
func TestAdminOverTheNetwork(t *testing.T) {
	dir, pidFile := t.TempDir(), filepath.Join(t.TempDir(), "pid")
	ca, caKey := harness.Pair(t, "authority")
	authority, _ := harness.Leaf(t, ca)
	signer, err := tls.X509KeyPair(ca, caKey)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(use x509.ExtKeyUsage) (crt, key []byte) {
		private := harness.NewKey(t)
		about := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"admin.example"}, ExtKeyUsage: []x509.ExtKeyUsage{use}, KeyUsage: x509.KeyUsageDigitalSignature}
		by, ok := signer.PrivateKey.(crypto.Signer)
		if !ok {
			t.Fatalf("a key of type %T", signer.PrivateKey)
		}
		return harness.PEM(t, harness.Sign(t, about, authority, private.Public(), by), private)
	}
	crt, key := issue(x509.ExtKeyUsageServerAuth)
	for name, text := range map[string][]byte{"tls.crt": crt, "tls.key": key, "ca.crt": ca} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	admin, health := harness.FreePort(t), harness.FreePort(t)
	p := harness.Launch(t, harness.Options{
		Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": harness.Service("a", "", harness.Upstream(t, harness.Echo))},
		Args: []string{
			"--admin", fmt.Sprintf("0.0.0.0:%d", admin), "--admin-tls", dir, "--health", fmt.Sprintf("127.0.0.1:%d", health),
			"--pid-file", pidFile, "--drain", "5s",
		},
	})
	p.Admin = fmt.Sprintf("http://127.0.0.1:%d", health)
	p.WaitReady()
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	get := func(certs []tls.Certificate, path string) (int, string) {
		c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "admin.example", Certificates: certs}}}
		r, err := c.Get(fmt.Sprintf("https://127.0.0.1:%d%s", admin, path))
		if err != nil {
			return 0, err.Error()
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(body)
	}
	mine, err := tls.X509KeyPair(issue(x509.ExtKeyUsageClientAuth))
	if err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		for _, path := range []string{"/config", "/chains", "/metrics", "/readyz"} {
			if status, body := get([]tls.Certificate{mine}, path); status != 200 {
				t.Errorf("%s: %d %.300s", path, status, body)
			}
			if status, body := get(nil, path); status != 0 || strings.Contains(body, "Timeout") {
				t.Errorf("%s, without a certificate: %d %.300s", path, status, body)
			}
		}
	}
	check()
	p.Eventually("the file is there", func() bool { _, err := os.Stat(pidFile); return err == nil })
	if err := p.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	next := 0
	p.Eventually("another process serves", func() bool {
		text, err := os.ReadFile(pidFile)
		if err == nil {
			next, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		return err == nil && next != p.Process.Pid
	})
	t.Cleanup(func() { _ = syscall.Kill(next, syscall.SIGTERM) })
	p.WaitEnd(p.Process.Pid)
	check()
}
