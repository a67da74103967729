// Package life_test follows what is said of a Service's chain through its whole
// life, on a real cluster with a real registry.
package life_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/conformance/kubernetes/bed"
)

var b *bed.Bed

const password = "right"

func TestMain(m *testing.M) {
	os.Exit(bed.Main(m, bed.Options{
		Replace: map[string]string{
			"args: [control, ": "args: [control, --tag-interval, 1s, --local-registry, \"" + bed.Registry + "\", ",
		},
		Before: map[string]string{bed.RegistryNamespace: bed.RegistryObjects(password)},
	}, func(made *bed.Bed) { b = made }))
}

// shop is a Service with two Pods behind a Gateway; TEXT is its annotation.
const shop = `
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
  rules:
  - matches: [{path: {type: PathPrefix, value: /shop}}]
    backendRefs: [{name: shop, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /plain}}]
    backendRefs: [{name: plain, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: NAMESPACE}
spec: {selector: {app: shop}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, namespace: NAMESPACE}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: testbed, args: [serve], readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}}]
`

func service(annotation string) string {
	return "apiVersion: v1\nkind: Service\nmetadata:\n  name: shop\n  namespace: NAMESPACE\n  annotations:\n    penstock.dev/plugins: |\n      " +
		strings.ReplaceAll(strings.TrimSpace(annotation), "\n", "\n      ") + "\nspec: {selector: {app: shop}, ports: [{name: http, port: 80, targetPort: 8080}]}\n"
}

// text is the annotation as the cluster has it.
func text(annotation string) string { return strings.TrimSpace(annotation) + "\n" }

func policy(prefix string) string {
	return `
apiVersion: penstock.dev/v1alpha1
kind: PluginPolicy
metadata: {name: life}
spec:
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}
  images: [{prefix: "` + prefix + `", unsigned: true, allowTags: true}]
`
}

// life is what was said of one ChainStatus.
type life struct {
	*testing.T
	namespace, address string

	mu       sync.Mutex
	versions []string
	deleted  bool
}

// answer asks the Service through the Gateway.
func (l *life) answer(path string, harm bool) (status int, from string, err error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+l.address+path, nil)
	if err != nil {
		return 0, "", err
	}
	if harm {
		r.Header.Set("X-Harm", "1")
	}
	response, err := (&http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return 0, "", err
	}
	response.Body.Close()
	return response.StatusCode, response.Header.Get("X-From"), nil
}

// want is what is to be seen, of the chain and of traffic.
type want struct {
	annotation           string // that is observed
	accepted, programmed string // status and reason
	degraded             string
	state, reason        string // of the first filter
	digest               string // empty: any
	proxies              string // empty: any
	status               int
	from                 string
}

// becomes waits until everything is as wanted, in 30 s at most, on both proxies.
func (l *life) becomes(what string, w want) {
	l.Helper()
	began := time.Now()
	bed.Eventually(l.T, what, 30*time.Second, func() error {
		for range 6 { // connections go to both proxies
			status, from, err := l.answer("/shop", false)
			if err != nil || status != w.status || from != w.from {
				return fmt.Errorf("answer %d from %q, %v; want %d from %q", status, from, err, w.status, w.from)
			}
		}
		c, err := b.Chain(l.Context(), l.namespace, "service-shop")
		if err != nil {
			return err
		}
		got := want{annotation: w.annotation, accepted: c.Is("Accepted"), programmed: c.Is("Programmed"), degraded: c.Is("Degraded"), proxies: c.Proxies, status: w.status, from: w.from}
		if len(c.Filters) > 0 {
			got.state, got.reason, got.digest = c.Filters[0].State, c.Filters[0].Reason, c.Filters[0].Digest
		}
		if w.digest == "" {
			got.digest = ""
		}
		if w.proxies == "" {
			got.proxies = ""
		}
		if c.ObservedHash != bed.Hash(text(w.annotation)) {
			return fmt.Errorf("observedHash %s; want %s", c.ObservedHash, bed.Hash(text(w.annotation)))
		}
		if got != w {
			return fmt.Errorf("got  %+v\nwant %+v", got, w)
		}
		return nil
	})
	l.Logf("%s: after %v", what, time.Since(began).Round(time.Millisecond))
	if status, _, err := l.answer("/plain", false); status != 200 {
		l.Errorf("%s: another Service answers %d, %v", what, status, err)
	}
}

func (l *life) note(name string, c *bed.Chain) {
	if name != "service-shop" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c == nil {
		l.deleted = true
		return
	}
	l.versions = append(l.versions, c.String())
}

// event waits for a warning of the Service.
func (l *life) event(reason string) {
	l.Helper()
	bed.Eventually(l.T, "Event "+reason, 10*time.Second, func() error {
		all := b.Events(l.namespace, "Service", "shop")
		if !slices.ContainsFunc(all, func(e string) bool { return strings.HasPrefix(e, reason+": ") }) {
			return fmt.Errorf("only %q", all)
		}
		return nil
	})
}

func TestLife(t *testing.T) {
	layout := t.TempDir()
	b.Variant(t, "transform", layout, "test.example/plugins/transform:1")
	b.Guest(t, "registry/guests/crash", layout, "test.example/plugins/crash:1")
	transform := b.Push(t, layout, "test.example/plugins/transform:1", "shop/transform", "1", password)
	crash := b.Push(t, layout, "test.example/plugins/crash:1", "shop/transform", "2", password)

	l := &life{T: t, namespace: b.Space(t, "life", nil)}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if err := b.WatchChains(ctx, l.namespace, l.note); err != nil {
		t.Fatal(err)
	}
	put := func(text string) { t.Helper(); b.Put(t, l.namespace, text) }
	entry := func(digest, from string) string {
		return fmt.Sprintf("- image: %s/shop/transform@%s\n  imagePullSecrets: [{name: login}]\n  config: {response: {headers: {set: {X-From: %s}}}}", bed.Registry, digest, from)
	}
	first := entry(transform, "one")
	put(shop + "---\n" + bed.PullSecret("login", password) + "---\n" + service(first))
	l.address = b.Address(t, l.namespace, "edge")
	if err := b.WaitReady(t.Context(), l.namespace, time.Minute); err != nil {
		t.Fatal(err)
	}

	l.becomes("no policy admits the image", want{annotation: first, accepted: "False RefusedByPolicy", programmed: "False RefusedByPolicy", degraded: "False AsConfigured", proxies: "0/2", status: 503})
	admitted := policy(bed.Registry + "/shop")
	put(admitted)
	running := want{annotation: first, accepted: "True Accepted", programmed: "True Programmed", degraded: "False AsConfigured", state: "Ready", digest: transform, proxies: "2/2", status: 200, from: "one"}
	l.becomes("it runs", running)

	// Edited wrongly: what ran before serves.
	kept := running
	kept.accepted, kept.programmed, kept.degraded, kept.proxies = "False InvalidAnnotation", "False InvalidAnnotation", "True LastGood", "0/2"
	kept.annotation = "- image: [\n"
	put(service(kept.annotation))
	l.becomes("the annotation does not parse", kept)
	l.event("InvalidAnnotation")
	kept.accepted, kept.programmed = "False UnknownPlugin", "False UnknownPlugin"
	kept.annotation = "- use: nobody-has-it"
	put(service(kept.annotation))
	l.becomes("the plugin is unknown", kept)
	l.event("UnknownPlugin")
	second := entry(transform, "two")
	mended := running
	mended.annotation, mended.from = second, "two"
	put(service(second))
	l.becomes("mended", mended)

	// Policy changes its mind.
	put(policy(bed.Registry + "/other"))
	l.becomes("no longer admitted", want{annotation: second, accepted: "False RefusedByPolicy", programmed: "False RefusedByPolicy", degraded: "False AsConfigured", proxies: "0/2", status: 503})
	l.event("RefusedByPolicy")
	put(admitted)
	l.becomes("admitted again", mended)

	// The right to pull goes, and comes back.
	b.SetPassword(t, "another")
	revoked := want{annotation: second, accepted: "True Accepted", programmed: "False PullForbidden", degraded: "True PullForbidden", state: "Failed", reason: "PullForbidden", proxies: "0/2", status: 503}
	l.becomes("the right to pull is revoked", revoked)
	b.SetPassword(t, password)
	l.becomes("the right to pull is back", mended)

	// A digest that fails each request.
	third := entry(crash, "three")
	put(service(third))
	bed.Eventually(t, "the new digest runs", 30*time.Second, func() error {
		if status, _, err := l.answer("/shop", false); status != 500 {
			return fmt.Errorf("%d, %v", status, err)
		}
		return nil
	})
	for range 200 {
		_, _, _ = l.answer("/shop", false)
	}
	l.becomes("rolled back", want{annotation: third, accepted: "True Accepted", programmed: "False RolledBack", degraded: "True RolledBack", state: "RolledBack", reason: "RolledBack", digest: transform, proxies: "2/2", status: 200, from: "two"})
	l.event("RolledBack")

	if err := b.Client.CoreV1().Services(l.namespace).Delete(t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	bed.Eventually(t, "the ChainStatus goes with its Service", 20*time.Second, func() error {
		if _, err := b.Chain(t.Context(), l.namespace, "service-shop"); !bed.Gone(err) {
			return fmt.Errorf("%v", err)
		}
		if status, _, err := l.answer("/shop", false); status != 500 { // Gateway API: a backend that is not there
			return fmt.Errorf("answer %d, %v", status, err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.deleted {
			return errors.New("no word of the deletion")
		}
		return nil
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, v := range l.versions {
		t.Logf("%2d %s", i, v)
		if i > 0 && v == l.versions[i-1] {
			t.Errorf("version %d is the same as the one before", i)
		}
	}
	if n := len(l.versions); n > 20 {
		t.Errorf("%d writes", n)
	}
}
