package trust_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/conformance/kubernetes/bed"
)

// TestCallsOut: a plugin that may call whatever its egress lists reaches Services of its
// namespace and other Pods, but neither the API server nor Penstock's own Pods, by
// whatever name or address; the log and a metric say why (section 7.5).
func TestCallsOut(t *testing.T) {
	ns, near := b.Space(t, "callers", nil), b.Space(t, "neighbours", nil)
	layout := t.TempDir()
	b.Guest(t, "proxywasm/guests/call", layout, "test.example/plugins/call:1")
	b.Push(t, layout, "test.example/plugins/call:1", "shop/call", "1", password)
	b.Put(t, near, pods("far")+service("far", "far", ""))
	b.Put(t, ns, pods("web")+service("web", "web", "")+bed.PullSecret("login", password)+"---\n"+gateway("edge", "", plainListener))
	for _, namespace := range []string{ns, near} {
		if err := b.WaitReady(t.Context(), namespace, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	address := b.Address(t, ns, "edge")

	server, err := b.Client.CoreV1().Services("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	slices, err := b.Client.DiscoveryV1().EndpointSlices("default").List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=kubernetes"})
	if err != nil || len(slices.Items) == 0 {
		t.Fatalf("%v, %v", slices, err)
	}
	gateways, err := b.Client.CoreV1().Services(bed.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "gateway.networking.k8s.io/gateway-name=edge,penstock.dev/gateway-namespace=" + ns})
	if err != nil || len(gateways.Items) != 1 {
		t.Fatalf("%v, %v", gateways, err)
	}
	others, err := b.Client.CoreV1().Pods(near).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(others.Items) != 1 {
		t.Fatalf("%v, %v", others, err)
	}
	control, proxy := ours(t, "control")[0].Status.PodIP, ours(t, "proxy")[0].Status.PodIP
	endpoint := slices.Items[0].Endpoints[0].Addresses[0]
	const listed = "listed"
	tests := map[string]struct {
		upstream string
		egress   string // what the plugin lists; "listed": the hostname
		status   int    // 200: it got an answer, and the request went on
		counted  bool
	}{
		"own-service":     {"web:80", "", 200, false},
		"another-pod":     {others.Items[0].Status.PodIP + ":8080", listed, 200, false},
		"another-service": {"far." + near + ".svc.cluster.local:80", listed, 200, false},
		"not-listed":      {"far." + near + ".svc.cluster.local:80", "", 500, false},
		"api-name":        {"kubernetes.default.svc.cluster.local:443", listed, 502, true},
		"api-short":       {"outbound|443||kubernetes.default.svc", listed, 502, false},
		"api-ip":          {server.Spec.ClusterIP + ":443", listed, 502, true},
		"api-endpoint":    {endpoint + ":6443", listed, 502, true},
		"control-name":    {"penstock-control." + bed.Namespace + ".svc.cluster.local:9902", listed, 502, true},
		"control-pod":     {control + ":9902", listed, 502, true},
		"proxy-pod":       {proxy + ":9902", listed, 502, true},
		"gateway-service": {gateways.Items[0].Spec.ClusterIP + ":80", listed, 502, true},
		"own-loopback":    {"127.0.0.1:9901", listed, 502, true},
		"metadata":        {"169.254.169.254:80", listed, 502, true},
		// A Service of its own whose EndpointSlice names us, as Pods of its namespace.
		"sneak": {"hidden:80", "", 502, false},
	}
	var objects strings.Builder
	fmt.Fprintf(&objects, `
apiVersion: v1
kind: Service
metadata: {name: hidden, namespace: NAMESPACE}
spec: {ports: [{name: http, port: 80, targetPort: 9902}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: hidden-1, namespace: NAMESPACE, labels: {kubernetes.io/service-name: hidden}}
addressType: IPv4
ports: [{name: http, port: 9902, protocol: TCP}]
endpoints:
- {addresses: [%s], targetRef: {kind: Pod, name: web, namespace: NAMESPACE}}
- {addresses: [%s], targetRef: {kind: Pod, name: web, namespace: NAMESPACE}}
---
`, control, proxy)
	for name, test := range tests {
		egress := ""
		if test.egress == listed {
			hostname, _, _ := strings.Cut(strings.TrimPrefix(test.upstream, "outbound|443||"), ":")
			egress = fmt.Sprintf("{hostname: %q}", hostname)
		}
		fmt.Fprintf(&objects, "apiVersion: penstock.dev/v1alpha1\nkind: Plugin\nmetadata: {name: call-%s}\nspec: {versions: [{name: \"1\", image: %q}], capabilities: [http-call], egress: [%s]}\n---\n", name, bed.Registry+"/shop/call:1", egress)
		objects.WriteString(service(name, "web", fmt.Sprintf("- use: call-%s\n  config: %q\n  imagePullSecrets: [{name: login}]", name, test.upstream)))
		objects.WriteString(route(name, "{name: edge}", "", "/"+name, "{name: "+name+", port: 80}"))
		t.Cleanup(func() { b.Remove(t, "plugins", "", "call-"+name) })
	}
	b.Put(t, ns, objects.String())
	for name, test := range tests {
		wants(t, name, address, "a.example", "/"+name, test.status, "")
	}
	var text, said strings.Builder
	for _, p := range ours(t, "proxy") {
		m, err := metrics(&p)
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString(m)
		l, err := logs(t.Context(), &p)
		if err != nil {
			t.Fatal(err)
		}
		said.WriteString(l)
	}
	for name, test := range tests {
		upstream := "egress/" + test.upstream
		if strings.HasSuffix(upstream, ":443") {
			upstream += "/tls"
		}
		if series := fmt.Sprintf("penstock_upstream_refused_total{upstream=%q}", upstream); strings.Contains(text.String(), series) != test.counted {
			t.Errorf("%s: the metric has %s: want %v", name, series, test.counted)
		}
	}
	if !strings.Contains(said.String(), "an address may not be dialled") || !strings.Contains(said.String(), "a plugin's call was refused") {
		t.Error("the logs do not say why")
	}
	bed.Eventually(t, "an Event says so of the EndpointSlice", 20*time.Second, func() error {
		for _, e := range b.Events(ns, "EndpointSlice", "hidden-1") {
			if strings.HasPrefix(e, "RefusedByPolicy: ") && strings.Contains(e, control) && strings.Contains(e, proxy) {
				return nil
			}
		}
		return fmt.Errorf("only %q", b.Events(ns, "EndpointSlice", "hidden-1"))
	})
}

// TestImagesFromTheAPIServer: an image's name does not lead control, which holds a
// token, to the API server or to itself, whatever policy admits.
func TestImagesFromTheAPIServer(t *testing.T) {
	ns := b.Space(t, "pullers", nil)
	registries := map[string]string{
		"api":  "kubernetes.default.svc.cluster.local:443",
		"self": "penstock-control." + bed.Namespace + ".svc.cluster.local:9902",
	}
	rules := ""
	for _, registry := range registries {
		rules += fmt.Sprintf("{prefix: %q, unsigned: true, allowTags: true},", registry)
	}
	b.Put(t, ns, gateway("edge", "", plainListener)+pods("web")+fmt.Sprintf("apiVersion: penstock.dev/v1alpha1\nkind: PluginPolicy\nmetadata: {name: pullers}\nspec: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}, images: [%s]}\n", strings.TrimSuffix(rules, ",")))
	t.Cleanup(func() { b.Remove(t, "pluginpolicies", "", "pullers") })
	for name, registry := range registries {
		b.Put(t, ns, service(name, "web", "- image: "+registry+"/api/v1:1")+route(name, "{name: edge}", "", "/"+name, "{name: "+name+", port: 80}"))
	}
	for name := range registries {
		bed.Eventually(t, name+" is told", 30*time.Second, func() error {
			c, err := b.Chain(t.Context(), ns, "service-"+name)
			if err != nil || len(c.Filters) != 1 {
				return fmt.Errorf("%+v, %v", c, err)
			}
			if f := c.Filters[0]; f.Reason != "ImageUnavailable" || !strings.Contains(f.Message, "is an address of the API server or of Penstock itself") {
				return fmt.Errorf("%s: %s", f.Reason, f.Message)
			}
			return nil
		})
	}
}

// TestRedisOfAGateway: whoever may write a Gateway names its Redis, and so where we
// connect to: to Pods, but not to the API server, to us or to loopback.
func TestRedisOfAGateway(t *testing.T) {
	ns := b.Space(t, "storers", nil)
	layout := t.TempDir()
	b.Guest(t, "redis/guests/command", layout, "test.example/plugins/command:1")
	b.Push(t, layout, "test.example/plugins/command:1", "shop/command", "1", password)
	b.Put(t, ns, fmt.Sprintf("apiVersion: penstock.dev/v1alpha1\nkind: Plugin\nmetadata: {name: command}\nspec: {versions: [{name: \"1\", image: %q}], capabilities: [redis]}\n---\n", bed.Registry+"/shop/command:1")+
		bed.PullSecret("login", password)+"---\n"+pods("web")+service("web", "web", ""))
	t.Cleanup(func() { b.Remove(t, "plugins", "", "command") })
	if err := b.WaitReady(t.Context(), ns, time.Minute); err != nil {
		t.Fatal(err)
	}
	server, err := b.Client.CoreV1().Services("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	web, err := b.Client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(web.Items) != 1 {
		t.Fatalf("%v, %v", web, err)
	}
	// What is no Redis answers HTTP, or nothing, so that only the counts tell.
	refusals := func() (n float64) {
		for _, p := range ours(t, "proxy") {
			text, err := metrics(&p)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(text) {
				if rest, ok := strings.CutPrefix(line, `penstock_upstream_refused_total{upstream="redis"} `); ok {
					one, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
					if err != nil {
						t.Fatal(err)
					}
					n += one
				}
			}
		}
		return n
	}
	for _, test := range []struct {
		name, at string
		refused  bool
	}{
		{"pod", web.Items[0].Status.PodIP + ":8080", false},
		{"api", server.Spec.ClusterIP + ":443", true},
		{"api-name", "kubernetes.default.svc.cluster.local:443", true},
		{"control", ours(t, "control")[0].Status.PodIP + ":9902", true},
		{"loopback", "127.0.0.1:9901", true},
		{"localhost", "localhost:9901", true},
	} {
		b.Put(t, ns, fmt.Sprintf("apiVersion: penstock.dev/v1alpha1\nkind: ProxyParameters\nmetadata: {name: %s, namespace: NAMESPACE}\nspec: {redis: {address: %q, timeout: 500ms}}\n---\n", test.name, test.at)+
			gateway(test.name, "infrastructure: {parametersRef: {group: penstock.dev, kind: ProxyParameters, name: "+test.name+"}}, ", plainListener)+
			service(test.name, "web", "- {use: command, imagePullSecrets: [{name: login}]}")+route(test.name, "{name: "+test.name+"}", "", "/", "{name: "+test.name+", port: 80}"))
		address := b.Address(t, ns, test.name)
		before := refusals()
		bed.Eventually(t, test.name+" answers", 30*time.Second, func() error {
			got, err := ask(address, "a.example", "/", "X-Redis", "GET|k")
			if err != nil || got.status != 200 || got.from != "failed 11" {
				return fmt.Errorf("%+v, %v; want a call that failed", got, err)
			}
			return nil
		})
		bed.Eventually(t, test.name, 10*time.Second, func() error {
			if after := refusals(); after > before != test.refused {
				return fmt.Errorf("refusals were %v and are %v; want it refused: %v", before, after, test.refused)
			}
			return nil
		})
	}
}
