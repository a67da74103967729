// Package tls ends TLS at the binary and changes its certificates under traffic.
package tls

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

var gateway = strings.Replace(harness.GatewayFor(1), "listeners: [{name: http, protocol: HTTP, port: ${PORT}}]", `listeners:
    - {name: a, protocol: HTTPS, port: ${PORT}, hostname: a.example, tls: {certificateRefs: [{name: a}]}}
    - {name: w, protocol: HTTPS, port: ${PORT}, hostname: "*.example.org", tls: {certificateRefs: [{name: w}]}}
    - {name: strict, protocol: HTTPS, port: ${PORT}, hostname: strict.example, tls: {certificateRefs: [{name: s}], options: {penstock.dev/min-tls-version: "1.3"}}}`, 1)

// bed is a proxy and a client's settings.
type bed struct {
	*harness.Proxy
	t *testing.T
	a *authority
}

// dial connects and asks for a server name; the certificate is checked for name,
// or not at all if there is none.
func (b *bed) dial(name string, change func(*tls.Config)) (*tls.Conn, error) {
	b.t.Helper()
	c := &tls.Config{RootCAs: b.a.pool, ServerName: name, InsecureSkipVerify: name == ""}
	if change != nil {
		change(c)
	}
	d := &net.Dialer{Timeout: 10 * time.Second}
	nc, err := tls.DialWithDialer(d, "tcp", fmt.Sprintf("127.0.0.1:%d", b.Port), c)
	if err != nil {
		return nil, err
	}
	b.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(60 * time.Second))
	return nc, nil
}

func (b *bed) mustDial(name string, change func(*tls.Config)) *tls.Conn {
	b.t.Helper()
	nc, err := b.dial(name, change)
	if err != nil {
		b.t.Fatalf("%s: %v", name, err)
	}
	return nc
}

// get sends a request for a hostname and returns the answer.
func (b *bed) get(nc net.Conn, hostname string) *http.Response {
	b.t.Helper()
	fmt.Fprintf(nc, "GET /a HTTP/1.1\r\nHost: %s\r\n\r\n", hostname)
	r, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		b.t.Fatal(err)
	}
	return r
}

func (b *bed) want(nc net.Conn, hostname string, status int) {
	b.t.Helper()
	if got := b.get(nc, hostname).StatusCode; got != status {
		b.t.Errorf("%s: got %d; want %d", hostname, got, status)
	}
}

func serial(nc *tls.Conn) int64 { return nc.ConnectionState().PeerCertificates[0].SerialNumber.Int64() }

// shown reads what the process shows of itself.
func (b *bed) shown() string {
	b.t.Helper()
	all := b.Log() + b.Metrics()
	for _, path := range []string{"/config", "/chains"} {
		r, err := http.Get(b.Admin + path)
		if err != nil {
			b.t.Fatal(err)
		}
		text, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			b.t.Fatal(err)
		}
		all += string(text)
	}
	return all
}

func start(t *testing.T) *bed {
	t.Helper()
	b := &bed{t: t, a: newAuthority(t)}
	files := map[string]string{"gateway.yaml": gateway, "upstream.yaml": harness.Service("a", "", harness.Upstream(t, harness.Echo))}
	for name, hostname := range map[string]string{"a": "a.example", "w": "*.example.org", "s": "strict.example"} {
		crt, key := b.a.pair(hostname)
		files[name+".yaml"] = harness.SecretOf(name, crt, key)
		if name == "w" {
			files["w.yaml"] = encoded(name, crt, key)
		}
	}
	b.Proxy = harness.Start(t, harness.Options{Files: files})
	return b
}

func TestTermination(t *testing.T) {
	b := start(t)
	nc := b.mustDial("a.example", func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} })
	state := nc.ConnectionState()
	if state.Version != tls.VersionTLS13 || state.CurveID != tls.X25519MLKEM768 || state.NegotiatedProtocol != "http/1.1" {
		t.Errorf("got version %x, key exchange %v, protocol %q", state.Version, state.CurveID, state.NegotiatedProtocol)
	}
	r := b.get(nc, "a.example")
	if r.StatusCode != http.StatusOK || r.Header.Get("X-Got-X-Forwarded-Proto") != "https" {
		t.Errorf("got %d, X-Forwarded-Proto %q", r.StatusCode, r.Header.Get("X-Got-X-Forwarded-Proto"))
	}
	b.want(b.mustDial("x.example.org", nil), "x.example.org", http.StatusOK)
	b.want(b.mustDial("a.example", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), "a.example", http.StatusOK)
	if nc := b.mustDial("", nil); nc.ConnectionState().PeerCertificates[0].DNSNames[0] != "a.example" {
		t.Error("no server name: got another certificate than the first listener's")
	}

	// RFC 9110, 15.5.20: 421; Gateway API: 404 if no listener has the hostname.
	b.want(nc, "x.example.org", http.StatusMisdirectedRequest)
	b.want(nc, "nobody.example", http.StatusNotFound)
	b.want(nc, "a.example", http.StatusOK)

	old := func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }
	if _, err := b.dial("a.example", old); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if _, err := b.dial("strict.example", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }); err == nil {
		t.Error("TLS 1.2 is spoken where 1.3 is the least")
	}
	if _, err := b.dial("nobody.example", nil); err == nil {
		t.Error("a name that no listener has was served")
	}
	plain, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	b.want(plain, "a.example", http.StatusBadRequest)
	for _, reason := range []string{"version", "name", "plain_http"} {
		b.Eventually("the failure is counted: "+reason, func() bool {
			return strings.Contains(b.Metrics(), `penstock_tls_handshake_failures_total{reason="`+reason+`"`)
		})
	}
}

func TestRenewal(t *testing.T) {
	b := start(t)
	sessions := tls.NewLRUClientSessionCache(8)
	resuming := func(c *tls.Config) { c.ClientSessionCache = sessions }
	kept := b.mustDial("x.example.org", resuming)
	b.want(kept, "x.example.org", http.StatusOK) // the ticket comes with the answer

	// Clients that come all the time, while certificates change.
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		c := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: b.a.pool, ServerName: "a.example"}}}
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			r, err := http.NewRequest(http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/a", b.Port), nil)
			if err == nil {
				r.Host = "a.example"
				var response *http.Response
				if response, err = c.Do(r); err == nil {
					response.Body.Close()
					if response.StatusCode != http.StatusOK {
						err = errors.New(response.Status)
					}
				}
			}
			if err != nil {
				ended <- err
				return
			}
		}
	}()

	crt, key := b.a.pair("a.example")
	renewed := b.a.serial
	b.Write("a.yaml", encoded("a", crt, key))
	b.Eventually("the new certificate is shown", func() bool { return serial(b.mustDial("a.example", nil)) == renewed })
	b.want(kept, "x.example.org", http.StatusOK)
	again := b.mustDial("x.example.org", resuming)
	b.want(again, "x.example.org", http.StatusOK)
	if !again.ConnectionState().DidResume {
		t.Error("a session of another name was not resumed")
	}

	// What is wrong is told; the last good certificate serves.
	other, _ := b.a.pair("a.example")
	b.Write("a.yaml", harness.SecretOf("a", other, key))
	b.Eventually("the mismatch is told", func() bool {
		return strings.Contains(b.Log(), "Secret default/a: tls.key is not the key of tls.crt") && strings.Contains(b.Log(), "the last good certificate serves")
	})
	if got := serial(b.mustDial("a.example", nil)); got != renewed {
		t.Errorf("got certificate %d; want the last good one, %d", got, renewed)
	}
	crt, key = b.a.pair("a.example")
	right := b.a.serial
	b.Write("a.yaml", harness.SecretOf("a", crt, key))
	b.Eventually("the right one is shown", func() bool { return serial(b.mustDial("a.example", nil)) == right })
	if n := strings.Count(b.Metrics(), "penstock_tls_certificate_expiry_timestamp_seconds{"); n != 3 {
		t.Errorf("the end of %d certificates is told; want 3", n)
	}

	close(stop)
	if err := <-ended; err != nil {
		t.Errorf("a client failed meanwhile: %v", err)
	}
	shown := b.shown()
	if !strings.Contains(shown, "a.example") {
		t.Error("/config does not show the certificate's names")
	}
	for _, line := range b.a.secrets {
		if strings.Contains(shown, line) || strings.Contains(shown, base64.StdEncoding.EncodeToString([]byte(line))) {
			t.Fatal("a key is shown")
		}
	}
}
