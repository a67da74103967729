package kinds

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestDocumentedObjects: what the documents and the examples show is taken.
func TestDocumentedObjects(t *testing.T) {
	seen := map[string]int{}
	check := func(file, text string) {
		if !strings.Contains(text, "penstock.dev/") || !strings.Contains(text, "apiVersion:") {
			return
		}
		for _, o := range parse(text) {
			ours := o.GroupVersionKind().Group == "penstock.dev"
			if !ours && o.GetAnnotations()["penstock.dev/plugins"] == "" {
				continue
			}
			if o.GetKind() == "Service" && o.Object["spec"] == nil { // an excerpt
				o.Object["spec"] = map[string]any{"ports": []any{map[string]any{"port": int64(80)}}}
			}
			seen[o.GetKind()]++
			if err := api.create(t.Context(), o); err != nil {
				t.Errorf("%s: %s %s: %v", file, o.GetKind(), o.GetName(), err)
			}
		}
	}
	for _, folder := range []string{"docs", "examples", "plugins-src", "README.md"} {
		err := filepath.WalkDir(filepath.Join(api.root, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			ext := filepath.Ext(path)
			if ext != ".yaml" && ext != ".md" {
				return nil // links to folders, too
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			switch ext {
			case ".yaml":
				check(path, string(text))
			case ".md":
				for i, part := range strings.Split(string(text), "```") {
					if block, yaml := strings.CutPrefix(part, "yaml\n"); yaml && i%2 == 1 {
						check(path, block)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []string{"PluginPolicy", "Plugin", "PluginChain", "ProxyParameters", "CachePurge", "Consumer", "Service"} {
		if seen[kind] == 0 {
			t.Errorf("no document shows a %s", kind)
		}
	}
}

func ours(kind, spec string) string {
	return fmt.Sprintf("apiVersion: penstock.dev/v1alpha1\nkind: %s\nmetadata: {name: tried}\nspec: %s\n", kind, spec)
}

// whole has every field, at an end of its range.
const whole = `
apiVersion: penstock.dev/v1alpha1
kind: PluginChain
metadata: {name: whole}
spec:
  plugins:
  - name: prices
    image: registry.example.com:5000/shop/prices:1.4.2@sha256:0123456789012345678901234567890123456789012345678901234567890123
    config: {currency: EUR, deep: [{a: 1}]}
    configFrom: [{configMapKeyRef: {name: prices.v1, key: rules.json}}, {secretKeyRef: {name: s, key: k, optional: true}}]
    env: [{name: A, value: "1"}, {name: B_C.d-e, valueFrom: {secretKeyRef: {name: s, key: k}}}]
    except: [{path: {type: Exact, value: /}, methods: [GET]}, {path: {value: /a}}, {path: {type: RegularExpression, value: "^/a"}}]
    onError: skip
    limits: {cpuTime: 100us, cpuTimeExchange: 10s, cpuTimeStart: 30s, memory: 1Gi, body: "0"}
    rootId: root
    vmId: shared
    vmConfig: text
    headerStop: headers
    imagePullSecrets: [{name: login}]
    canary: {image: "registry.example.com/shop/prices:2", weight: 100, mode: shadow}
  - {name: jwt, use: jwt@2, config: as it is}
  - {name: "1", use: a, limits: {cpuTime: 1s, cpuTimeExchange: 1.5ms, cpuTimeStart: 10ms, memory: 1Mi, body: 64Mi}}
---
apiVersion: penstock.dev/v1alpha1
kind: PluginPolicy
metadata: {name: whole}
spec:
  namespaceSelector: {matchExpressions: [{key: team, operator: Exists}]}
  overrides: {before: [{use: waf}, {image: "registry.example.com/a:1"}], after: [{use: transform}]}
  defaults: {plugins: [{use: cache-rules}]}
  require: [jwt]
  images:
  - {prefix: registry.example.com/shop, signedBy: [{publicKey: "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"}]}
  - {prefix: "localhost:5000", unsigned: true, allowTags: true}
  deniedDigests: ["sha256:0123456789012345678901234567890123456789012345678901234567890123"]
  capabilities: [consumer, http-call, cache, kv, ratelimit, crypto, redis]
  egress: [{hostname: api.example.com, ports: [1, 65535]}, {hostname: "*.example.com"}]
  limits:
    defaults: {memory: 64Mi}
    maxima: {cpuTime: 1s}
    totals: {filters: 0, memory: 1024Gi, cpuShare: 10000, compilesPerHour: 0, moduleSize: 1Ki, metricSeries: 100000}
  allowExternalName: true
---
apiVersion: penstock.dev/v1alpha1
kind: Plugin
metadata: {name: whole}
spec:
  versions: [{name: "1", image: "registry.example.com/a:1"}, {name: "123456", image: "registry.example.com/a:2"}]
  defaultVersion: "1"
  config: {a: b}
  limits: {memory: 64Mi}
  onError: reject
  guard: true
  capabilities: [consumer]
  description: words
  rootId: root
  egress: [{hostname: a.example}]
---
apiVersion: penstock.dev/v1alpha1
kind: CachePurge
metadata: {name: whole}
spec:
  urls: ["https://shop.example/a?b=%20c&d", "http://[fd00::1]:8080/"]
  prefixes: ["https://shop.example", "https://shop.example:8443/img/"]
  hostnames: [shop.example, a]
  tags: [product-1, "~!a:b"]
  soft: true
---
apiVersion: penstock.dev/v1alpha1
kind: Consumer
metadata: {name: whole}
spec:
  username: "till@example!~"
  groups: [buyers, "#1"]
  credentials: [{name: a}, {name: b.c}]
---
apiVersion: penstock.dev/v1alpha1
kind: ProxyParameters
metadata: {name: whole}
spec:
  trustedProxies: [10.0.0.0/8, 10.1.2.3, "2001:db8::/32", "::1"]
  proxyProtocol: {sources: [10.0.0.0/8], upstreams: [{service: a}, {service: b/a, version: 1}]}
  timeouts: {header: 5m, idle: 1s, tunnel: 168h, tcpIdle: 1h30m, udpIdle: 1s, connect: 10ms, response: 100ms}
  limits: {requestLine: 64Ki, headers: 1Mi, headerFields: 10, connectionsPerClient: 0, minBytesPerSecond: 0, flows: 1, flowsPerClient: 0, connections: 65535, idleConnections: 0, pending: 0}
  forwarded: {headers: false, via: ""}
  tls:
    clientCertificates: {optional: true, subjectAltNames: [{hostname: "*.example"}, {uri: "spiffe://a/b"}], forward: [X-Forwarded-Client-Cert, Client-Cert]}
    sessionTickets: {secretRef: {name: a}}
  sessionPersistence: {secretRef: {name: a}}
  http3: {enabled: false}
  redis: {address: "redis.infra.svc.cluster.local:6379", database: 65535, username: u, passwordSecretRef: {name: a, key: b}, tls: {serverName: a, ca: {configMapKeyRef: {name: a, key: b}}}, timeout: 30s, connections: 64}
`

func TestWholeObjects(t *testing.T) {
	for _, o := range parse(whole) {
		t.Run(o.GetKind(), func(t *testing.T) { api.judge(t, api.create(t.Context(), o), "") })
	}
}

func TestWrongObjects(t *testing.T) {
	chain := func(entry string) string { return ours("PluginChain", "{plugins: [{name: a, "+entry+"}]}") }
	policy := func(rest string) string { return ours("PluginPolicy", "{namespaceSelector: {}, "+rest+"}") }
	plugin := func(rest string) string {
		return ours("Plugin", "{versions: [{name: \"1\", image: \"registry.example.com/a:1\"}], "+rest+"}")
	}
	purge := func(rest string) string { return ours("CachePurge", "{"+rest+"}") }
	consumer := func(rest string) string { return ours("Consumer", "{"+rest+"}") }
	parameters := func(rest string) string { return ours("ProxyParameters", "{"+rest+"}") }
	const image = "want registry/repository[:tag][@sha256:digest], without a scheme, and with a tag or digest"
	tests := map[string]struct{ text, want string }{
		"no spec":                        {"apiVersion: penstock.dev/v1alpha1\nkind: PluginChain\nmetadata: {name: a}\n", "spec: Required value"},
		"an unknown field":               {chain("use: a, uses: b"), `unknown field "spec.plugins[0].uses"`},
		"no plugin":                      {chain("onError: skip"), "exactly one of use, image and chain"},
		"two plugins":                    {chain(`use: a, image: "registry.example.com/a:1"`), "exactly one of use, image and chain"},
		"a chain in a chain":             {chain("chain: b"), "chain: a PluginChain holds no other"},
		"an entry without a name":        {ours("PluginChain", "{plugins: [{use: a}]}"), "spec.plugins[0].name: Required value"},
		"a name in capitals":             {ours("PluginChain", "{plugins: [{use: a, name: A}]}"), "spec.plugins[0].name: Invalid value: \"A\": want a DNS label"},
		"two of one name":                {ours("PluginChain", "{plugins: [{use: a, name: a}, {use: b, name: a}]}"), "Duplicate value"},
		"33 entries":                     {ours("PluginChain", "{plugins: ["+entries(33)+"]}"), "must have at most 32 items"},
		"use with a word as version":     {chain("use: jwt@two"), "spec.plugins[0].use: Invalid value: \"jwt@two\": want name or name@major"},
		"an image with a scheme":         {chain(`image: "https://registry.example.com/a:1"`), "spec.plugins[0].image: Invalid value: \"https://registry.example.com/a:1\": " + image},
		"an image without a tag":         {chain(`image: registry.example.com/a`), image},
		"an image without a registry":    {chain(`image: "a:1"`), image},
		"ports in a chain":               {chain("use: a, ports: [http]"), "ports are for a Service's annotation, listeners for a Gateway's"},
		"listeners in a chain":           {chain("use: a, listeners: [http]"), "ports are for a Service's annotation, listeners for a Gateway's"},
		"onError":                        {chain("use: a, onError: ignore"), `spec.plugins[0].onError: Unsupported value: "ignore": supported values: "reject", "skip"`},
		"headerStop":                     {chain("use: a, headerStop: body"), `supported values: "all", "headers"`},
		"cpuTime beyond":                 {chain("use: a, limits: {cpuTime: 2s}"), "spec.plugins[0].limits.cpuTime: Invalid value: \"2s\": want a duration from 100us to 1s"},
		"cpuTime as a number":            {chain(`use: a, limits: {cpuTime: "20"}`), "want a duration from 100us to 1s"},
		"cpuTimeExchange beyond":         {chain("use: a, limits: {cpuTimeExchange: 11s}"), "want a duration from 100us to 10s"},
		"cpuTimeStart below":             {chain("use: a, limits: {cpuTimeStart: 1ms}"), "want a duration from 10ms to 30s"},
		"memory beyond":                  {chain("use: a, limits: {memory: 2Gi}"), "spec.plugins[0].limits.memory: Invalid value: \"2Gi\": want a size from 1Mi to 1Gi"},
		"memory in words":                {chain("use: a, limits: {memory: much}"), "want a size from 1Mi to 1Gi"},
		"body beyond":                    {chain("use: a, limits: {body: 65Mi}"), "want a size from 0 to 64Mi"},
		"configFrom of nothing":          {chain("use: a, configFrom: [{}]"), "exactly one of configMapKeyRef and secretKeyRef"},
		"configFrom of both":             {chain("use: a, configFrom: [{configMapKeyRef: {name: a, key: b}, secretKeyRef: {name: a, key: b}}]"), "exactly one of configMapKeyRef and secretKeyRef"},
		"configFrom without a key":       {chain("use: a, configFrom: [{secretKeyRef: {name: a}}]"), "spec.plugins[0].configFrom[0].secretKeyRef.key: Required value"},
		"a path as a name":               {chain("use: a, configFrom: [{secretKeyRef: {name: ../a, key: b}}]"), "spec.plugins[0].configFrom[0].secretKeyRef.name"},
		"a variable's name":              {chain("use: a, env: [{name: 1A}]"), "spec.plugins[0].env[0].name"},
		"a variable with both":           {chain("use: a, env: [{name: A, value: b, valueFrom: {secretKeyRef: {name: a, key: b}}}]"), "value or valueFrom, not both"},
		"a relative path":                {chain("use: a, except: [{path: {value: a}}]"), "value: want a path that starts with /"},
		"a path's type":                  {chain("use: a, except: [{path: {type: Prefix, value: /a}}]"), `supported values: "Exact", "PathPrefix", "RegularExpression"`},
		"a method in small letters":      {chain("use: a, except: [{path: {value: /a}, methods: [get]}]"), "spec.plugins[0].except[0].methods[0]"},
		"a canary of nothing":            {chain("use: a, canary: {weight: 1, mode: live}"), "exactly one of use and image"},
		"a canary of 101 percent":        {chain("use: a, canary: {use: b, weight: 101, mode: live}"), "spec.plugins[0].canary.weight"},
		"a canary without a mode":        {chain("use: a, canary: {use: b, weight: 1}"), "spec.plugins[0].canary.mode: Required value"},
		"a policy without a selector":    {ours("PluginPolicy", "{require: [a]}"), "spec.namespaceSelector: Required value"},
		"an override with ports":         {policy("overrides: {before: [{use: a, ports: [http]}]}"), "ports are for a Service's annotation"},
		"a default with listeners":       {policy("defaults: {plugins: [{use: a, listeners: [http]}]}"), "listeners for a Gateway's"},
		"a prefix with a scheme":         {policy(`images: [{prefix: "https://a.example", unsigned: true}]`), "want registry[/path] in lower case"},
		"a prefix with a slash":          {policy("images: [{prefix: a.example/b/, unsigned: true}]"), "spec.images[0].prefix: Invalid value: \"a.example/b/\": want registry[/path] in lower case"},
		"signed and unsigned":            {policy("images: [{prefix: a.example, unsigned: true, signedBy: [{publicKey: \"-----BEGIN PUBLIC KEY-----\"}]}]"), "both signedBy and unsigned: want one"},
		"a private key":                  {policy("images: [{prefix: a.example, signedBy: [{publicKey: \"-----BEGIN PRIVATE KEY-----\"}]}]"), "-----BEGIN PUBLIC KEY-----"},
		"a digest of another kind":       {policy("deniedDigests: [\"sha512:ab\"]"), "want sha256: and 64 hexadecimal digits in lower case"},
		"a capability":                   {policy("capabilities: [root]"), `spec.capabilities[0]: Unsupported value: "root": supported values: "consumer", "http-call", "cache", "kv", "ratelimit", "crypto", "redis", "compress"`},
		"egress to an address with port": {policy("egress: [{hostname: \"a.example:443\"}]"), "spec.egress[0].hostname: Invalid value: \"a.example:443\": want a DNS name in lower case, or *.domain"},
		"egress to port 0":               {policy("egress: [{hostname: a.example, ports: [0]}]"), "spec.egress[0].ports[0]"},
		"totals below zero":              {policy("limits: {totals: {filters: -1}}"), "spec.limits.totals.filters"},
		"totals' memory":                 {policy("limits: {totals: {memory: 2000Gi}}"), "want a size from 1Mi to 1024Gi"},
		"totals' module size":            {policy("limits: {totals: {moduleSize: 65Mi}}"), "want a size from 1Ki to 64Mi"},
		"totals' share":                  {policy("limits: {totals: {cpuShare: 0}}"), "spec.limits.totals.cpuShare"},
		"a plugin without a version":     {ours("Plugin", "{versions: []}"), "spec.versions: Invalid value"},
		"a version that is no number":    {ours("Plugin", "{versions: [{name: v1, image: \"registry.example.com/a:1\"}]}"), "want a major number of 1 to 6 digits"},
		"a default that is no version":   {plugin(`defaultVersion: "2"`), "defaultVersion: no such version"},
		"a guard that skips":             {plugin("guard: true, onError: skip"), "onError: a guard never skips"},
		"a plugin in the cache's place":  {strings.Replace(plugin(""), "tried", "cache", 1), "metadata.name: cache is the response cache: want another name"},
		"a purge of nothing":             {purge("soft: true"), "empty: want urls, prefixes, hostnames or tags"},
		"a purge of empty lists":         {purge("urls: [], tags: []"), "empty: want urls, prefixes, hostnames or tags"},
		"a purge of a path":              {purge("urls: [/a]"), "spec.urls[0]: Invalid value: \"/a\": want an absolute URL of http or https without a fragment"},
		"a purge of a file":              {purge("urls: [\"file:///a\"]"), "want an absolute URL of http or https"},
		"a purge of a fragment":          {purge("urls: [\"https://a.example/#b\"]"), "without a fragment"},
		"a purge of a space":             {purge("urls: [\"https://a.example/a b\"]"), "want an absolute URL of http or https"},
		"a prefix's query":               {purge("prefixes: [\"https://a.example/?b\"]"), "spec.prefixes[0]: Invalid value: \"https://a.example/?b\": want an absolute URL of http or https without a query or fragment"},
		"a purge of a wildcard":          {purge("hostnames: [\"*.example\"]"), "spec.hostnames[0]: Invalid value: \"*.example\": want a hostname in lower case, without a wildcard"},
		"a purge in capitals":            {purge("hostnames: [A.example]"), "want a hostname in lower case"},
		"a purge of two tags in one":     {purge("tags: [a b]"), "want a tag: visible characters without spaces and commas"},
		"a purge of a tag with a comma":  {purge("tags: [\"a,b\"]"), "want a tag"},
		"a purge of a long tag":          {purge("tags: [" + strings.Repeat("x", 257) + "]"), "spec.tags[0]"},
		"a purge of 257 tags":            {purge("tags: [a" + strings.Repeat(", a", 256) + "]"), "must have at most 256 items"},
		"a username of two words":        {consumer("username: a b"), "spec.username: Invalid value: \"a b\": want visible ASCII characters without spaces, commas and quotes"},
		"a username with a comma":        {consumer("username: \"a,b\""), "want visible ASCII characters"},
		"a long username":                {consumer("username: " + strings.Repeat("x", 254)), "spec.username: Too long"},
		"a group of two words":           {consumer("groups: [a, b c]"), "spec.groups[1]: Invalid value: \"b c\": want visible ASCII characters"},
		"a group with a quote":           {consumer("groups: ['a\"b']"), "want visible ASCII characters"},
		"a group twice":                  {consumer("groups: [a, a]"), "spec.groups[1]: Duplicate value"},
		"65 groups":                      {consumer("groups: [" + numbered("g%d", 65) + "]"), "must have at most 64 items"},
		"17 credentials":                 {consumer("credentials: [" + numbered("{name: c%d}", 17) + "]"), "must have at most 16 items"},
		"a credential twice":             {consumer("credentials: [{name: a}, {name: a}]"), "spec.credentials[1]: Duplicate value"},
		"a credential without a name":    {consumer("credentials: [{}]"), "spec.credentials[0].name: Required value"},
		"a credential's key":             {consumer("credentials: [{name: a, key: b}]"), `unknown field "spec.credentials[0].key"`},
		"a trusted name":                 {parameters("trustedProxies: [proxy.example]"), "spec.trustedProxies[0]: Invalid value: \"proxy.example\": want an address, or a prefix as 10.0.0.0/8"},
		"bits beyond a prefix":           {parameters("trustedProxies: [10.0.0.1/8]"), "without bits beyond its length"},
		"PROXY protocol 3":               {parameters("proxyProtocol: {upstreams: [{service: a, version: 3}]}"), "spec.proxyProtocol.upstreams[0].version"},
		"a Service's name":               {parameters("proxyProtocol: {upstreams: [{service: a/b/c}]}"), "want the name of a Service, or namespace/name"},
		"a timeout beyond":               {parameters("timeouts: {idle: 2h}"), "spec.timeouts.idle: Invalid value: \"2h\": want a duration from 1s to 1h"},
		"a timeout without a unit":       {parameters(`timeouts: {connect: "5"}`), "want a duration from 10ms to 1m"},
		"a head beyond":                  {parameters("limits: {headers: 2Mi}"), "want a size from 4Ki to 1Mi"},
		"fields below":                   {parameters("limits: {headerFields: 9}"), "spec.limits.headerFields"},
		"connections to nobody":          {parameters("limits: {connections: 0}"), "spec.limits.connections"},
		"a name for Via":                 {parameters("forwarded: {via: \"a b\"}"), "want a name of letters, digits"},
		"a name of both forms":           {parameters("tls: {clientCertificates: {subjectAltNames: [{hostname: a, uri: \"a:b\"}]}}"), "want one of hostname and uri"},
		"a relative URI":                 {parameters("tls: {clientCertificates: {subjectAltNames: [{uri: /a}]}}"), "want an absolute URI"},
		"another field for certificates": {parameters("tls: {clientCertificates: {forward: [X-Cert]}}"), `supported values: "X-Forwarded-Client-Cert", "Client-Cert"`},
		"Redis without a port":           {parameters("redis: {address: redis}"), "spec.redis.address: Invalid value: \"redis\": want hostname:port"},
		"a user without a password":      {parameters("redis: {address: \"redis:6379\", username: u}"), "a user needs a password: set passwordSecretRef"},
		"Redis' timeout":                 {parameters("redis: {address: \"redis:6379\", timeout: 1m}"), "want a duration from 1ms to 30s"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			api.judge(t, api.create(t.Context(), parse(test.text)[0]), test.want)
		})
	}
}

// TestAPurgeIsNeverChanged: another purge is another object.
func TestAPurgeIsNeverChanged(t *testing.T) {
	o := parse(strings.Replace(ours("CachePurge", "{tags: [t]}"), "tried", "changed", 1))[0]
	at, err := api.at(o)
	if err != nil {
		t.Fatal(err)
	}
	made, err := at.Create(t.Context(), o, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = at.Delete(context.Background(), o.GetName(), metav1.DeleteOptions{}) }()
	made.Object["spec"] = map[string]any{"tags": []any{"t", "u"}}
	_, err = at.Update(t.Context(), made, metav1.UpdateOptions{})
	api.judge(t, err, "a purge is never changed: make another one")
	made.Object["spec"] = map[string]any{"tags": []any{"t"}, "soft": true}
	_, err = at.Update(t.Context(), made, metav1.UpdateOptions{})
	api.judge(t, err, "a purge is never changed: make another one")
}

func entries(n int) string { return numbered("{name: a%d, use: a}", n) }

// numbered is a list of YAML.
func numbered(format string, n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(format, i))
	}
	return strings.Join(all, ", ")
}

// TestColumns: what kubectl get prints.
func TestColumns(t *testing.T) {
	condition := `{type: %s, status: "%s", reason: %s, message: m, lastTransitionTime: "2026-01-02T03:04:05Z"}`
	accepted := fmt.Sprintf(condition, "Accepted", "True", "Accepted")
	tests := map[string]struct{ short, object, status, columns, row string }{
		"PluginPolicy":    {"pp", ours("PluginPolicy", "{namespaceSelector: {}}"), "{conditions: [" + accepted + "]}", "NAME ACCEPTED REASON AGE", "tried True Accepted"},
		"Plugin":          {"plugins.penstock.dev", ours("Plugin", `{versions: [{name: "1", image: "registry.example.com/a:1"}], defaultVersion: "1", guard: true, description: words}`), "{conditions: [" + accepted + "]}", "NAME DEFAULT GUARD ACCEPTED DESCRIPTION AGE", "tried 1 true True words"},
		"CachePurge":      {"cpurge", ours("CachePurge", "{tags: [t]}"), "{removed: 7, conditions: [" + accepted + ", " + fmt.Sprintf(condition, "Completed", "False", "Pending") + "]}", "NAME ACCEPTED COMPLETED REMOVED AGE", "tried True False 7"},
		"Consumer":        {"consumers.penstock.dev", ours("Consumer", "{username: till, groups: [g]}"), "{conditions: [" + accepted + ", " + fmt.Sprintf(condition, "ResolvedRefs", "False", "SecretMissing") + "]}", "NAME USERNAME ACCEPTED CREDENTIALS AGE", "tried till True False"},
		"PluginChain":     {"pch", ours("PluginChain", "{plugins: []}"), "{conditions: [" + accepted + "]}", "NAME ACCEPTED AGE", "tried True"},
		"ProxyParameters": {"pxp", ours("ProxyParameters", "{}"), "", "NAME AGE", "tried"},
		"ChainStatus": {
			"chst", "apiVersion: penstock.dev/v1alpha1\nkind: ChainStatus\nmetadata: {name: tried}\ntarget: {kind: Service, name: shop}\n",
			"{controllers: [{controllerName: c, proxies: 1/2, conditions: [" + accepted + ", " + fmt.Sprintf(condition, "Programmed", "False", "Pulling") + "]}]}",
			"NAME TARGET KIND ACCEPTED PROGRAMMED PROXIES REASON AGE", "tried shop Service True False 1/2 Pulling",
		},
	}
	for kind, test := range tests {
		t.Run(kind, func(t *testing.T) {
			o := parse(test.object)[0]
			at, err := api.at(o)
			if err != nil {
				t.Fatal(err)
			}
			if o, err = at.Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if test.status != "" {
				o.Object["status"] = parse("status: " + test.status)[0].Object["status"]
				if _, err := at.UpdateStatus(t.Context(), o, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			lines := strings.Split(api.kubectl(t, "get", test.short, "-o", "wide"), "\n")
			if got := strings.Join(strings.Fields(lines[0]), " "); got != test.columns {
				t.Errorf("columns: got %s; want %s", got, test.columns)
			}
			if got := strings.Join(strings.Fields(lines[1]), " "); !strings.HasPrefix(got, test.row+" ") {
				t.Errorf("row: got %s; want %s", got, test.row)
			}
		})
	}
	if got := api.kubectl(t, "get", "penstock", "-o", "name"); strings.Count(got, "\n") < len(tests) {
		t.Errorf("category penstock: got %s; want one of each kind", got)
	}
}

// TestExplain: every field has a text.
func TestExplain(t *testing.T) {
	crds, err := api.client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kinds := 0
	for _, o := range crds.Items {
		if !strings.HasSuffix(o.GetName(), ".penstock.dev") {
			continue
		}
		kinds++
		text, err := json.Marshal(o.Object["spec"])
		if err != nil {
			t.Fatal(err)
		}
		var spec struct {
			Versions []struct {
				Schema struct{ OpenAPIV3Schema field }
			}
		}
		if err := json.Unmarshal(text, &spec); err != nil {
			t.Fatal(err)
		}
		for _, v := range spec.Versions {
			for _, path := range v.Schema.OpenAPIV3Schema.silent(o.GetName()) {
				t.Errorf("%s has no text", path)
			}
		}
	}
	if kinds != 7 {
		t.Errorf("%d kinds; want 7", kinds)
	}
	if got := api.kubectl(t, "explain", "chst.status.controllers.filters.digest"); !strings.Contains(got, "what runs") {
		t.Errorf("kubectl explain says\n%s", got)
	}
}

// field is a schema.
type field struct {
	Description string
	Properties  map[string]field
	Items       *field
}

// silent returns the fields below that nothing is said of.
func (f field) silent(path string) (all []string) {
	for name, below := range f.Properties {
		if below.Description == "" && name != "metadata" {
			all = append(all, path+"."+name)
		}
		all = append(all, below.silent(path+"."+name)...)
	}
	if f.Items != nil {
		all = append(all, f.Items.silent(path+"[]")...)
	}
	slices.Sort(all)
	return all
}
