package parity

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/kubernetes"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
)

// manifests reads one of the suite's files.
func manifests(t *testing.T, name string) []*unstructured.Unstructured {
	t.Helper()
	text, err := fs.ReadFile(conformance.Manifests, name)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte("{GATEWAY_CLASS_NAME}"), []byte("penstock"))
	text = bytes.ReplaceAll(text, []byte("{GATEWAY_CONTROLLER_NAME}"), []byte("penstock.dev/gateway-controller"))
	text = bytes.ReplaceAll(text, []byte("PLACEHOLDER_UNUSABLE_ADDRS"), []byte("192.0.2.1"))
	text = bytes.ReplaceAll(text, []byte("PLACEHOLDER_USABLE_ADDRS"), []byte("192.0.2.2"))
	return parse(string(text))
}

// secrets are those that the suite makes at its start, for Gateways and policies.
func secrets(t *testing.T) (all []*unstructured.Unstructured) {
	add := func(o runtime.Object, version, kind string) {
		made, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{Object: made}
		u.SetAPIVersion(version)
		u.SetKind(kind)
		unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
		all = append(all, u)
	}
	add(kubernetes.MustCreateSelfSignedCertSecret(t, suite.WebBackendNamespace, "certificate", []string{"*"}), "v1", "Secret")
	add(kubernetes.MustCreateSelfSignedCertSecret(t, suite.InfrastructureNamespace, "tls-validity-checks-certificate", []string{"*", "*.org", "*.wildcard.org"}), "v1", "Secret")
	for _, name := range []string{"tls-validity-checks-ca-certificate", "tls-validity-checks-per-port-ca-certificate", "mismatch-ca-certificate", "tls-checks-ca-certificate"} {
		authority, ca, key := kubernetes.MustCreateCACertConfigMap(t, suite.InfrastructureNamespace, name)
		add(authority, "v1", "ConfigMap")
		switch name {
		case "tls-validity-checks-ca-certificate":
			add(kubernetes.MustCreateCASignedClientCertSecret(t, suite.InfrastructureNamespace, "tls-validity-checks-client-certificate", ca, key), "v1", "Secret")
		case "tls-checks-ca-certificate":
			add(kubernetes.MustCreateCASignedCertSecret(t, suite.InfrastructureNamespace, "tls-checks-certificate", []string{"abc.example.com", "other.example.com"}, ca, key), "v1", "Secret")
			add(kubernetes.MustCreateCASignedClientCertSecret(t, suite.InfrastructureNamespace, "tls-checks-client-certificate", ca, key), "v1", "Secret")
			add(kubernetes.MustCreateCASignedCertSecret(t, suite.InfrastructureNamespace, "tls-terminate-checks-certificate", []string{"tls.example.com"}, ca, key), "v1", "Secret")
		}
	}
	return all
}

// reached returns which of the base's Gateways the objects name.
func reached(base, objects []*unstructured.Unstructured) (all []*unstructured.Unstructured) {
	named := map[string]bool{}
	for _, o := range objects {
		refs, _, _ := unstructured.NestedSlice(o.Object, "spec", "parentRefs")
		if parent, ok, _ := unstructured.NestedMap(o.Object, "spec", "parentRef"); ok {
			refs = append(refs, parent)
		}
		for _, r := range refs {
			if r, ok := r.(map[string]any); ok {
				named[fmt.Sprint(r["name"])] = true
			}
		}
	}
	for _, o := range base {
		if o.GetKind() == "Gateway" && named[o.GetName()] {
			all = append(all, o)
		}
	}
	return all
}

// group is tests of the suite that have the same Gateways and no object in common.
type group struct {
	names    []string
	gateways []string
	objects  map[string]*unstructured.Unstructured
	order    []string
}

func groups(t *testing.T, base []*unstructured.Unstructured) (all []*group) {
	for _, test := range tests.ConformanceTests {
		if strings.HasPrefix(test.ShortName, "Mesh") {
			continue
		}
		var objects []*unstructured.Unstructured
		for _, name := range test.Manifests {
			objects = append(objects, manifests(t, name)...)
		}
		objects = append(reached(base, objects), objects...)
		var gateways []string
		for _, o := range objects {
			if o.GetKind() == "Gateway" {
				gateways = append(gateways, id(o))
			}
		}
		slices.Sort(gateways)
		at := slices.IndexFunc(all, func(g *group) bool {
			return slices.Equal(g.gateways, gateways) && !slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool {
				return o.GetKind() != "Gateway" && g.objects[id(o)] != nil
			})
		})
		if at < 0 {
			at = len(all)
			all = append(all, &group{gateways: gateways, objects: map[string]*unstructured.Unstructured{}})
		}
		g := all[at]
		g.names = append(g.names, test.ShortName)
		for _, o := range objects {
			if g.objects[id(o)] == nil {
				g.order = append(g.order, id(o))
			}
			g.objects[id(o)] = o
		}
	}
	return all
}

// endpoints are a ready Pod's for each Service of the objects; nothing runs in them.
func endpoints(objects []*unstructured.Unstructured) (all []*unstructured.Unstructured) {
	for _, o := range objects {
		if o.GetKind() != "Service" {
			continue
		}
		var ports []string
		list, _, _ := unstructured.NestedSlice(o.Object, "spec", "ports")
		for _, p := range list {
			p := p.(map[string]any)
			port := fmt.Sprintf("{port: %d", 3000+len(ports))
			if p["name"] != nil {
				port += fmt.Sprintf(", name: %q", p["name"])
			}
			if p["protocol"] != nil {
				port += fmt.Sprintf(", protocol: %s", p["protocol"])
			}
			ports = append(ports, port+"}")
		}
		all = append(all, parse(fmt.Sprintf(`{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: %[1]s-made, namespace: %[2]s, labels: {kubernetes.io/service-name: %[1]s}},
addressType: IPv4, ports: [%[3]s], endpoints: [{addresses: [10.244.9.9], targetRef: {kind: Pod, namespace: %[2]s, name: %[1]s-1}, conditions: {ready: true}}]}`,
			o.GetName(), o.GetNamespace(), strings.Join(ports, ", ")))...)
	}
	return all
}

// skipped are kinds that neither serves.
var skipped = []string{"Deployment", "Pod", "GatewayClass"}

func TestSuiteManifests(t *testing.T) {
	base := manifests(t, "base/manifests.yaml")
	ctx := t.Context()
	put := func(t *testing.T, objects []*unstructured.Unstructured) (taken []*unstructured.Unstructured) {
		t.Helper()
		for _, o := range objects {
			if slices.Contains(skipped, o.GetKind()) {
				continue
			}
			if err := two.put(ctx, o); err != nil {
				t.Errorf("not taken: %v", err)
				continue
			}
			taken = append(taken, o)
		}
		return taken
	}
	put(t, slices.DeleteFunc(slices.Clone(base), func(o *unstructured.Unstructured) bool { return o.GetKind() == "Gateway" }))
	put(t, secrets(t))
	put(t, endpoints(base))
	for _, g := range groups(t, base) {
		t.Run(strings.Join(g.names[:min(3, len(g.names))], "_"), func(t *testing.T) {
			var objects []*unstructured.Unstructured
			for _, name := range g.order {
				objects = append(objects, g.objects[name])
			}
			objects = append(objects, endpoints(objects)...)
			taken := put(t, objects)
			two.same(t)
			two.sameStatuses(t, taken)
			for _, o := range slices.Backward(taken) {
				if err := two.remove(ctx, o); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestExamples: as TestSuiteManifests, for what we show.
func TestExamples(t *testing.T) {
	ctx := t.Context()
	folders, err := filepath.Glob(filepath.Join(two.root, "examples", "*", "config"))
	if err != nil || len(folders) == 0 {
		t.Fatal(folders, err)
	}
	for _, folder := range folders {
		t.Run(filepath.Base(filepath.Dir(folder)), func(t *testing.T) {
			var objects []*unstructured.Unstructured
			spaces := map[string]bool{"default": true}
			files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				for _, o := range parse(string(text)) {
					switch o.GetKind() {
					case "GatewayClass":
						continue
					case "EndpointSlice":
						pods(o)
					}
					if space := o.GetNamespace(); space != "" && !spaces[space] {
						spaces[space] = true
						objects = append(parse("{apiVersion: v1, kind: Namespace, metadata: {name: "+space+"}}"), objects...)
					}
					objects = append(objects, o)
				}
			}
			for _, o := range objects {
				if err := two.put(ctx, o); err != nil {
					t.Error(err)
				}
			}
			two.same(t)
			two.sameStatuses(t, objects)
			for _, o := range slices.Backward(objects) {
				if o.GetKind() == "Namespace" {
					continue
				}
				if err := two.remove(ctx, o); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// pods has a slice name Pods in place of processes of this machine, which the API
// server refuses.
func pods(o *unstructured.Unstructured) {
	list, _, _ := unstructured.NestedSlice(o.Object, "endpoints")
	for i := range list {
		e := list[i].(map[string]any)
		e["addresses"] = []any{fmt.Sprintf("10.244.9.%d", i+1)}
		e["targetRef"] = map[string]any{"kind": "Pod", "namespace": o.GetNamespace(), "name": fmt.Sprintf("pod-%d", i)}
	}
	_ = unstructured.SetNestedSlice(o.Object, list, "endpoints")
}
