package kinds

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// specs are what an object of a kind has beside its annotations.
var specs = map[string]string{
	"Service":          `spec: {ports: [{port: 80}]}`,
	"Ingress":          `spec: {defaultBackend: {service: {name: a, port: {number: 80}}}}`,
	"HTTPRoute":        `spec: {}`,
	"GRPCRoute":        `spec: {}`,
	"TCPRoute":         `spec: {rules: [{backendRefs: [{name: a, port: 80}]}]}`,
	"TLSRoute":         `spec: {hostnames: [a.example], rules: [{backendRefs: [{name: a, port: 80}]}]}`,
	"UDPRoute":         `spec: {rules: [{backendRefs: [{name: a, port: 80}]}]}`,
	"Gateway":          `spec: {gatewayClassName: penstock, listeners: [{name: a, port: 80, protocol: HTTP}]}`,
	"Deployment":       `spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: a}]}}}`,
	"PluginChain":      `spec: {plugins: []}`,
	"PluginPolicy":     `spec: {namespaceSelector: {}}`,
	"CachePurge":       `spec: {tags: [t]}`,
	"Consumer":         `spec: {}`,
	"Pod":              `spec: {containers: [{name: a, image: a}]}`,
	"BackendTLSPolicy": `spec: {targetRefs: [{group: "", kind: Service, name: a}], validation: {hostname: a.example, wellKnownCACertificates: System}}`,
}

func annotated(version, kind, annotations string) string {
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata:\n  name: annotated\n  annotations:\n    %s\n%s\n", version, kind, strings.ReplaceAll(annotations, "\n", "\n    "), specs[kind])
}

const gatewayV1 = "gateway.networking.k8s.io/v1"

// may are the kinds that a chain may stand on.
var may = []struct{ version, kind string }{
	{"v1", "Service"}, {"networking.k8s.io/v1", "Ingress"}, {gatewayV1, "Gateway"}, {gatewayV1, "HTTPRoute"}, {gatewayV1, "GRPCRoute"},
	{gatewayV1, "TCPRoute"}, {gatewayV1, "TLSRoute"},
}

func TestAnnotations(t *testing.T) {
	const noList = "penstock.dev/plugins is no list: each entry begins with a dash"
	tests := map[string]struct{ annotations, want string }{
		"none":                         {`other.example/plugins: "no list"`, ""},
		"a list":                       {"penstock.dev/plugins: |\n  - jwt\n  - use: waf", ""},
		"a list in brackets":           {`penstock.dev/plugins: "[]"`, ""},
		"a list below comments":        {"penstock.dev/plugins: |\n  # why\n\n     # and more\n    - jwt", ""},
		"a list with Windows lines":    {`penstock.dev/plugins: "# why\r\n\r\n- jwt\r\n"`, ""},
		"a document's first line":      {"penstock.dev/plugins: |\n  --- # one\n  - jwt", ""},
		"a list on the first line":     {`penstock.dev/plugins: "--- [jwt]"`, ""},
		"an entry on the next line":    {`penstock.dev/plugins: "-\n  use: jwt"`, ""},
		"a directive":                  {`penstock.dev/plugins: "%YAML 1.2\n---\n- jwt"`, ""},
		"nothing":                      {`penstock.dev/plugins: ""`, noList},
		"a comment alone":              {`penstock.dev/plugins: "# - jwt"`, noList},
		"a mapping":                    {`penstock.dev/plugins: "use: jwt"`, noList},
		"a name":                       {`penstock.dev/plugins: jwt`, noList},
		"a negative number":            {`penstock.dev/plugins: "-1"`, noList},
		"a list behind text":           {`penstock.dev/plugins: "jwt\n- jwt"`, noList},
		"16 KiB":                       {"penstock.dev/plugins: |\n  - " + strings.Repeat("a", 16384-3), ""},
		"more than 16 KiB":             {"penstock.dev/plugins: |\n  - " + strings.Repeat("a", 16384-2), "penstock.dev/plugins has 16385 bytes, at most 16384"},
		"more than 16 KiB, in bytes":   {"penstock.dev/plugins: |\n  - " + strings.Repeat("ä", 8191), "penstock.dev/plugins has 16385 bytes, at most 16384"},
		"keep":                         {`penstock.dev/on-invalid: keep`, ""},
		"reject":                       {`penstock.dev/on-invalid: reject`, ""},
		"neither":                      {`penstock.dev/on-invalid: Reject`, "penstock.dev/on-invalid: Reject is neither keep nor reject"},
		"neither, and long":            {`penstock.dev/on-invalid: ` + strings.Repeat("k", 100), "penstock.dev/on-invalid: " + strings.Repeat("k", 40) + " is neither"},
		"those of meshes":              {"penstock.dev/mesh: x\npenstock.dev/mesh-exclude-ports: x\npenstock.dev/mesh-exclude-cidrs: x", ""},
		"unknown ones":                 {"penstock.dev/plugin: x\npenstock.dev/onInvalid: x", "unknown annotation penstock.dev/"},
		"an unknown one":               {"penstock.dev/plugin: x", "unknown annotation penstock.dev/plugin: known are penstock.dev/plugins, penstock.dev/on-invalid, and for meshes penstock.dev/mesh, penstock.dev/mesh-exclude-ports and penstock.dev/mesh-exclude-cidrs"},
		"another prefix":               {`apenstock.dev/x: x`, ""},
		"a good one beside an unknown": {"penstock.dev/plugins: \"[]\"\npenstock.dev/plugins2: x", "unknown annotation penstock.dev/plugins2"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, k := range may {
				t.Run(k.kind, func(t *testing.T) {
					api.judge(t, api.create(t.Context(), parse(annotated(k.version, k.kind, test.annotations))[0]), test.want)
				})
			}
		})
	}
}

func TestAnnotationsElsewhere(t *testing.T) {
	for _, k := range []struct{ version, kind string }{
		{"v1", "Namespace"}, {"v1", "ConfigMap"}, {"v1", "Secret"}, {"v1", "ServiceAccount"}, {"apps/v1", "Deployment"},
		{gatewayV1, "UDPRoute"}, {gatewayV1, "BackendTLSPolicy"}, {"penstock.dev/v1alpha1", "PluginChain"}, {"penstock.dev/v1alpha1", "PluginPolicy"}, {"penstock.dev/v1alpha1", "CachePurge"}, {"penstock.dev/v1alpha1", "Consumer"},
	} {
		t.Run(k.kind, func(t *testing.T) {
			for _, text := range []string{`penstock.dev/plugins: "[]"`, `penstock.dev/on-invalid: keep`, `penstock.dev/mesh: x`, `penstock.dev/x: x`} {
				name, _, _ := strings.Cut(text, ":")
				api.judge(t, api.create(t.Context(), parse(annotated(k.version, k.kind, text))[0]),
					name+" has no meaning here: a Service, Ingress, HTTPRoute, GRPCRoute, TCPRoute, TLSRoute or Gateway may have it")
			}
			api.judge(t, api.create(t.Context(), parse(annotated(k.version, k.kind, `other.example/x: x`))[0]), "")
		})
	}
	api.judge(t, api.create(t.Context(), parse(annotated("v1", "Pod", `penstock.dev/plugins: "[]"`))[0]), "")
}

// TestOldAnnotations: who does not touch ours is not kept from changing an object that
// is wrong since before.
func TestOldAnnotations(t *testing.T) {
	tests := map[string]struct {
		set  map[string]string
		want string
	}{
		"nothing of it changes": {map[string]string{"other.example/x": "x"}, ""},
		"one is put right":      {map[string]string{"penstock.dev/plugins": "[]"}, "unknown annotation penstock.dev/plugin:"},
		"all are put right":     {map[string]string{"penstock.dev/plugins": "[]", "penstock.dev/plugin": ""}, ""},
		"one goes":              {map[string]string{"penstock.dev/plugin": ""}, ""},
		"another one comes":     {map[string]string{"penstock.dev/on-invalid": "keep"}, "unknown annotation penstock.dev/plugin:"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			at, err := api.at(parse(old)[0])
			if err != nil {
				t.Fatal(err)
			}
			o, err := at.Get(t.Context(), "old", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			all := o.GetAnnotations()
			for k, v := range test.set {
				if all[k] = v; v == "" {
					delete(all, k)
				}
			}
			o.SetAnnotations(all)
			o.SetLabels(map[string]string{"changed": "yes"})
			_, err = at.Update(t.Context(), o, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
			api.judge(t, err, test.want)
		})
	}
}
