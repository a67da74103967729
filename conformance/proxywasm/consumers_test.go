package proxywasm

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
	"penstock.dev/penstock/conformance/sdks"
)

// whoThereIs are Consumers of two namespaces, of which the Services of the first may use
// those of the second.
const whoThereIs = `apiVersion: penstock.dev/v1alpha1
kind: Consumer
metadata: {name: shop}
spec: {groups: [buyers, eu], credentials: [{name: shop-key}, {name: shop-login}]}
---
apiVersion: v1
kind: Secret
metadata: {name: shop-key, labels: {penstock.dev/credential: key-auth}}
stringData: {key: key-of-shop}
---
apiVersion: v1
kind: Secret
metadata: {name: shop-login, labels: {penstock.dev/credential: basic-auth}}
stringData: {username: shop-user, password: hush-hush}
---
apiVersion: penstock.dev/v1alpha1
kind: Consumer
metadata: {name: acme, namespace: partners}
spec: {credentials: [{name: key}]}
---
apiVersion: v1
kind: Secret
metadata: {name: key, namespace: partners, labels: {penstock.dev/credential: key-auth}}
stringData: {key: key-of-acme}
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: shops, namespace: partners}
spec: {from: [{group: "", kind: Service, namespace: default}], to: [{group: penstock.dev, kind: Consumer}]}
`

// TestSDKConsumers: the SDKs find Consumer objects, say who sent a request, and are told who
// did.
func TestSDKConsumers(t *testing.T) { eachSDK(t, testConsumers) }

func testConsumers(t *testing.T, s *sdks.SDK) {
	layout, manifest := t.TempDir(), filepath.Join(t.TempDir(), "plugin.json")
	if err := os.WriteFile(manifest, []byte(`{"abi": "proxy-wasm", "capabilities": ["consumer"], "multiConfig": true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	module := s.Guest(t, "consumers")
	harness.Pack(t, layout, "consumers", module, "--manifest", manifest)
	harness.Pack(t, layout, "unable", module)
	port := harness.Upstream(t, harness.Echo)
	annotation := func(name string) string {
		return "- image: test.example/plugins/" + name + ":1" + guestLimits
	}
	p := harness.Start(t, harness.Options{Images: []string{layout}, Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1), "who.yaml": whoThereIs,
		"able.yaml": harness.Service("able", annotation("consumers"), port), "unable.yaml": harness.Service("unable", annotation("unable"), port),
	}})
	for _, name := range []string{"able", "unable"} {
		p.Eventually(name+" runs", func() bool { return p.Chain("Service/default/"+name).State == "Running" })
	}
	const (
		shop  = "shop/ [buyers eu]"
		none  = "the proxy refused: not found"
		bad   = "the proxy refused: bad argument"
		right = "the proxy refused: internal failure"
	)
	tests := map[string]struct {
		path, do, kind, key string
		said                []string
		user, groups        string
	}{
		"set":                    {"/able", "set get", "", "", []string{"ok", "somebody/ [g h]"}, "somebody", "g,h"},
		"nobody":                 {"/able", "get", "", "", []string{none}, "", ""},
		"found, and not used":    {"/able", "find get", "key-auth", "key-of-shop", []string{shop, none}, "", ""},
		"found and used":         {"/able", "find use get", "key-auth", "key-of-shop", []string{shop, "ok", shop}, "shop", "buyers,eu"},
		"at once":                {"/able", "identify get", "key-auth", "key-of-shop", []string{"ok", shop}, "shop", "buyers,eu"},
		"with what is checked":   {"/able", "own use", "basic-auth", "shop-user", []string{"shop/password hush-hush [buyers eu]", "ok"}, "shop", "buyers,eu"},
		"of another namespace":   {"/able", "identify", "key-auth", "key-of-acme", []string{"ok"}, "acme", ""},
		"not asked for there":    {"/able", "own use", "key-auth", "key-of-acme", []string{none, none}, "", ""},
		"an unknown key":         {"/able", "identify find use", "key-auth", "key-of-none", []string{none, none, none}, "", ""},
		"another type":           {"/able", "find", "jwt", "key-of-shop", []string{none}, "", ""},
		"nothing to look up":     {"/able", "find identify", "key-auth", "", []string{bad, bad}, "", ""},
		"more than is looked up": {"/able", "find identify", "key-auth", strings.Repeat("k", 4097), []string{bad, bad}, "", ""},
		"what a token says":      {"/able", "get claim claims", "", `{"sub":"shop"}`, []string{none, "ok", `{"sub":"shop"}`}, "", ""},
		"nothing of it":          {"/able", "claim", "", "", []string{bad}, "", ""},
		"without the capability": {"/unable", "set find use identify claim get", "key-auth", "key-of-shop", []string{right, right, right, right, right, none}, "", ""},
	}
	for name, test := range tests {
		r, _ := do(t, "GET", p.URL+test.path, "", http.Header{"X-Do": {test.do}, "X-Kind": {test.kind}, "X-Key": {test.key}})
		if got, want := r.Header.Get("X-Got-X-Said"), strings.Join(test.said, "; "); r.StatusCode != 200 || got != want {
			t.Errorf("%s: got %d, %q; want %q", name, r.StatusCode, got, want)
		}
		if user, groups := r.Header.Get("X-Got-X-Consumer-Username"), r.Header.Get("X-Got-X-Consumer-Groups"); user != test.user || groups != test.groups {
			t.Errorf("%s: the Service got %q of %q; want %q of %q", name, user, groups, test.user, test.groups)
		}
	}
}
