package parity

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"penstock.dev/penstock/conformance/kubernetes/testbed"
)

const shop = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      containers:
      - name: echo
        image: registry.k8s.io/gateway-api/echo-basic
        readinessProbe: {httpGet: {path: /, port: 3000}, periodSeconds: 1}
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
---
apiVersion: v1
kind: Service
metadata:
  name: echo
  namespace: shop
  annotations: {penstock.dev/plugins: "[{use: transform, config: {response: {headers: {set: {X-Shop: plugin}}}}}]"}
spec: {selector: {app: echo}, ports: [{port: 80, targetPort: 3000}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {gatewayClassName: penstock, listeners: [{name: http, port: 8081, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: echo, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{matches: [{path: {value: /shop}}], backendRefs: [{name: echo, port: 80}]}]
`

// TestRunKubernetes: one process that watches a cluster serves Pods, runs their
// Service's plugins, and writes statuses.
func TestRunKubernetes(t *testing.T) {
	if err := two.bed.ApplyText(t.Context(), shop); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, o := range slices.Backward(parse(shop)) {
			if at, err := two.at(o); err == nil && o.GetKind() != "Namespace" {
				_ = at.Delete(context.Background(), o.GetName(), metav1.DeleteOptions{})
			}
		}
	})
	if err := two.bed.WaitReady(t.Context(), "shop", time.Minute); err != nil {
		t.Fatal(err)
	}
	get := func(path string) (int, http.Header, string, error) {
		client := http.Client{Timeout: 5 * time.Second}
		r, err := client.Get("http://127.0.0.3:8081" + path)
		if err != nil {
			return 0, nil, "", err
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		return r.StatusCode, r.Header, string(body), err
	}
	eventually(t, "both Pods answer, behind the plugin", func() error {
		seen := map[string]bool{}
		for range 20 {
			status, h, body, err := get("/shop")
			var got struct{ Pod string }
			if err == nil {
				err = json.Unmarshal([]byte(body), &got)
			}
			if err != nil || status != 200 || h.Get("X-Shop") != "plugin" {
				return fmt.Errorf("%d %v %v %s", status, err, h, body)
			}
			seen[got.Pod] = true
		}
		if len(seen) != 2 {
			return fmt.Errorf("only %v", seen)
		}
		return nil
	})
	if status, _, _, err := get("/else"); status != 404 {
		t.Errorf("another path: got %d, %v; want 404", status, err)
	}
	server, err := two.bed.Client.CoreV1().Services("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the API server's addresses are forbidden", func() error {
		c, err := config(clusterAdmin)
		if err != nil {
			return err
		}
		for _, a := range []string{server.Spec.ClusterIP, testbed.ControlAddress} {
			if have := text(c["Forbidden"]); !strings.Contains(have, `"`+a+`"`) {
				return fmt.Errorf("%s is not in %s", a, have)
			}
		}
		return nil
	})
	for _, want := range []struct{ object, path, condition string }{
		{"apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: shop}", "status.listeners.0.conditions", "Programmed"},
		{"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: echo, namespace: shop}", "status.parents.0.conditions", "Accepted"},
		{"apiVersion: penstock.dev/v1alpha1\nkind: ChainStatus\nmetadata: {name: service-echo, namespace: shop}", "status.controllers.0.conditions", "Programmed"},
	} {
		o := parse(want.object)[0]
		eventually(t, o.GetKind()+" is "+want.condition, func() error {
			at, err := two.at(o)
			if err != nil {
				return err
			}
			now, err := at.Get(t.Context(), o.GetName(), metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, c := range listAt(now, want.path) {
				if c, ok := c.(map[string]any); ok && c["type"] == want.condition && c["status"] == "True" {
					return nil
				}
			}
			return fmt.Errorf("%v", now.Object["status"])
		})
	}
}

// listAt returns the list at a path of fields, and of places in lists.
func listAt(o *unstructured.Unstructured, path string) []any {
	var v any = o.Object
	for step := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			var i int
			if _, err := fmt.Sscan(step, &i); err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		}
	}
	list, _ := v.([]any)
	return list
}

// eventually asks until there is no error, for 20 s.
func eventually(t *testing.T, what string, ask func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = ask(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}
