package trust_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"penstock.dev/penstock/conformance/kubernetes/bed"
)

// hush is in every Secret of these tests.
const hush = "hush-91c4-hush"

// secretOf is a Secret; labelled: plugins may read it.
func secretOf(name string, labelled bool, kind, data string) string {
	label := ""
	if labelled {
		label = `, labels: {penstock.dev/plugin-secret: "true"}`
	}
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: NAMESPACE%s}\ntype: %s\nstringData: %s\n---\n", name, label, kind, data)
}

// TestSecretsOfOthers: no annotation, chain, Gateway or BackendTLSPolicy of a namespace
// reads a Secret of another one, or one without the label; what names one does not serve
// (section 7.3).
func TestSecretsOfOthers(t *testing.T) {
	ns, rich := b.Space(t, "poor", nil), b.Space(t, "rich", nil)
	data := fmt.Sprintf("{config: '{response: {headers: {set: {X-Got: %s}}}}', token: %[1]s}", hush)
	b.Put(t, rich, secretOf("labelled", true, "Opaque", data)+certificate(t, "cert", "rich.example")+
		"apiVersion: penstock.dev/v1alpha1\nkind: PluginChain\nmetadata: {name: theirs, namespace: NAMESPACE}\nspec: {plugins: [{name: x, use: transform, configFrom: [{secretKeyRef: {name: labelled, key: config}}]}]}\n---\n")
	b.Put(t, ns, secretOf("own", true, "Opaque", data)+secretOf("unlabelled", false, "Opaque", data)+secretOf("login", false, "Opaque", data)+pods("web")+
		gateway("edge", "", plainListener)+gateway("stolen", "", "{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert, namespace: rich}]}}"))
	from := func(ref string) string {
		return "- {use: transform, config: {response: {headers: {set: {X-Ran: yes-it-did}}}}, configFrom: [{secretKeyRef: " + ref + "}]}"
	}
	env := func(ref string) string {
		return "- {use: transform, config: {response: {headers: {set: {X-Ran: yes-it-did}}}}, env: [{name: A, valueFrom: {secretKeyRef: " + ref + "}}]}"
	}
	tests := map[string]struct {
		text   string
		status int
		reason string
	}{
		"own":                 {"- {use: transform, configFrom: [{secretKeyRef: {name: own, key: config}}]}", 200, ""},
		"unlabelled":          {from("{name: unlabelled, key: config}"), 503, "SecretMissing"},
		"unlabelled-optional": {from("{name: unlabelled, key: config, optional: true}"), 503, "SecretMissing"},
		"unlabelled-env":      {env("{name: unlabelled, key: token}"), 503, "SecretMissing"},
		"unlabelled-env-opt":  {env("{name: unlabelled, key: token, optional: true}"), 503, "SecretMissing"},
		"theirs":              {from("{name: labelled, key: config}"), 503, "SecretMissing"},
		"theirs-env":          {env("{name: labelled, key: token}"), 503, "SecretMissing"},
		"theirs-namespace":    {from("{name: labelled, namespace: rich, key: config}"), 503, "InvalidAnnotation"},
		"theirs-path":         {from("{name: rich/labelled, key: config}"), 503, ""},
		"theirs-optional":     {from("{name: labelled, key: config, optional: true}"), 200, ""}, // as if it were not there
		"theirs-chain":        {"- chain: theirs", 503, "UnknownPlugin"},
		"no-login":            {"- {use: transform, imagePullSecrets: [{name: unlabelled}]}", 503, "SecretMissing"},
		"their-login":         {"- {use: transform, imagePullSecrets: [{name: labelled}]}", 503, "SecretMissing"},
	}
	var objects strings.Builder
	for name, test := range tests {
		objects.WriteString(service(name, "web", test.text) + route(name, "{name: edge}", "", "/"+name, "{name: "+name+", port: 80}"))
	}
	b.Put(t, ns, objects.String()+service("tls", "web", "")+route("tls", "{name: edge}", "", "/tls", "{name: tls, port: 80}")+
		"apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: tls, namespace: NAMESPACE}\nspec: {targetRefs: [{group: \"\", kind: Service, name: tls}], validation: {hostname: a.example, caCertificateRefs: [{group: \"\", kind: Secret, name: labelled}]}}\n---\n")
	if err := b.WaitReady(t.Context(), ns, time.Minute); err != nil {
		t.Fatal(err)
	}
	address := b.Address(t, ns, "edge")
	for name, test := range tests {
		wants(t, name, address, "a.example", "/"+name, test.status, "")
		got, err := ask(address, "a.example", "/"+name)
		if err != nil {
			t.Fatal(err)
		}
		if have := got.header.Get("X-Got"); (have == hush) != (name == "own") {
			t.Errorf("%s: the answer has X-Got %q", name, have)
		}
		if test.reason == "" {
			continue
		}
		bed.Eventually(t, name+" is told", 20*time.Second, func() error {
			c, err := b.Chain(t.Context(), ns, "service-"+name)
			if err != nil || c.Is("Accepted") != "False "+test.reason {
				return fmt.Errorf("%+v, %v; want %s", c, err, test.reason)
			}
			return nil
		})
	}
	wants(t, "a CA of another namespace", address, "a.example", "/tls", 500, "")
	bed.Eventually(t, "the Gateway says so", 20*time.Second, func() error {
		o, err := b.Dynamic.Resource(schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"}).Namespace(ns).Get(t.Context(), "stolen", metav1.GetOptions{})
		if err != nil {
			return err
		}
		text, err := json.Marshal(o.Object["status"])
		if err != nil || !strings.Contains(string(text), "RefNotPermitted") {
			return fmt.Errorf("%s, %v", text, err)
		}
		return nil
	})
	nothingShown(t, ns, rich)
}

// TestSecretsAreNotShown: a plugin that knows secrets is refused, fails to start, traps
// and spins; nothing that Penstock writes or answers has one of them.
func TestSecretsAreNotShown(t *testing.T) {
	ns := b.Space(t, "talkers", nil)
	layout := t.TempDir()
	b.Guest(t, "seeing/guests/seen", layout, "test.example/plugins/seen:1")
	b.Push(t, layout, "test.example/plugins/seen:1", "shop/seen", "1", password)
	policy := fmt.Sprintf("apiVersion: penstock.dev/v1alpha1\nkind: PluginPolicy\nmetadata: {name: talkers}\nspec: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}, images: [{prefix: %q, unsigned: true, allowTags: true}]}\n---\n", bed.Registry+"/shop")
	t.Cleanup(func() { b.Remove(t, "pluginpolicies", "", "talkers") })
	data := fmt.Sprintf(`{hidden: '{"hidden": "%s"}', key: '{"%[1]s": 1, "%[1]s": 2}', broken: 'a: [%[1]s', token: %[1]s}`, hush)
	entry := func(start, more string) string {
		return fmt.Sprintf("- image: %s/shop/seen:1\n  name: x\n  imagePullSecrets: [{name: login}]\n  config: {secret: %s, start: %s}\n  configFrom: [{secretKeyRef: {name: mine, key: hidden}}%s]\n  env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: mine, key: token}}}, {name: OTHER, value: %[2]s}]\n  vmConfig: {vm: %[2]s}\n  limits: {cpuTime: 200ms, cpuTimeExchange: 1s}", bed.Registry, hush, start, more)
	}
	login := strings.Replace(bed.PullSecret("wrong", hush), "labels: {penstock.dev/plugin-secret: \"true\"}", "labels: {}", 1)
	tests := map[string]struct{ text, reason string }{
		"runs":      {entry("run", ""), ""},
		"refused":   {entry("refuse", ""), "InvalidConfig"},
		"at-start":  {entry("trap", ""), "InvalidModule"},
		"twice":     {entry("run", ", {secretKeyRef: {name: mine, key: key}}"), "InvalidConfig"},
		"broken":    {entry("run", ", {secretKeyRef: {name: mine, key: broken}}"), "InvalidConfig"},
		"bundled":   {"- {use: key-auth, configFrom: [{secretKeyRef: {name: mine, key: hidden}}]}", "InvalidConfig"},
		"forbidden": {strings.Replace(entry("run", ""), "name: login", "name: wrong", 1), "PullForbidden"},
	}
	objects := policy + secretOf("mine", true, "Opaque", data) + bed.PullSecret("login", password) + "---\n" + login + "---\n" + pods("web") + gateway("edge", "", plainListener)
	for name, test := range tests {
		objects += service(name, "web", test.text) + route(name, "{name: edge}", "", "/"+name, "{name: "+name+", port: 80}")
	}
	b.Put(t, ns, objects)
	if err := b.WaitReady(t.Context(), ns, time.Minute); err != nil {
		t.Fatal(err)
	}
	address := b.Address(t, ns, "edge")
	for name, test := range tests {
		bed.Eventually(t, name+" is settled", 60*time.Second, func() error {
			c, err := b.Chain(t.Context(), ns, "service-"+name)
			if err != nil {
				return err
			}
			want := "True Programmed"
			if test.reason != "" {
				want = "False " + test.reason
			}
			if got := c.Is("Programmed"); got != want {
				return fmt.Errorf("%s; want %s: %+v", got, want, c)
			}
			return nil
		})
	}
	for _, do := range []string{"log", "spin", "exit", "trap"} {
		for range 6 {
			if _, err := ask(address, "a.example", "/runs", "X-Do", do); err != nil {
				t.Fatal(err)
			}
		}
	}
	bed.Eventually(t, "a trap is logged", 20*time.Second, func() error {
		for _, p := range ours(t, "proxy") {
			if text, err := logs(t.Context(), &p); err == nil && strings.Contains(text, "wasm stack trace") {
				return nil
			}
		}
		return fmt.Errorf("no log has a stack trace: the test shows nothing")
	})
	nothingShown(t, ns)
}

// nothingShown looks for the secrets in all that Penstock says: statuses of all kinds,
// Events, logs and metrics of its Pods.
func nothingShown(t *testing.T, namespaces ...string) {
	t.Helper()
	said := map[string]string{}
	for _, ns := range namespaces {
		for _, r := range []schema.GroupVersionResource{
			{Group: "penstock.dev", Version: "v1alpha1", Resource: "chainstatuses"},
			{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"},
			{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"},
			{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "backendtlspolicies"},
			{Group: "penstock.dev", Version: "v1alpha1", Resource: "consumers"},
		} {
			list, err := b.Dynamic.Resource(r).Namespace(ns).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for i := range list.Items {
				o := &list.Items[i]
				text, err := json.Marshal([]any{o.Object["status"], o.Object["target"]})
				if err != nil {
					t.Fatal(err)
				}
				said[r.Resource+" "+o.GetName()] = string(text)
			}
		}
		events, err := b.Client.CoreV1().Events(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range events.Items {
			e := &events.Items[i]
			said["Event "+e.Name] = e.Reason + " " + e.Message + " " + fmt.Sprint(e.Annotations)
		}
	}
	for _, component := range []string{"control", "proxy"} {
		for _, p := range ours(t, component) {
			said["the log of "+p.Name] = must(t)(logs(t.Context(), &p))
			said["the metrics of "+p.Name] = must(t)(metrics(&p))
		}
	}
	if len(said) < 8 {
		t.Errorf("only %d texts", len(said))
	}
	for where, text := range said {
		for _, form := range []string{hush, base64.StdEncoding.EncodeToString([]byte(hush))[:16]} {
			if i := strings.Index(text, form); i >= 0 {
				t.Errorf("%s: a secret is shown: %.200q", where, text[max(0, i-150):])
			}
		}
	}
}

func must(t *testing.T) func(string, error) string {
	return func(text string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
}
