package trust_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/conformance/kubernetes/bed"
)

// TestNobodyEscapesAnOverride: a policy has each request to namespace team show a key.
// Whatever the team's owner, and one of a namespace without a policy, write, none gets
// to the team's Pods through us without one, and each does with it.
func TestNobodyEscapesAnOverride(t *testing.T) {
	team, away := b.Space(t, "team", nil), b.Space(t, "away", nil)
	b.Put(t, bed.Namespace, "apiVersion: v1\nkind: Secret\nmetadata: {name: team-keys, namespace: NAMESPACE, labels: {penstock.dev/plugin-secret: \"true\"}}\nstringData: {keys: '{keys: [{key: a-good-key, consumer: c}]}'}\n")
	t.Cleanup(func() {
		_ = b.Client.CoreV1().Secrets(bed.Namespace).Delete(t.Context(), "team-keys", metav1.DeleteOptions{})
	})
	b.Put(t, team, "apiVersion: penstock.dev/v1alpha1\nkind: PluginPolicy\nmetadata: {name: team}\nspec: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}, overrides: {before: [{name: key-auth, use: key-auth, configFrom: [{secretKeyRef: {name: team-keys, key: keys}}]}]}}\n")
	t.Cleanup(func() { b.Remove(t, "pluginpolicies", "", "team") })
	b.Put(t, team, pods("web")+gateway("edge", "", plainListener+", {name: tcp, port: 81, protocol: TCP}"))
	if err := b.WaitReady(t.Context(), team, time.Minute); err != nil {
		t.Fatal(err)
	}
	list, err := b.Client.CoreV1().Pods(team).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	pod := list.Items[0]

	// annotated gives a route an annotation.
	annotated := func(route, text string) string {
		return strings.Replace(route, "metadata: {", fmt.Sprintf("metadata: {annotations: {penstock.dev/plugins: %q}, ", text), 1)
	}
	to := func(name string) string {
		return route(name, "{name: edge}", "", "/"+name, "{name: "+name+", port: 80}")
	}
	texts := map[string]string{
		"empty":  "[]",
		"first":  "- {use: transform, name: first, config: {request: {headers: {set: {X-API-Key: guessed-it}}}}}",
		"except": "- {use: key-auth, config: {keys: [{key: another-key, consumer: x}]}, except: [{path: {type: PathPrefix, value: /}}]}",
		"ports":  "- {use: transform, ports: [http], config: {response: {headers: {set: {X-A: b}}}}}",
		"named":  "- {chain: key-auth}",
		"plain":  "",
	}
	objects := "apiVersion: penstock.dev/v1alpha1\nkind: PluginChain\nmetadata: {name: key-auth, namespace: NAMESPACE}\nspec: {plugins: [{name: key-auth, use: transform, config: {response: {headers: {set: {X-A: b}}}}}]}\n---\n"
	for name, text := range texts {
		objects += service(name, "web", text) + to(name)
	}
	objects += annotated(route("route", "{name: edge}", "", "/route", "{name: plain, port: 80}"), "[]")
	objects += strings.Replace(route("extension", "{name: edge}", "", "/extension", "{name: plain, port: 80}"), "backendRefs:", "filters: [{type: ExtensionRef, extensionRef: {group: penstock.dev, kind: PluginChain, name: key-auth}}], backendRefs:", 1)
	objects += strings.Replace(service("headless", "web", ""), "{selector", "{clusterIP: None, selector", 1) + to("headless")
	objects += "apiVersion: v1\nkind: Service\nmetadata: {name: by-hand, namespace: NAMESPACE}\nspec: {ports: [{name: http, port: 80, targetPort: 8080}]}\n---\n" +
		fmt.Sprintf("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: by-hand-1, namespace: NAMESPACE, labels: {kubernetes.io/service-name: by-hand}}\naddressType: IPv4\nports: [{name: http, port: 8080, protocol: TCP}]\nendpoints: [{addresses: [%s], targetRef: {kind: Pod, name: %s, namespace: NAMESPACE}}]\n---\n", pod.Status.PodIP, pod.Name) + to("by-hand")
	objects += gateway("second", "", plainListener) + route("second", "{name: second}", "", "/", "{name: plain, port: 80}")
	// A raw route to the same Service.
	objects += rawRoute("raw", "{name: edge, sectionName: tcp}, {name: edge, namespace: away, sectionName: tcp}", "{name: plain, port: 80}")
	// Gateways and routes of a namespace without a policy, which the team lets in.
	objects += "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {name: all, namespace: NAMESPACE}\nspec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: away}, {group: gateway.networking.k8s.io, kind: TCPRoute, namespace: away}], to: [{group: \"\", kind: Service}]}\n---\n"
	objects += route("through", "{name: edge, namespace: away}", "through.example", "/", "{name: plain, port: 80}")
	b.Put(t, away, gateway("edge", "", "{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}, {name: tcp, port: 81, protocol: TCP, allowedRoutes: {namespaces: {from: All}}}, {name: tcp2, port: 82, protocol: TCP}, {name: tcp3, port: 83, protocol: TCP}")+
		pods("free")+service("free", "free", "")+rawRoute("free", "{name: edge, sectionName: tcp3}", "{name: free, port: 80}")+
		route("across", "{name: edge}", "across.example", "/", "{name: plain, namespace: team, port: 80}")+
		annotated(route("across-2", "{name: edge}", "across-2.example", "/", "{name: empty, namespace: team, port: 80}"), "[]")+
		rawRoute("raw", "{name: edge, sectionName: tcp2}", "{name: plain, namespace: team, port: 80}"))
	b.Put(t, team, objects)

	edge, second, other := b.Address(t, team, "edge"), b.Address(t, team, "second"), b.Address(t, away, "edge")
	tests := map[string]struct{ address, hostname, path string }{
		"a route's empty list":           {edge, "a.example", "/route"},
		"an ExtensionRef of its name":    {edge, "a.example", "/extension"},
		"a headless Service":             {edge, "a.example", "/headless"},
		"an EndpointSlice by hand":       {edge, "a.example", "/by-hand"},
		"a Gateway of its own":           {second, "a.example", "/"},
		"a Gateway elsewhere":            {other, "through.example", "/"},
		"a route elsewhere":              {other, "across.example", "/"},
		"a route elsewhere, with a list": {other, "across-2.example", "/"},
	}
	for name := range texts {
		tests["a Service's list: "+name] = struct{ address, hostname, path string }{edge, "a.example", "/" + name}
	}
	for name, test := range tests {
		wants(t, name+", with the key", test.address, test.hostname, test.path, 200, "web", "X-API-Key", "a-good-key")
		wants(t, name, test.address, test.hostname, test.path, 401, "")
		wants(t, name+", a wrong key", test.address, test.hostname, test.path, 401, "", "X-API-Key", "another-key")
		wants(t, name+", upgraded", test.address, test.hostname, test.path, 401, "", "Connection", "Upgrade", "Upgrade", "websocket")
	}
	bed.Eventually(t, "a raw route without a policy passes", 20*time.Second, func() error {
		if line, err := rawAsk(other + ":83"); err != nil || !strings.HasPrefix(line, "HTTP/1.1 200") {
			return fmt.Errorf("got %q, %v", line, err)
		}
		return nil
	})
	// A guard cannot be on a raw connection, so that there is none.
	for _, at := range []string{edge + ":81", other + ":81", other + ":82"} {
		bed.Eventually(t, at+" refuses connections", 20*time.Second, func() error {
			for range 4 {
				if line, err := rawAsk(at); err == nil || line != "" {
					return fmt.Errorf("got %q, %v", line, err)
				}
			}
			return nil
		})
	}
}

func rawRoute(name, parents, backend string) string {
	return fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {name: %s, namespace: NAMESPACE}\nspec: {parentRefs: [%s], rules: [{backendRefs: [%s]}]}\n---\n", name, parents, backend)
}

// rawAsk sends a request over a raw connection and returns the first line that comes.
func rawAsk(address string) (string, error) {
	c, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	return bufio.NewReader(c).ReadString('\n')
}
