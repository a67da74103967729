package seeing

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

const secret = "hush-7f3a-hush"

// secrets are Secrets whose values are all the marker.
var secrets = strings.ReplaceAll(`
apiVersion: v1
kind: Secret
metadata: {name: mine, labels: {penstock.dev/plugin-secret: "true"}}
stringData:
  hidden: '{"hidden": "SECRET"}'
  token: SECRET
  key: '{"SECRET": "SECRET"}'
  nested: '{"keys": [{"key": "SECRET", "consumer": {"SECRET": 1}}]}'
  text: "SECRET"
  broken: "a: [SECRET"
---
apiVersion: v1
kind: Secret
metadata: {name: login}
type: kubernetes.io/dockerconfigjson
stringData: {.dockerconfigjson: '{"auths": {"REGISTRY": {"username": "me", "password": "SECRET"}}}'}
---
apiVersion: v1
kind: Secret
metadata: {name: redis}
stringData: {password: SECRET}
---
apiVersion: penstock.dev/v1alpha1
kind: ProxyParameters
metadata: {name: edge}
spec: {redis: {address: "127.0.0.1:1", passwordSecretRef: {name: redis, key: password}}}
`, "SECRET", secret)

// TestSecretsAreNotShown: whatever goes wrong with a plugin that knows secrets,
// nothing that the process writes or answers has one.
func TestSecretsAreNotShown(t *testing.T) {
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer registry.Close()
	host := strings.TrimPrefix(registry.URL, "http://")
	_, port, _ := strings.Cut(host, ":")

	layout := t.TempDir()
	guest := harness.Guest(t, "guests/seen")
	schema := filepath.Join(t.TempDir(), "schema.json")
	if err := os.WriteFile(schema, []byte(`{"type": "object", "additionalProperties": false, "properties": {"secret": {"type": "integer"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Pack(t, layout, "seen", guest)
	harness.Pack(t, layout, "strict", guest, "--schema", schema)

	entry := func(image, start, more string) string {
		return fmt.Sprintf(`
- image: test.example/plugins/%s:1
  name: x
  config: {secret: %s, start: %s}
  configFrom: [{secretKeyRef: {name: mine, key: hidden}}%s]
  env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: mine, key: token}}}, {name: OTHER, value: %s}]
  vmConfig: {vm: %s}
  limits: {cpuTime: 200ms, cpuTimeExchange: 1s}`, image, secret, start, more, secret, secret)
	}
	from := func(key string) string { return ", {secretKeyRef: {name: mine, key: " + key + "}}" }
	canary := strings.Replace(entry("seen", "run", ""), "  name: x", "  name: x\n  canary: {image: \"test.example/plugins/strict:1\", mode: shadow, weight: 100}", 1)
	tests := map[string]struct{ entry, state, reason string }{
		"traps":          {entry("seen", "run", ""), "Running", ""},
		"refused":        {entry("seen", "refuse", ""), "Broken", "InvalidConfig"},
		"at-start":       {entry("seen", "trap", ""), "Broken", "InvalidModule"},
		"schema":         {entry("strict", "run", from("key")), "Broken", "InvalidConfig"},
		"twice":          {entry("seen", "run", from("key")+from("key")), "Broken", "InvalidConfig"},
		"no-mapping":     {entry("seen", "run", from("text")), "Broken", "InvalidConfig"},
		"broken-mapping": {entry("seen", "run", from("broken")), "Broken", "InvalidConfig"},
		"bundled":        {"- use: key-auth\n  configFrom: [{secretKeyRef: {name: mine, key: nested}}]", "Broken", "InvalidConfig"},
		"canary":         {canary, "Running", ""},
		"forbidden":      {"- image: " + host + "/plugins/x:1\n  name: x\n  imagePullSecrets: [{name: login}]", "Broken", "PullForbidden"},
	}
	upstream := harness.Upstream(t, harness.Echo)
	gateway := strings.ReplaceAll(harness.Gateway, "${REGISTRY}", port)
	files := map[string]string{
		"gateway.yaml": strings.Replace(gateway, "  gatewayClassName: penstock", "  gatewayClassName: penstock\n  infrastructure: {parametersRef: {group: penstock.dev, kind: ProxyParameters, name: edge}}", 1),
		"secrets.yaml": strings.ReplaceAll(secrets, "REGISTRY", host),
	}
	for name, test := range tests {
		files[name+".yaml"] = harness.Service(name, test.entry, upstream)
	}
	p := harness.Start(t, harness.Options{
		Files: files, Images: []string{harness.BundledPlugins(t), layout}, LocalRegistry: host, Args: []string{"--log-level", "debug"},
	})
	var shown strings.Builder
	get := func(url string) {
		t.Helper()
		r, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if _, err := io.Copy(&shown, r.Body); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range tests {
		p.Eventually(name+" is settled", func() bool { return p.Chain("Service/default/"+name).State == test.state })
		if c := p.Chain("Service/default/" + name); c.Reason != test.reason || test.reason != "" && c.Message == "" {
			t.Errorf("%s: got %+v; want %s", name, c, test.reason)
		}
	}
	n := len(secret)
	if got := ask(t, p.URL+"/traps", "").Header.Get("X-Got-X-Known"); got != fmt.Sprint(n, n, n, len(`{"vm":""}`)+n) {
		t.Errorf("the plugin knows %s bytes of secrets: the test shows nothing", got)
	}
	for _, do := range []string{"log", "spin", "exit", "trap"} {
		for range 8 { // until it is in quarantine
			r := ask(t, p.URL+"/traps", do)
			fmt.Fprintln(&shown, r.Header)
		}
	}
	ask(t, p.URL+"/canary", "trap")
	p.Logged("wasm stack trace") // else the test shows nothing
	if c := p.Chain("Service/default/traps"); c.Filters[0].State != "Quarantined" && c.Filters[0].State != "Ready" {
		t.Errorf("got %+v", c)
	}
	for name := range tests {
		get(p.URL + "/" + name)
	}
	for _, path := range []string{"/chains", "/config", "/metrics", "/readyz", "/debug/pprof/goroutine?debug=2"} {
		get(p.Admin + path)
	}
	if !strings.Contains(shown.String(), "127.0.0.1:1\"") {
		t.Error("/config does not show the Redis: the test shows nothing of its password")
	}
	p.Stop()
	out, log, code := harness.Check(t, files, "--images", harness.BundledPlugins(t), "--images", layout, "--state", t.TempDir(), "--local-registry", host, "--log-level", "debug")
	if code != 1 || strings.Count(out, "error: ") < 8 {
		t.Errorf("penstock check: got %d, %s", code, out)
	}
	for where, text := range map[string]string{"the answers": shown.String(), "the log": p.Log(), "penstock check": out, "its log": log} {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))[:16], base64.StdEncoding.EncodeToString([]byte(`{"secret":"`))[:12]} {
			if i := strings.Index(text, form); i >= 0 {
				t.Errorf("%s: a secret is shown: %.200q", where, text[max(0, i-150):])
			}
		}
	}
}
