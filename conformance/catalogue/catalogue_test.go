package catalogue

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
	"penstock.dev/penstock/conformance/readme"
)

// each runs a test for each bundled plugin.
func each(t *testing.T, test func(t *testing.T, name, dir string)) {
	t.Helper()
	manifests, err := filepath.Glob("../../plugins-src/*/plugin.json")
	if err != nil || len(manifests) < 4 {
		t.Fatalf("%d plugins, %v", len(manifests), err)
	}
	for _, m := range manifests {
		dir := filepath.Dir(m)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			if _, err := os.Stat(harness.BundledModule(t, filepath.Base(dir))); err != nil && os.Getenv("PENSTOCK_SKIP_TOOLCHAINS") != "" {
				t.Skip("it is not built, and PENSTOCK_SKIP_TOOLCHAINS is set")
			}
			test(t, filepath.Base(dir), dir)
		})
	}
}

const class = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: penstock}
spec: {controllerName: penstock.dev/gateway-controller}
`

const gateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: penstock, listeners: [{name: http, protocol: HTTP, port: ${PORT}}]}
`

// reached is what leads to a Service of an example.
const reached = `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: NAME-1, labels: {kubernetes.io/service-name: NAME}}
addressType: IPv4
ports: [{name: http, port: ENDPOINT}]
endpoints: [{addresses: [127.0.0.1]}]
`

const route = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: NAME}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: NAME, port: 80}]}]}
`

// client is as curl.
var client = &http.Client{
	Transport:     &http.Transport{DisableCompression: true, DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// listener is one of an example's own Gateway.
var listener = regexp.MustCompile(`(listeners: \[\{name: [a-z]+, )port: (80|443)`)

// TestExamples: the objects of each README do what its console shows.
func TestExamples(t *testing.T) {
	each(t, func(t *testing.T, name, dir string) {
		e, err := readme.Read(filepath.Join(dir, "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]string{"class.yaml": class, "example.yaml": listener.ReplaceAllString(e.Objects, "${1}port: $${PORT}")}
		if e.Names("Gateway") == nil {
			files["gateway.yaml"] = gateway
		}
		var identities *readme.Identities
		if e.Secure() {
			if identities, err = readme.NewIdentities(); err != nil {
				t.Fatal(err)
			}
			files["identities.yaml"] = identities.Objects
		}
		port := strconv.Itoa(harness.Upstream(t, readme.Shop))
		services := e.Names("Service")
		if len(services) == 0 {
			t.Fatal("no Service")
		}
		for _, s := range services {
			files[s+".yaml"] = strings.NewReplacer("NAME", s, "ENDPOINT", port).Replace(reached)
			if e.Names("HTTPRoute") == nil {
				files[s+"-route.yaml"] = strings.ReplaceAll(route, "NAME", s)
			}
		}
		p := harness.Start(t, harness.Options{Images: []string{harness.BundledPlugins(t)}, Files: files})
		for _, kind := range []string{"Gateway", "Service"} {
			for _, name := range e.Chained(kind) {
				p.Eventually(name+" runs", func() bool { return p.Chain(kind+"/default/"+name).State == "Running" })
			}
		}
		for i := range e.Steps {
			c, err := identities.Client(&e.Steps[i], client)
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Steps[i].Run(t.Context(), c, strings.TrimPrefix(p.URL, "http://")); err != nil {
				t.Error(err)
			}
		}
	})
}

// result is a line of penstock plugin test --json.
type result struct {
	Name         string
	Faults, Logs []string
}

// cases runs penstock plugin test.
func cases(t *testing.T, args ...string) (all []result) {
	t.Helper()
	c := exec.Command(harness.Binary(t), append([]string{"plugin", "test", "--json"}, args...)...)
	var said strings.Builder
	c.Stderr = &said
	out, err := c.Output()
	for line := range strings.Lines(string(out)) {
		var r result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		t.Fatalf("penstock %v: %v\n%s", c.Args[1:], err, said.String())
	}
	return all
}

// TestCases: each plugin passes its cases.
func TestCases(t *testing.T) {
	each(t, func(t *testing.T, name, dir string) {
		all := cases(t, "--module", harness.BundledModule(t, name), dir)
		if len(all) < 5 {
			t.Errorf("%d cases", len(all))
		}
		for _, r := range all {
			for _, f := range r.Faults {
				t.Errorf("%s: %s\n%s", r.Name, f, strings.Join(r.Logs, "\n"))
			}
		}
	})
}

// TestGuards: what refuses requests by who sends them, or by what is in them, is a guard.
func TestGuards(t *testing.T) {
	guards := map[string]bool{
		"acl": true, "authz": true, "basic-auth": true, "csrf": true, "decompress": true, "ext-authz": true, "ip-restriction": true, "jwt": true, "key-auth": true,
		"mtls-auth": true, "oidc": true, "rate-limit": true, "waf": true,
	}
	each(t, func(t *testing.T, name, dir string) {
		text, err := os.ReadFile(filepath.Join(dir, "plugin.json"))
		if err != nil {
			t.Fatal(err)
		}
		var m struct {
			ABI          string
			Guard        bool
			Capabilities []string
		}
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		if m.Guard != guards[name] || m.ABI != "proxy-wasm" {
			t.Errorf("plugin.json: guard %v, abi %q; want guard %v", m.Guard, m.ABI, guards[name])
		}
	})
}

// service is a Service called name with a plugin.
func service(name, plugin, config string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata:\n  name: %s\n  annotations:\n    penstock.dev/plugins: |\n      - use: %s\n        config: %s\nspec: {ports: [{name: http, port: 80}]}\n---%s---\n",
		name, plugin, config, strings.ReplaceAll(strings.Replace(route, "rules: [{", "rules: [{matches: [{path: {value: /NAME}}], ", 1), "NAME", name))
}
