// Package identity tests who may say who a client is (annotations.md, section 7.2).
package identity

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"penstock.dev/penstock/conformance/harness"
)

// fields are the identity fields, one or more of each kind.
var fields = []string{
	"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Client-Cert", "X-Forwarded-Anything",
	"Forwarded", "X-Real-IP", "X-Envoy-External-Address", "X-Envoy-Internal", "Client-Cert", "Client-Cert-Chain",
	"X-Consumer-Username", "X-Consumer-Groups", "X-Consumer-Custom-Id",
}

// variants returns a name as it is, in lower and upper case, and with underscores in
// place of one dash or all.
func variants(name string) []string {
	all := []string{name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"), strings.Replace(name, "-", "_", 1)}
	if i := strings.LastIndexByte(name, '-'); i >= 0 {
		all = append(all, name[:i]+"_"+name[i+1:])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// bed is a proxy that a client may speak all versions to.
type bed struct {
	*harness.Proxy
	t      *testing.T
	secure int // port of HTTPS
}

func start(t *testing.T, annotation, parameters string) *bed {
	t.Helper()
	layout, secure := t.TempDir(), harness.FreePort(t)
	harness.Pack(t, layout, "forge", harness.Guest(t, "guests/forge"))
	gateway := strings.Replace(harness.GatewayFor(1), "listeners: [{name: http, protocol: HTTP, port: ${PORT}}]",
		fmt.Sprintf("infrastructure: {parametersRef: {group: penstock.dev, kind: ProxyParameters, name: edge}}\n  listeners: [{name: http, protocol: HTTP, port: ${PORT}}, {name: https, protocol: HTTPS, port: %d, tls: {certificateRefs: [{name: cert}]}}]", secure), 1)
	certificate, _ := harness.Secret(t, "cert", "a.example")
	b := &bed{harness.Start(t, harness.Options{
		Files: map[string]string{
			"gateway.yaml": gateway, "cert.yaml": certificate, "a.yaml": harness.Service("a", annotation, harness.Upstream(t, harness.Echo)),
			"keys.yaml":       "apiVersion: v1\nkind: Secret\nmetadata: {name: keys, labels: {penstock.dev/plugin-secret: \"true\"}}\nstringData: {k: '{keys: [{key: a-good-key, consumer: mobile, groups: [staff, shop]}]}'}\n",
			"parameters.yaml": "apiVersion: penstock.dev/v1alpha1\nkind: ProxyParameters\nmetadata: {name: edge}\nspec: {" + parameters + "}\n",
		},
		Images: []string{harness.BundledPlugins(t), layout},
	}), t, secure}
	b.Eventually("the plugins run", func() bool { return annotation == "" || b.Chain("Service/default/a").State == "Running" })
	b.Eventually("the UDP port is bound", func() bool { return strings.Contains(b.Log(), "listening for HTTP/3") })
	return b
}

// versions are the ways to send a request with fields as they are; each returns the
// response's head.
func (b *bed) versions() map[string]func(fields [][2]string) http.Header {
	send := func(do func(*http.Request) (*http.Response, error), scheme string) func([][2]string) http.Header {
		return func(fields [][2]string) http.Header {
			b.t.Helper()
			r, err := http.NewRequest(http.MethodGet, scheme+"://a.example/a", nil)
			if err != nil {
				b.t.Fatal(err)
			}
			for _, f := range fields {
				r.Header[f[0]] = append(r.Header[f[0]], f[1])
			}
			response, err := do(r)
			if err != nil {
				b.t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				b.t.Fatalf("got %s", response.Status)
			}
			return response.Header
		}
	}
	dial := func(port int) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		}
	}
	p := new(http.Protocols)
	p.SetHTTP2(true)
	two := &http.Transport{Protocols: p, TLSClientConfig: &tls.Config{ServerName: "a.example", InsecureSkipVerify: true}, DialContext: dial(b.secure)}
	b.t.Cleanup(two.CloseIdleConnections)
	ctx, done := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer done()
	qc, err := quic.DialAddr(ctx, fmt.Sprintf("127.0.0.1:%d", b.secure), &tls.Config{ServerName: "a.example", InsecureSkipVerify: true, NextProtos: []string{"h3"}}, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = qc.CloseWithError(0x100, "") })
	three := (&http3.Transport{}).NewClientConn(qc)
	return map[string]func([][2]string) http.Header{
		"HTTP/1.1": b.one, // byte by byte: a client of Go writes names its own way
		"HTTP/2":   send(two.RoundTrip, "https"),
		"HTTP/3":   send(three.RoundTrip, "https"),
	}
}

func (b *bed) one(fields [][2]string) http.Header {
	b.t.Helper()
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.Port))
	if err != nil {
		b.t.Fatal(err)
	}
	defer nc.Close()
	var head strings.Builder
	head.WriteString("GET /a HTTP/1.1\r\nHost: a.example\r\n")
	for _, f := range fields {
		fmt.Fprintf(&head, "%s: %s\r\n", f[0], f[1])
	}
	if _, err := fmt.Fprintf(nc, "%sConnection: close\r\n\r\n", head.String()); err != nil {
		b.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		b.t.Fatalf("got %s", response.Status)
	}
	return response.Header
}

// forgeries are all variants of all fields, each with a value that is looked for.
func forgeries() (all [][2]string) {
	for _, name := range fields {
		for _, v := range variants(name) {
			all = append(all, [2]string{v, "forged-by-client"})
		}
	}
	return all
}

// identity reports whether a name is that of one of the fields, written in any way.
func identity(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return slices.ContainsFunc(fields, func(f string) bool { return strings.ToLower(f) == name })
}

// TestStrangers: what a client says of itself reaches neither the plugins nor the
// Service, whatever it speaks and however it writes the names.
func TestStrangers(t *testing.T) {
	b := start(t, "- {image: \"test.example/plugins/forge:1\"}", "")
	for version, send := range b.versions() {
		t.Run(version, func(t *testing.T) {
			got := send(append(forgeries(), [2]string{"X-Own", "mine"}, [2]string{"X-Forward", "mine"}, [2]string{"X_Own", "mine"}))
			for name, values := range got {
				if strings.Contains(strings.Join(values, " "), "forged") {
					t.Errorf("the Service got %s: %q", name, values)
				}
			}
			seen := strings.Fields(got.Get("X-Got-X-Seen"))
			if !slices.Contains(seen, "x-own") || !slices.Contains(seen, "x-forward") || !slices.Contains(seen, "x_own") {
				t.Errorf("the plugin saw %q: the test shows nothing", seen)
			}
			for _, name := range seen {
				if identity(name) {
					t.Errorf("the plugin saw %s", name)
				}
			}
			if by := got.Get("X-Got-X-Forwarded-For"); by != "127.0.0.1" {
				t.Errorf("X-Forwarded-For: got %q; want the peer's address", by)
			}
		})
	}
}

// TestTrustedProxies: what a trusted peer says is passed on.
func TestTrustedProxies(t *testing.T) {
	b := start(t, "", "trustedProxies: [127.0.0.0/8]")
	for version, send := range b.versions() {
		t.Run(version, func(t *testing.T) {
			got := send([][2]string{{"X-Forwarded-For", "192.0.2.9"}, {"X-Real-Ip", "192.0.2.9"}, {"X-Consumer-Username", "mobile"}, {"X-Envoy-Internal", "true"}, {"Client-Cert", ":AAAA:"}})
			for name, want := range map[string]string{"X-Forwarded-For": "192.0.2.9, 127.0.0.1", "X-Real-Ip": "192.0.2.9", "X-Consumer-Username": "mobile", "X-Envoy-Internal": "true", "Client-Cert": ":AAAA:"} {
				if have := got.Get("X-Got-" + name); have != want {
					t.Errorf("%s: got %q; want %q", name, have, want)
				}
			}
		})
	}
}

// TestLinesOfATrustedProxy: a trusted proxy that adds its client's address as a line of its
// own is believed, and not the client, whose line stands before it.
func TestLinesOfATrustedProxy(t *testing.T) {
	b := start(t, "- {use: ip-restriction, config: {allow: [203.0.113.9]}}", "trustedProxies: [127.0.0.0/8]")
	lines := func(values ...string) (all [][2]string) {
		for _, v := range values {
			all = append(all, [2]string{"X-Forwarded-For", v})
		}
		return all
	}
	for version, send := range b.versions() {
		got := send(lines("198.51.100.7", "203.0.113.9"))
		if by, want := got.Values("X-Got-X-Forwarded-For"), []string{"198.51.100.7, 203.0.113.9, 127.0.0.1"}; !slices.Equal(by, want) {
			t.Errorf("%s: the Service got %q; want %q", version, by, want)
		}
	}
	for _, values := range [][]string{{"203.0.113.9", "198.51.100.7"}, {"203.0.113.9", "unknown"}, {""}} {
		r, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/a", b.Port), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "a.example"
		r.Header["X-Forwarded-For"] = values
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusForbidden {
			t.Errorf("%q: got %s; want 403", values, response.Status)
		}
	}
}

// TestConsumer: who sends a request is what the filter says that may; the proxy writes
// it after the last filter, in place of what others wrote, also a trusted proxy.
func TestConsumer(t *testing.T) {
	const auth = "- {use: key-auth, configFrom: [{secretKeyRef: {name: keys, key: k}}]}\n"
	const forge = "- {image: \"test.example/plugins/forge:1\"}\n"
	for name, test := range map[string]struct{ annotation, parameters string }{
		"a filter behind": {auth + forge, ""},
		"a filter before": {forge + auth, ""},
		"a trusted proxy": {auth + forge, "trustedProxies: [127.0.0.0/8]"},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, test.annotation, test.parameters)
			for version, send := range b.versions() {
				got := send(append(forgeries(), [2]string{"X-API-Key", "a-good-key"}))
				for field, want := range map[string]string{"X-Consumer-Username": "mobile", "X-Consumer-Groups": "staff,shop"} {
					if have := strings.Join(got.Values("X-Got-"+field), "|"); have != want {
						t.Errorf("%s: %s: got %q; want %q", version, field, have, want)
					}
				}
				for field, values := range got {
					isConsumer := strings.Contains(strings.ReplaceAll(strings.ToLower(field), "_", "-"), "x-got-x-consumer-")
					if isConsumer && strings.Contains(strings.Join(values, " "), "forged") {
						t.Errorf("%s: the Service got %s: %q", version, field, values)
					}
				}
			}
		})
	}
}
