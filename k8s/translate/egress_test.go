package translate_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/translate"
)

// caText is a ConfigMap of the install namespace with an authority's certificate.
func caText(t *testing.T, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, NotAfter: time.Unix(4e9, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\ndata: {ca.crt: %q}\n---\n", name, options().InstallNamespace, text)
}

// TestAuthoritiesOfEgress: what vouches for a hostname, of a Plugin and of policies, and
// that a change of it comes through.
func TestAuthoritiesOfEgress(t *testing.T) {
	a, b := caText(t, "a"), caText(t, "b")
	images := `images: [{prefix: r.example, unsigned: true, allowTags: true}], capabilities: [http-call], `
	plugin := func(egress string) string {
		return pluginText("x", `versions: [{name: "1", image: "r.example/x:1"}], capabilities: [http-call], egress: [`+egress+`]`)
	}
	tests := map[string]struct {
		objects, use string
		fault        string // of the authorities
		roots        int
		problem      string // that is told
	}{
		"of a Plugin":             {a + plugin("{hostname: i.example, caCertificate: a}"), "x", "", 1, ""},
		"the system's":            {plugin("{hostname: i.example}"), "x", "", 0, ""},
		"a ConfigMap that is not": {plugin("{hostname: i.example, caCertificate: a}"), "x", "there is no ConfigMap penstock-system/a", 0, "Plugin/x: spec.egress[0].caCertificate: InvalidCACertificateRef: there is no ConfigMap penstock-system/a; calls to i.example over TLS fail until it is right"},
		"of a policy":             {a + policyText("p", images+"egress: [{hostname: i.example, caCertificate: a}]"), "image", "", 1, ""},
		"of one of two policies":  {a + policyText("p", images+"egress: [{hostname: i.example}]") + policyText("q", images+"egress: [{hostname: i.example, caCertificate: a}]"), "image", "", 1, ""},
		"of both":                 {a + policyText("p", images+"egress: [{hostname: i.example, caCertificate: a}]") + policyText("q", images+"egress: [{hostname: i.example, caCertificate: a}]"), "image", "", 1, ""},
		"two that differ":         {a + b + policyText("p", images+"egress: [{hostname: i.example, caCertificate: a}]") + policyText("q", images+"egress: [{hostname: i.example, caCertificate: b}]"), "image", "two policies name different authorities for it", 0, ""},
		"a policy's that is not":  {policyText("p", images+"egress: [{hostname: i.example, caCertificate: a}]"), "image", "there is no ConfigMap penstock-system/a", 0, "PluginPolicy/p: spec.egress[0].caCertificate: InvalidCACertificateRef: there is no ConfigMap penstock-system/a; calls to i.example over TLS fail until it is right"},
		"a bundled plugin's":      {a + policyText("p", "egress: [{hostname: i.example, caCertificate: a}]"), "caller", "", 1, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			o := options()
			o.Bundled = append(o.Bundled, translate.Bundled{Name: "caller", Major: "1", Image: "penstock.dev/plugins/caller:1", Calls: true})
			f.tr = translate.New(o)
			list := "[" + test.use + "]"
			if test.use == "image" {
				list = "[{image: 'r.example/x:1'}]"
			}
			f.write("objects.yaml", test.objects)
			f.write("s.yaml", service("s", list, ""))
			c, problems := load(t, f.dir, f.tr)
			p := part(t, c)
			if p.Fault != nil || len(p.Filters[0].Egress) != 1 {
				t.Fatalf("got %+v, %+v; want one filter with one entry", p.Fault, p.Filters)
			}
			got := p.Filters[0].Egress[0].CA
			if got == nil {
				got = &config.Authorities{}
			}
			if got.Fault != test.fault || len(got.Roots) != test.roots {
				t.Errorf("got %q and %d roots; want %q and %d", got.Fault, len(got.Roots), test.fault, test.roots)
			}
			var told []string
			for _, x := range problems {
				if x.Reason == "InvalidCACertificateRef" {
					told = append(told, x.String())
				}
			}
			if strings.Join(told, "\n") != test.problem {
				t.Errorf("told %q; want %q", told, test.problem)
			}
			if test.roots == 0 {
				return
			}
			f.write("objects.yaml", strings.Replace(test.objects, a, caText(t, "a"), 1))
			if again := part(t, f.load()).Filters[0]; again.Hash == p.Filters[0].Hash || again.Egress[0].CA.Hash == got.Hash {
				t.Error("another authority of that name changed nothing")
			}
		})
	}
}

// TestABundledPluginThatCallsReachesItsNamespace: its Services are upstreams though no
// route leads to them.
func TestABundledPluginThatCallsReachesItsNamespace(t *testing.T) {
	f := newFolder(t)
	o := options()
	o.Bundled = append(o.Bundled, translate.Bundled{Name: "caller", Major: "1", Image: "penstock.dev/plugins/caller:1", Calls: true})
	f.tr = translate.New(o)
	f.write("s.yaml", service("s", "[caller]", ""))
	f.write("auth.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: auth, namespace: default}\nspec: {ports: [{name: http, port: 81}]}\n")
	if c := f.load(); c.Upstreams["default/auth:81"] == nil {
		t.Errorf("got %v; want default/auth:81 among them", c.Upstreams)
	}
}
