package readme

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

const text = "# shop\n\n```yaml\npenstock.dev/plugins: x\n```\n\n```yaml\napiVersion: v1\nkind: Service\nmetadata:\n  annotations: {a: b}\n  name: shop\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: keys}\n```\n\n" +
	"```console\n$ curl -i -H 'X-A: it'\\''s' -H Accept: \\\n    'http://shop.example/a?b=c'\nHTTP/1.1 200 OK\nServer: shop/...\n...\n\nGET /a?b=c\nHost: shop.example\n...\nX-A: it's\n$ curl http://shop.example/ -d x=1\n...\nContent-Length: 3\n...\n\nx=1\n$ curl -I http://shop.example\nHTTP/1.1 200 OK\n...\n```\n"

func TestExample(t *testing.T) {
	e, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Names("Service"); !slices.Equal(got, []string{"shop"}) {
		t.Errorf("Services %q", got)
	}
	if got := e.Names("Secret"); !slices.Equal(got, []string{"keys"}) {
		t.Errorf("Secrets %q", got)
	}
	want := "apiVersion: v1\nkind: Service\nmetadata:\n  namespace: a\n  annotations: {a: b}\n  name: shop\n---\napiVersion: v1\nkind: Secret\nmetadata: {namespace: a, name: keys}\n"
	if got := e.In("a"); got != want {
		t.Errorf("in a namespace: got\n%s", got)
	}
	s := httptest.NewServer(http.HandlerFunc(Shop))
	defer s.Close()
	if len(e.Steps) != 3 {
		t.Fatalf("%d steps", len(e.Steps))
	}
	for i := range e.Steps {
		if err := e.Steps[i].Run(t.Context(), http.DefaultClient, s.Listener.Addr().String()); err != nil {
			t.Error(err)
		}
	}
}

func TestWhatDiffers(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(Shop))
	defer s.Close()
	for want, says := range map[string]string{
		"-H User-Agent: http://a.example/\nGET /\nHost: a.example\n...User-Agent...": "got\nGET /\nHost: a.example\nAccept: */*\n",
		"-i http://a.example/\nHTTP/1.1 404 Not Found\n...":                          "200 OK",
		"-i http://a.example/\nHTTP/1.1 200 OK\nX-A: b\n...\n\n...":                  `"X-A: b" is missing`,
		"-i http://a.example/\nHTTP/1.1 200 OK\nServer: ...\n\n...":                  "more than is shown",
		"http://a.example/\nGET /b\n...":                                             "got\nGET /\n",
		"http://a.example/\nGET /\nHost: a.example":                                  "Accept",
		"-i http://a.example/\nHTTP/1.1 200 OK\n...\n\nGET /\nHo...e":                "got\nGET /\n",
	} {
		steps, err := console("$ curl " + want)
		if err != nil {
			t.Fatal(err)
		}
		if err := steps[0].Run(t.Context(), http.DefaultClient, s.Listener.Addr().String()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v; want %q", want, err, says)
		}
	}
}

func TestWhatIsNotUnderstood(t *testing.T) {
	for _, line := range []string{"wget http://a.example/", "curl", "curl -k http://a.example/", "curl https://a.example/", "curl --http1.1 http://a.example/", "curl --cert", "curl a.example", "curl -H", "curl -H x http://a.example/", "curl 'http://a.example/", "curl http://a.example/ | jq", "curl \"$A\" http://a.example/", "curl http://a.example/ http://b.example/"} {
		if steps, err := console("$ " + line); err == nil {
			t.Errorf("%s: %v", line, steps)
		}
	}
	for _, readme := range []string{"", "```yaml\nkind: Service\n```\n", "```console\n$ curl http://a.example/\n```\n", "```yaml\nkind: Service\n```\n```console\nfirst\n```\n"} {
		if e, err := Parse(readme); err == nil {
			t.Errorf("%q: %v", readme, e)
		}
	}
}

// TestIdentities: a step with HTTPS shows the certificate that it names, and trusts the
// authority that it names alone.
func TestIdentities(t *testing.T) {
	m, err := NewIdentities()
	if err != nil {
		t.Fatal(err)
	}
	people := x509.NewCertPool()
	people.AddCert(m.root)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := "nobody"
		if len(r.TLS.VerifiedChains) > 0 {
			who = r.TLS.PeerCertificates[0].URIs[0].String()
		}
		_, _ = w.Write([]byte(who))
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{m.pairs["shop"]}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: people}
	s.StartTLS()
	defer s.Close()
	for options, want := range map[string]string{
		"--cacert ca.pem --cert cart.pem --key cart.key":   "spiffe://shop.example/cart",
		"--cacert ca.pem --cert other.pem --key other.key": "spiffe://shop.example/other",
		"--cacert ca.pem": "nobody",
	} {
		if err := runSecure(t, m, s, options, want); err != nil {
			t.Error(err)
		}
	}
	for _, options := range []string{"", "--cacert other.pem", "--cacert ca.pem --cert cart.pem --key other.key", "--cacert ca.pem --cert a.pem --key a.key"} {
		if err := runSecure(t, m, s, options, "..."); err == nil {
			t.Errorf("%q: want an error", options)
		}
	}
}

func runSecure(t *testing.T, m *Identities, s *httptest.Server, options, want string) error {
	t.Helper()
	steps, err := console("$ curl --http1.1 " + options + " https://shop.example/\n" + want)
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.Client(&steps[0], http.DefaultClient)
	if err != nil {
		return err
	}
	return steps[0].Run(t.Context(), c, s.Listener.Addr().String())
}
