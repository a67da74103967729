package translate_test

import (
	"os"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/translate"
)

// secretsOf returns the Secrets of the golden input as documents by name.
func secretsOf(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("testdata/tls.in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, doc := range strings.Split(string(text), "\n---\n") {
		if rest, ok := strings.CutPrefix(doc, "apiVersion: v1\nkind: Secret\nmetadata: {name: "); ok {
			name, _, _ := strings.Cut(rest, ",")
			all[name] = doc + "\n"
		}
	}
	return all
}

const secureGateway = common + `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: penstock
  listeners:
    - {name: a, protocol: HTTPS, port: 443, hostname: a.example, tls: {certificateRefs: [{name: s}]}}
    - {name: w, protocol: HTTPS, port: 443, hostname: "*.example.org", tls: {certificateRefs: [{name: wild, namespace: certs}]}}
---
`

const grant = `apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: wild, namespace: certs}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}]
  to: [{group: "", kind: Secret, name: wild}]
`

func TestTheLastGoodCertificateServes(t *testing.T) {
	f, secrets := newFolder(t), secretsOf(t)
	f.write("gateway.yaml", secureGateway)
	f.write("wild.yaml", secrets["wild"])
	f.write("grant.yaml", grant)
	as := func(name string) string { return strings.Replace(secrets[name], "name: "+name+",", "name: s,", 1) }
	load := func(what string) ([]*config.TLS, string) {
		t.Helper()
		c, problems := load(t, f.dir, f.tr)
		if err := c.Validate(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		var all []*config.TLS
		for _, l := range c.Gateways[0].Listeners {
			all = append(all, l.TLS)
		}
		return all, say(problems)
	}

	f.write("s.yaml", as("mismatch"))
	got, told := load("broken from the start")
	if len(got[0].Certificates) != 0 || len(got[1].Certificates) != 1 || !strings.Contains(told, "refused until it is right") {
		t.Errorf("broken from the start: got %d and %d certificates\n%s", len(got[0].Certificates), len(got[1].Certificates), told)
	}
	f.write("s.yaml", as("chain"))
	good, told := load("good")
	if len(good[0].Certificates) != 1 || told != "" {
		t.Fatalf("good: got %v\n%s", good[0], told)
	}
	if good[1] != got[1] {
		t.Error("a change of one Secret touched the other listener")
	}
	for _, name := range []string{"mismatch", "text", "opaque"} {
		f.write("s.yaml", as(name))
		if got, told := load(name); got[0] != good[0] || !strings.Contains(told, "the last good certificate serves until it is right") {
			t.Errorf("%s: got %+v\n%s", name, got[0], told)
		}
	}
	f.write("s.yaml", "")
	if got, told := load("gone"); got[0] != good[0] || !strings.Contains(told, "there is no Secret s") {
		t.Errorf("gone: got %+v\n%s", got[0], told)
	}
	f.write("s.yaml", as("rsa"))
	renewed, told := load("renewed")
	if renewed[0] == good[0] || renewed[0].Certificates[0].Hash == good[0].Certificates[0].Hash || told != "" {
		t.Errorf("renewed: got %+v\n%s", renewed[0], told)
	}
	f.write("grant.yaml", "")
	if got, told := load("grant withdrawn"); len(got[1].Certificates) != 0 || !strings.Contains(told, "RefNotPermitted") {
		t.Errorf("a withdrawn grant: got %d certificates\n%s", len(got[1].Certificates), told)
	}
}

func say(problems []translate.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}
