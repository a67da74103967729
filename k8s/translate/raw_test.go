package translate_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/k8s/translate"
)

// TestPolicyOfARawRoutesNamespace: it holds where there is nothing but the route.
func TestPolicyOfARawRoutesNamespace(t *testing.T) {
	dir := t.TempDir()
	text := strings.Replace(gatewayText, "{name: http, protocol: HTTP, port: 80}", "{name: tcp, protocol: TCP, port: 80, allowedRoutes: {namespaces: {from: All}}}", 1) +
		policyText("q", "require: [key-auth], overrides: {before: [{use: nobody}]}") + `apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: r, namespace: other}
spec: {parentRefs: [{name: edge, namespace: default}], rules: [{backendRefs: [{name: s, namespace: third, port: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: s, namespace: third}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: third}
spec: {from: [{group: gateway.networking.k8s.io, kind: TCPRoute, namespace: other}], to: [{group: "", kind: Service}]}
`
	text = strings.Replace(text, "namespaceSelector: {}", "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: other}}", 1)
	if err := os.WriteFile(filepath.Join(dir, "x.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, problems := load(t, dir, translate.New(options()))
	b := c.Gateways[0].Listeners[0].RawRoutes.Entries[0].Route.Backends[0]
	if b.Chain == nil || b.Chain.Parts[0].Fault == nil || b.Chain.Parts[0].Fault.Reason != "UnknownPlugin" {
		t.Errorf("got %+v; want the policy's part; problems %v", b, problems)
	}
}
