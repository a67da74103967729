// Package catalogue_test tries the examples of the bundled plugins' READMEs in a cluster.
package catalogue_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/kubernetes/bed"
	"penstock.dev/penstock/conformance/readme"
)

var b *bed.Bed

func TestMain(m *testing.M) {
	os.Exit(bed.Main(m, bed.Options{}, func(made *bed.Bed) { b = made }))
}

// around is what an example leaves out.
const around = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: NAMESPACE}
spec: {gatewayClassName: penstock, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec: {containers: [{name: shop, image: testbed, args: [shop], readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}]}
---
`

const route = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: SERVICE, namespace: NAMESPACE}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: SERVICE, port: 80}]}]}
---
`

// client is as curl.
var client = &http.Client{
	Transport:     &http.Transport{DisableCompression: true, DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       30 * time.Second,
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(b.Root, "plugins-src", "*", "README.md"))
	if err != nil || len(files) < 4 {
		t.Fatalf("%d plugins, %v", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		t.Run(name, func(t *testing.T) {
			if name == "rate-limit" {
				t.Skip("each of the proxies counts for itself: conformance/redis has several that count together")
			}
			if name == "waf" && os.Getenv("PENSTOCK_LONG") == "" {
				t.Skip("it takes a minute to compile on three proxies at once, and conformance/catalogue has tried it: set PENSTOCK_LONG=1")
			}
			e, err := readme.Read(file)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(b.Root, "build", name+".wasm")); err != nil && os.Getenv("PENSTOCK_SKIP_TOOLCHAINS") != "" {
				t.Skip("it is not built, and PENSTOCK_SKIP_TOOLCHAINS is set")
			}
			try(t, b.Space(t, "example-"+name, nil), e)
		})
	}
}

var selector = regexp.MustCompile(`selector: \{app: [a-z]+\}`)

// try puts an example's objects into a namespace, and does what its console shows.
func try(t *testing.T, namespace string, e *readme.Example) {
	t.Helper()
	text := around
	if e.Names("Gateway") != nil {
		_, text, _ = strings.Cut(around, "---\n")
	}
	var identities *readme.Identities
	if e.Secure() {
		var err error
		if identities, err = readme.NewIdentities(); err != nil {
			t.Fatal(err)
		}
		text += readme.In(identities.Objects, namespace) + "---\n"
	}
	services := e.Names("Service")
	if len(services) == 0 {
		t.Fatal("no Service")
	}
	for _, s := range services {
		if e.Names("HTTPRoute") == nil {
			text += strings.ReplaceAll(route, "SERVICE", s)
		}
	}
	// Each Service of an example is the shop, whatever it is called.
	b.Put(t, namespace, text+selector.ReplaceAllString(e.In(namespace), "selector: {app: shop}"))
	if err := b.WaitReady(t.Context(), namespace, time.Minute); err != nil {
		t.Fatal(err)
	}
	var chains []string
	for _, kind := range []string{"Gateway", "Service"} {
		for _, name := range e.Chained(kind) {
			chains = append(chains, strings.ToLower(kind)+"-"+name)
		}
	}
	for _, name := range chains {
		bed.Eventually(t, name+" runs", 2*time.Minute, func() error {
			c, err := b.Chain(t.Context(), namespace, name)
			if err != nil {
				return err
			}
			if got := c.Is("Programmed"); !strings.HasPrefix(got, "True ") {
				return fmt.Errorf("Programmed is %q: %s", got, c)
			}
			return nil
		})
	}
	gateway := "edge"
	if own := e.Names("Gateway"); own != nil {
		gateway = own[0]
	}
	address := b.Address(t, namespace, gateway)
	// The route may come later than the chain.
	bed.Eventually(t, "the console shows what comes", time.Minute, func() error {
		for i := range e.Steps {
			if err := run(t, identities, &e.Steps[i], address); err != nil {
				return err
			}
		}
		return nil
	})
}

// run does what a line of the console says, at the Gateway's address.
func run(t *testing.T, identities *readme.Identities, s *readme.Step, address string) error {
	c, err := identities.Client(s, client)
	if err != nil {
		return err
	}
	port := ":80"
	if s.Secure() {
		port = ":443"
	}
	return s.Run(t.Context(), c, address+port)
}
