package translate_test

import (
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/k8s/translate"
)

// TestEndpointsThatAreNoPods: what comes from an API server needs the policy's
// word; with a folder the operator wrote everything.
func TestEndpointsThatAreNoPods(t *testing.T) {
	const slice = `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s-1, labels: {kubernetes.io/service-name: s}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
  - {addresses: [10.0.0.1], targetRef: {kind: Pod, name: p, namespace: default}}
  - {addresses: [10.0.0.2]}
  - {addresses: [10.0.0.3], targetRef: {kind: Pod, name: q, namespace: kube-system}}
  - {addresses: [10.0.0.4], targetRef: {kind: Node, name: node-1}}
`
	refusal := "EndpointSlice/default/s-1: endpoints[1].targetRef: RefusedByPolicy: it names no Pod of namespace default, so that it is left out: let every PluginPolicy that selects the namespace say allowExternalName: true"
	tests := map[string]struct {
		check  bool
		policy string
		want   int
	}{
		"a folder":                       {false, "", 4},
		"no policy":                      {true, "", 1},
		"a policy that says nothing":     {true, policyText("a", ""), 1},
		"a policy that allows it":        {true, policyText("a", "allowExternalName: true"), 4},
		"one of two policies":            {true, policyText("a", "allowExternalName: true") + policyText("b", ""), 1},
		"a folder with a silent policy":  {false, policyText("a", ""), 4},
		"a policy for another namespace": {true, "apiVersion: penstock.dev/v1alpha1\nkind: PluginPolicy\nmetadata: {name: a}\nspec: {namespaceSelector: {matchLabels: {a: b}}, allowExternalName: true}\n", 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			o := options()
			o.CheckEndpoints = test.check
			f.tr = translate.New(o)
			f.write("s.yaml", service("s", "[]", ""))
			f.write("slice.yaml", slice)
			if test.policy != "" {
				f.write("policy.yaml", test.policy)
			}
			c, problems := load(t, f.dir, f.tr)
			if got := c.Endpoints.Of("default/s:80").Endpoints; len(got) != test.want {
				t.Errorf("got %v; want %d", got, test.want)
			}
			told := slices.ContainsFunc(problems, func(p translate.Problem) bool { return p.String() == refusal })
			if told != (test.want == 1) {
				t.Errorf("got %v", problems)
			}
		})
	}
}

// TestExternalNameLeadsNowhere: also where policy allows it, its name is not looked up.
func TestExternalNameLeadsNowhere(t *testing.T) {
	for name, policy := range map[string]string{"no policy": "", "a policy that allows it": policyText("a", "allowExternalName: true")} {
		f := newFolder(t)
		o := options()
		o.CheckEndpoints = true
		f.tr = translate.New(o)
		f.write("s.yaml", strings.Replace(service("s", "[]", ""), "spec: {ports:", "spec: {type: ExternalName, externalName: kubernetes.default.svc.cluster.local, ports:", 1))
		if policy != "" {
			f.write("policy.yaml", policy)
		}
		c, problems := load(t, f.dir, f.tr)
		if got := c.Endpoints.Of("default/s:80"); got == nil || len(got.Endpoints) > 0 {
			t.Errorf("%s: got %v; want an upstream without endpoints", name, got)
		}
		if !slices.ContainsFunc(problems, func(p translate.Problem) bool {
			return p.Object.Name == "s" && p.Field == "spec.type" && p.Reason == "NotSupported"
		}) {
			t.Errorf("%s: got %v", name, problems)
		}
	}
}
