// Package input_test puts objects that are wrong among ones that are right.
package input_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"penstock.dev/penstock/conformance/kubernetes/bed"
)

var b *bed.Bed

func TestMain(m *testing.M) {
	os.Exit(bed.Main(m, bed.Options{}, func(made *bed.Bed) { b = made }))
}

const world = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: NAMESPACE}
spec: {gatewayClassName: penstock, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: testbed, args: [serve], readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NAMESPACE}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
`

// good is one of the routes that must serve.
func good(i int) string {
	return route(fmt.Sprintf("good-%d", i), "edge", fmt.Sprintf("{path: {type: PathPrefix, value: /good/%d}}", i), "{name: web, port: 80}")
}

func route(name, gateway, match, backend string) string {
	return fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: %s, namespace: NAMESPACE}\nspec: {parentRefs: [{name: %s}], rules: [{matches: [%s], backendRefs: [%s]}]}\n---\n", name, gateway, match, backend)
}

func annotated(name, text string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata:\n  name: %s\n  namespace: NAMESPACE\n  annotations:\n    penstock.dev/plugins: %q\nspec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}\n---\n", name, text) +
		route(name, "edge", "{path: {type: PathPrefix, value: /"+name+"}}", "{name: "+name+", port: 80}")
}

func gateway(name, more string) string {
	return fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: %s, namespace: NAMESPACE}\nspec: {gatewayClassName: penstock, %s}\n---\n", name, more)
}

// wrong is a way to be wrong: the object that is told of it, and the objects' text.
type wrong struct {
	resource, kind string
	text           func(name string) string
}

var wrongs = map[string]wrong{
	"no such Service": {"httproutes", "HTTPRoute", func(n string) string {
		return route(n, "edge", "{path: {type: PathPrefix, value: /"+n+"}}", "{name: nobody, port: 80}")
	}},
	"a Service of another namespace": {"httproutes", "HTTPRoute", func(n string) string {
		return route(n, "edge", "{path: {type: PathPrefix, value: /"+n+"}}", "{name: web, namespace: kube-system, port: 80}")
	}},
	"no such Gateway": {"httproutes", "HTTPRoute", func(n string) string {
		return route(n, "nobody", "{path: {type: PathPrefix, value: /"+n+"}}", "{name: web, port: 80}")
	}},
	"no regular expression": {"httproutes", "HTTPRoute", func(n string) string {
		return route(n, "edge", "{path: {type: RegularExpression, value: \"/"+n+"/(\"}}", "{name: web, port: 80}")
	}},
	"listeners that conflict": {"gateways", "Gateway", func(n string) string {
		return gateway(n, "listeners: [{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: TCP}]")
	}},
	"no such Secret": {"gateways", "Gateway", func(n string) string {
		return gateway(n, "listeners: [{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: nobody}]}}]")
	}},
	"no such parameters": {"gateways", "Gateway", func(n string) string {
		return gateway(n, "listeners: [{name: a, port: 80, protocol: HTTP}], infrastructure: {parametersRef: {group: penstock.dev, kind: ProxyParameters, name: nobody}}")
	}},
	"a huge annotation":     {"services", "Service", func(n string) string { return annotated(n, "# "+strings.Repeat("x", 20<<10)) }},
	"no YAML":               {"services", "Service", func(n string) string { return annotated(n, "- use: [") }},
	"an alias":              {"services", "Service", func(n string) string { return annotated(n, "- &a {use: transform}\n- *a") }},
	"no such plugin":        {"services", "Service", func(n string) string { return annotated(n, "- use: nobody") }},
	"an image of anybody's": {"services", "Service", func(n string) string { return annotated(n, "- image: registry.example.com/x:1") }},
	"an unlabelled Secret": {"services", "Service", func(n string) string {
		return annotated(n, "- {use: transform, configFrom: [{secretKeyRef: {name: unlabelled, key: a}}]}")
	}},
	"a chain in a chain": {"pluginchains", "PluginChain", func(n string) string {
		return "apiVersion: penstock.dev/v1alpha1\nkind: PluginChain\nmetadata: {name: " + n + ", namespace: NAMESPACE}\nspec: {plugins: [{name: a, chain: " + n + "}]}\n---\n"
	}},
	"no image prefix": {"pluginpolicies", "PluginPolicy", func(n string) string {
		return "apiVersion: penstock.dev/v1alpha1\nkind: PluginPolicy\nmetadata: {name: " + n + "}\nspec: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: nobody}}, images: [{prefix: \"https://x y\", unsigned: true}]}\n---\n"
	}},
	"no authority": {"backendtlspolicies", "BackendTLSPolicy", func(n string) string {
		return annotated(n, "[]") + "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: " + n + ", namespace: NAMESPACE}\nspec: {targetRefs: [{group: \"\", kind: Service, name: " + n + "}], validation: {hostname: a.example, caCertificateRefs: [{group: \"\", kind: ConfigMap, name: nobody}]}}\n---\n"
	}},
}

func TestWrongAmongRight(t *testing.T) {
	n := 160
	if os.Getenv("PENSTOCK_LONG") != "" {
		n = 1000
	}
	ns := b.Space(t, "input", nil)
	b.Put(t, ns, world+"---\napiVersion: v1\nkind: Secret\nmetadata: {name: unlabelled, namespace: NAMESPACE}\nstringData: {a: \"response: {headers: {set: {X-Secret: told}}}\"}\n")
	if err := b.WaitReady(t.Context(), ns, time.Minute); err != nil {
		t.Fatal(err)
	}
	address := b.Address(t, ns, "edge")
	var names []string
	for name := range wrongs {
		names = append(names, name)
	}
	slices.Sort(names)
	type one struct{ kind, resource, name, why string }
	var made []one
	refused := map[string]int{}
	var mu sync.Mutex
	var group sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range n {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			ctx := context.Background()
			if err := b.ApplyText(ctx, strings.ReplaceAll(good(i), "NAMESPACE", ns)); err != nil {
				t.Error(err)
			}
			why := names[i%len(names)]
			w, name := wrongs[why], fmt.Sprintf("wrong-%d", i)
			err := b.ApplyText(ctx, strings.ReplaceAll(w.text(name), "NAMESPACE", ns))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				if refused[why]++; refused[why] == 1 {
					t.Logf("%s: %.300v", why, err)
				}
			} else {
				made = append(made, one{w.kind, w.resource, name, why})
			}
		})
	}
	group.Wait()
	t.Logf("%d are wrong, and as many right; the API server refuses %v", len(made), refused)
	var served atomic.Int64
	bed.Eventually(t, "all good ones serve", 90*time.Second, func() error {
		served.Store(0)
		for i := range n {
			response, err := http.Get(fmt.Sprintf("http://%s/good/%d", address, i))
			if err != nil {
				return err
			}
			response.Body.Close()
			if response.StatusCode != 200 {
				return fmt.Errorf("route %d: %s", i, response.Status)
			}
			served.Add(1)
		}
		return nil
	})
	groups := map[string]string{"services": "", "pluginchains": "penstock.dev", "pluginpolicies": "penstock.dev"}
	limit := time.Now().Add(90*time.Second + time.Duration(n/4)*time.Second) // Events come five a second
	silent := map[string]int{}
	for _, o := range made {
		group, ok := groups[o.resource]
		version := "v1alpha1"
		if !ok {
			group = "gateway.networking.k8s.io"
		}
		if group != "penstock.dev" {
			version = "v1"
		}
		told := func() error {
			resource := b.Dynamic.Resource(schema.GroupVersionResource{Group: group, Version: version, Resource: o.resource})
			var got *unstructured.Unstructured
			var err error
			if o.resource == "pluginpolicies" {
				got, err = resource.Get(context.Background(), o.name, metav1.GetOptions{})
			} else {
				got, err = resource.Namespace(ns).Get(context.Background(), o.name, metav1.GetOptions{})
			}
			if err != nil {
				return err
			}
			if bad(got.Object["status"]) || len(b.Events(ns, o.kind, o.name)) > 0 {
				return nil
			}
			if c, err := b.Chain(context.Background(), ns, "service-"+o.name); err == nil && strings.HasPrefix(c.Is("Accepted"), "False") {
				return nil
			}
			return fmt.Errorf("status %v", got.Object["status"])
		}
		if err := bed.Wait(max(time.Until(limit), 0), told); err != nil {
			if silent[o.why]++; silent[o.why] == 1 {
				t.Errorf("%s: nothing is said of %s %s: %v", o.why, o.kind, o.name, err)
			}
		}
	}
	for i := range n { // an unlabelled Secret reaches nobody
		if names[i%len(names)] == "an unlabelled Secret" {
			response, err := http.Get(fmt.Sprintf("http://%s/wrong-%d", address, i))
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.Header.Get("X-Secret") != "" || response.StatusCode != 503 {
				t.Errorf("an unlabelled Secret: status %d, X-Secret %q", response.StatusCode, response.Header.Get("X-Secret"))
			}
			break
		}
	}
}

// bad reports whether a status has a condition that says that something is wrong.
func bad(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		if kind, ok := v["type"].(string); ok {
			switch kind {
			case "Accepted", "ResolvedRefs":
				return v["status"] == "False"
			case "Conflicted", "PartiallyInvalid":
				return v["status"] == "True"
			}
			return false
		}
		for _, x := range v {
			if bad(x) {
				return true
			}
		}
	case []any:
		for _, x := range v {
			if bad(x) {
				return true
			}
		}
	}
	return false
}
