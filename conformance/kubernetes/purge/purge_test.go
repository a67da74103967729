// Package purge shows that a CachePurge reaches every proxy of a cluster.
package purge

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"penstock.dev/penstock/conformance/kubernetes/bed"
)

var b *bed.Bed

const proxies = 3

func TestMain(m *testing.M) {
	os.Exit(bed.Main(m, bed.Options{}, func(made *bed.Bed) { b = made }))
}

const objects = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: NAMESPACE}
spec:
  gatewayClassName: penstock
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: NAMESPACE}
spec:
  parentRefs: [{name: edge}]
  hostnames: [NAMESPACE.example]
  rules: [{backendRefs: [{name: shop, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata:
  name: shop
  namespace: NAMESPACE
  annotations: {penstock.dev/plugins: "- cache"}
spec: {selector: {app: shop}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, namespace: NAMESPACE}
spec:
  replicas: 1
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: testbed, args: [serve], readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}}]
`

// edge is the proxies, asked one by one.
type edge struct {
	*testing.T
	namespace string
	at        []string // their addresses
	client    *http.Client
}

func newEdge(t *testing.T, namespace string) *edge {
	t.Helper()
	e := &edge{T: t, namespace: namespace, client: &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}}
	t.Cleanup(e.client.CloseIdleConnections)
	bed.Eventually(t, "the Gateway has a Service", 30*time.Second, func() error {
		list, err := b.Client.CoreV1().Services(bed.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "penstock.dev/gateway-namespace=" + namespace})
		if err != nil || len(list.Items) != 1 {
			return fmt.Errorf("%d of them, %w", len(list.Items), err)
		}
		port := list.Items[0].Spec.Ports[0].TargetPort.IntValue()
		pods, err := b.Proxies(t.Context())
		if err != nil {
			return err
		}
		e.at = nil
		for _, p := range pods {
			e.at = append(e.at, net.JoinHostPort(p.Status.PodIP, strconv.Itoa(port)))
		}
		if len(e.at) != proxies {
			return fmt.Errorf("%d proxies", len(e.at))
		}
		return nil
	})
	for i := range e.at {
		bed.Eventually(t, "the Service answers", time.Minute, func() error {
			did, err := e.get(i, "/ready")
			if err == nil && did == "" {
				err = fmt.Errorf("no cache in its chain")
			}
			return err
		})
	}
	return e
}

// get asks one proxy and returns what its cache did.
func (e *edge) get(proxy int, target string) (did string, err error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+e.at[proxy]+target, nil)
	if err != nil {
		return "", err
	}
	r.Host = e.namespace + ".example"
	answer, err := e.client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", answer.Status)
	}
	return strings.TrimPrefix(answer.Header.Get("Cache-Status"), "Penstock; "), err
}

// each calls do with every number below n, several at once.
func (e *edge) each(n int, do func(i int) error) {
	e.Helper()
	var next atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					e.Errorf("%d: %v", i, err)
					return
				}
			}
		})
	}
	group.Wait()
	if e.Failed() {
		e.FailNow()
	}
}

var purges = schema.GroupVersionResource{Group: "penstock.dev", Version: "v1alpha1", Resource: "cachepurges"}

func (e *edge) purges() dynamic.ResourceInterface {
	return b.Dynamic.Resource(purges).Namespace(e.namespace)
}

// purge makes a CachePurge and waits until it is completed. It returns what the status
// says was removed, and how long that took.
func (e *edge) purge(name string, spec map[string]any) (removed int64, took time.Duration) {
	e.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "penstock.dev/v1alpha1", "kind": "CachePurge", "metadata": map[string]any{"name": name}, "spec": spec,
	}}
	ctx, cancel := context.WithTimeout(e.Context(), 30*time.Second)
	defer cancel()
	watch, err := e.purges().Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		e.Fatal(err)
	}
	defer watch.Stop()
	began := time.Now()
	if _, err := e.purges().Create(ctx, o, metav1.CreateOptions{}); err != nil {
		e.Fatal(err)
	}
	for event := range watch.ResultChan() {
		now, ok := event.Object.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		if status, _ := bed.Condition(now, "Completed"); status != "True" {
			continue
		}
		took = time.Since(began)
		e.Logf("%s: %v", name, took.Round(time.Millisecond))
		removed, _, _ = unstructured.NestedInt64(now.Object, "status", "removed")
		list, _, _ := unstructured.NestedSlice(now.Object, "status", "proxies")
		if len(list) != proxies {
			e.Errorf("%s: the status names %d proxies; want %d", name, len(list), proxies)
		}
		return removed, took
	}
	e.Fatalf("%s is not completed in time", name)
	return 0, 0
}

// TestPurge purges by each kind of name, while other pages are asked for all the time.
func TestPurge(t *testing.T) {
	b.Scale(t, proxies)
	namespace := b.Space(t, "purge", nil)
	other := b.Space(t, "purge-other", nil)
	b.Put(t, namespace, objects)
	b.Put(t, other, objects)
	e, o := newEdge(t, namespace), newEdge(t, other)

	pages, tags := 200, 5
	if os.Getenv("PENSTOCK_LONG") != "" {
		pages, tags = 10_000, 10 // 100,000 tags on each proxy
	}
	target := func(i int) string {
		var s strings.Builder
		fmt.Fprintf(&s, "/cached/%d?tag=all", i)
		for n := range tags - 1 {
			fmt.Fprintf(&s, "&tag=p%d-%d", i, n)
		}
		return s.String()
	}
	fill := func(e *edge) {
		e.each(proxies*pages, func(i int) error {
			_, err := e.get(i%proxies, target(i/proxies))
			return err
		})
	}
	fill(e)
	fill(o)

	stop := make(chan struct{})
	var load sync.WaitGroup
	var asked atomic.Int64
	for i := range proxies {
		load.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := e.get(i, fmt.Sprintf("/cached/load-%d?tag=load", n%50)); err != nil {
					t.Errorf("under load: %v", err)
					return
				}
				asked.Add(1)
			}
		})
	}
	defer func() {
		close(stop)
		load.Wait()
		t.Logf("%d requests meanwhile", asked.Load())
	}()

	var times []time.Duration
	gone := func(name string, list ...int) {
		t.Helper()
		for _, i := range list {
			for p := range proxies {
				if did, err := e.get(p, target(i)); err != nil || !strings.HasPrefix(did, "fwd=") {
					t.Errorf("%s: proxy %d serves page %d: %s, %v", name, p, i, did, err)
				}
			}
		}
	}
	for i := range 20 {
		name := fmt.Sprintf("tag-%d", i)
		removed, took := e.purge(name, map[string]any{"tags": []any{fmt.Sprintf("p%d-0", i)}})
		if times = append(times, took); removed != proxies {
			t.Errorf("%s: %d removed; want %d", name, removed, proxies)
		}
		gone(name, i)
	}
	for name, test := range map[string]struct {
		spec map[string]any
		list []int
	}{
		"url":    {map[string]any{"urls": []any{"http://" + namespace + ".example" + target(30)}}, []int{30}},
		"prefix": {map[string]any{"prefixes": []any{"http://" + namespace + ".example/cached/31"}}, []int{31}},
		"two":    {map[string]any{"tags": []any{"p32-0", "p32-1", "p33-0"}}, []int{32, 33}},
	} {
		removed, took := e.purge(name, test.spec)
		if times = append(times, took); removed != int64(proxies*len(test.list)) {
			t.Errorf("%s: %d removed; want %d", name, removed, proxies*len(test.list))
		}
		gone(name, test.list...)
	}
	removed, took := e.purge("all", map[string]any{"tags": []any{"all"}})
	if times = append(times, took); removed != int64(proxies*pages) {
		t.Errorf("all: %d removed; want %d", removed, proxies*pages)
	}
	gone("all", 0, 50, pages-1)
	for p := range proxies { // of another namespace, with the same tags
		if did, err := o.get(p, target(50)); err != nil || !strings.HasPrefix(did, "hit") {
			t.Errorf("proxy %d: a page of another namespace: %s, %v; want a hit", p, did, err)
		}
	}
	slices.Sort(times)
	t.Logf("%d purges over %d proxies with %d tags each: p50 %v, most %v", len(times), proxies, pages*(tags-1)+1, times[len(times)/2].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond))
}
