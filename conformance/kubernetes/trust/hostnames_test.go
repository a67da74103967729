package trust_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"penstock.dev/penstock/conformance/kubernetes/bed"
)

// listenerSet is one that wants to attach to a Gateway.
func listenerSet(name, parent, listeners string) string {
	return fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: ListenerSet\nmetadata: {name: %s, namespace: NAMESPACE}\nspec: {parentRef: %s, listeners: [%s]}\n---\n", name, parent, listeners)
}

// accepted returns what the first parent of a route, or a ListenerSet itself, says.
func accepted(t *testing.T, resource, namespace, name string) string {
	o, err := b.Dynamic.Resource(schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: resource}).Namespace(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	if list, _, _ := unstructured.NestedSlice(o.Object, "status", "parents"); len(list) > 0 {
		o = &unstructured.Unstructured{Object: map[string]any{"status": list[0]}}
	}
	status, why := bed.Condition(o, "Accepted")
	return status + " " + why
}

// TestNobodyTakesAnothersHostname: whatever the owner of namespace thief writes, requests
// to victim's Gateway are answered by victim's routes, for each hostname and path.
func TestNobodyTakesAnothersHostname(t *testing.T) {
	// The thief comes first: its objects are older, and its names sort first.
	thief, victim := b.Space(t, "a-thief", nil), b.Space(t, "victim", nil)
	b.Put(t, thief, pods("thief")+service("thief", "thief", ""))
	b.Put(t, victim, pods("victim")+service("victim", "victim", ""))
	own := gateway("edge", "", "{name: same, port: 80, protocol: HTTP, hostname: shop.example}, {name: wild, port: 80, protocol: HTTP, hostname: '*.example'}, {name: any, port: 80, protocol: HTTP}, {name: tcp, port: 81, protocol: TCP}") +
		route("same", "{name: edge}", "shop.example", "/", "{name: thief, port: 80}") +
		route("more", "{name: edge}", "shop.example, www.shop.example", "/login", "{name: thief, port: 80}") +
		route("any", "{name: edge}", "", "/", "{name: thief, port: 80}")
	b.Put(t, thief, own)
	time.Sleep(time.Second) // creation times are whole seconds
	b.Put(t, victim, gateway("edge", "allowedListeners: {namespaces: {from: Same}}, ", "{name: shop, port: 80, protocol: HTTP, hostname: shop.example}, {name: wild, port: 80, protocol: HTTP, hostname: '*.shop.example'}, {name: any, port: 80, protocol: HTTP}")+
		gateway("open", "allowedListeners: {namespaces: {from: All}}, ", "{name: shop, port: 80, protocol: HTTP, hostname: shop.example, allowedRoutes: {namespaces: {from: All}}}, {name: wild, port: 80, protocol: HTTP, hostname: '*.shop.example'}")+
		route("shop", "{name: edge}, {name: open}", "shop.example, '*.shop.example'", "/", "{name: victim, port: 80}")+
		route("any", "{name: edge, sectionName: any}", "", "/", "{name: victim, port: 80}"))
	// It names victim's Gateways, too.
	const edge, open = "{name: edge, namespace: victim}", "{name: open, namespace: victim}"
	b.Put(t, thief, route("in", edge, "shop.example", "/", "{name: thief, port: 80}")+
		route("in-section", "{name: edge, namespace: victim, sectionName: shop}", "shop.example", "/login", "{name: thief, port: 80}")+
		route("in-port", "{name: edge, namespace: victim, port: 80}", "", "/login", "{name: thief, port: 80}")+
		listenerSet("set", edge, "{name: mine, port: 80, protocol: HTTP, hostname: login.shop.example}")+
		route("in-set", "{kind: ListenerSet, name: set}", "", "/", "{name: thief, port: 80}")+
		// This one is let in, for what the Gateway does not have itself.
		listenerSet("taken", open, "{name: same, port: 80, protocol: HTTP, hostname: shop.example}, {name: raw, port: 80, protocol: TCP}")+
		route("in-taken", "{kind: ListenerSet, name: taken}", "", "/", "{name: thief, port: 80}")+
		rawRoute("raw", edge+", {kind: ListenerSet, name: taken, sectionName: raw}", "{name: thief, port: 80}")+
		// And to victim's Service, without a grant.
		route("borrowed", "{name: edge}", "borrowed.example", "/", "{name: victim, namespace: victim, port: 80}"))
	for _, namespace := range []string{thief, victim} {
		if err := b.WaitReady(t.Context(), namespace, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	at, second, theirs := b.Address(t, victim, "edge"), b.Address(t, victim, "open"), b.Address(t, thief, "edge")
	if at == theirs || second == theirs {
		t.Fatalf("Gateways of two namespaces have the address %s", theirs)
	}
	for _, address := range []string{at, second} {
		for _, hostname := range []string{"shop.example", "www.shop.example", "login.shop.example", "SHOP.example", "shop.example:80"} {
			for _, path := range []string{"/", "/login", "/login/x", "/LOGIN", "//login"} {
				wants(t, "victim's "+hostname+path, address, hostname, path, 200, "victim")
			}
		}
	}
	wants(t, "victim's other hostnames", at, "other.example", "/", 200, "victim")
	wants(t, "the thief's own Gateway", theirs, "shop.example", "/login", 200, "thief")
	wants(t, "a Service of another namespace", theirs, "borrowed.example", "/", 500, "")
	for object, want := range map[[2]string]string{
		{"httproutes", "in"}: "False NotAllowedByListeners", {"httproutes", "in-section"}: "False NotAllowedByListeners", {"httproutes", "in-port"}: "False NotAllowedByListeners",
		{"listenersets", "set"}: "False NotAllowed", {"httproutes", "in-set"}: "False", {"listenersets", "taken"}: "False ListenersNotValid", {"tcproutes", "raw"}: "False",
	} {
		bed.Eventually(t, object[1]+" is told", 20*time.Second, func() error {
			if got := accepted(t, object[0], thief, object[1]); len(got) < len(want) || got[:len(want)] != want {
				return fmt.Errorf("got %s; want %s", got, want)
			}
			return nil
		})
	}
	// The port that the thief's Gateway has is none of victim's.
	if c, err := net.DialTimeout("tcp", at+":81", 2*time.Second); err == nil {
		c.Close()
		t.Error("a port of the thief's is open at victim's address")
	}
	// Nor is the address itself to be had.
	b.Put(t, thief, gateway("grab", "addresses: [{type: IPAddress, value: "+at+"}], ", plainListener)+route("grab", "{name: grab}", "", "/", "{name: thief, port: 80}"))
	bed.Eventually(t, "the Gateway that wants it is told", 20*time.Second, func() error {
		o, err := b.Dynamic.Resource(schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"}).Namespace(thief).Get(t.Context(), "grab", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if status, why := bed.Condition(o, "Programmed"); status != "False" || !strings.HasPrefix(why, "AddressNot") {
			return fmt.Errorf("Programmed is %s: %s", status, why)
		}
		return nil
	})
	wants(t, "victim still has its address", at, "shop.example", "/", 200, "victim")
	// A route that victim lets in shares its hostname, and the older one has a path that
	// both want: of one Gateway, by its owner's word.
	b.Put(t, thief, route("guest", open, "shop.example", "/guest", "{name: thief, port: 80}"))
	wants(t, "where victim lets it in", second, "shop.example", "/guest", 200, "thief")
	wants(t, "elsewhere it is not", at, "shop.example", "/guest", 200, "victim")
}

// TestAHostnameThatAPluginMakes: a Gateway's plugin chooses among the routes of its own
// Gateway, whatever hostname it makes; a route's plugin changes what is sent, not the route.
func TestAHostnameThatAPluginMakes(t *testing.T) {
	ns, other := b.Space(t, "renamers", nil), b.Space(t, "renamed", nil)
	layout := t.TempDir()
	b.Guest(t, "identity/guests/rehost", layout, "test.example/plugins/rehost:1")
	b.Push(t, layout, "test.example/plugins/rehost:1", "shop/rehost", "1", password)
	t.Cleanup(func() { b.Remove(t, "pluginpolicies", "", "renamers") })
	entry := func(hostname string) string {
		return fmt.Sprintf("[{image: %q, imagePullSecrets: [{name: login}], config: %s}]", bed.Registry+"/shop/rehost:1", hostname)
	}
	with := func(object, text string) string {
		return strings.Replace(object, "metadata: {", fmt.Sprintf("metadata: {annotations: {penstock.dev/plugins: %q}, ", text), 1)
	}
	b.Put(t, other, pods("theirs")+service("theirs", "theirs", "")+gateway("edge", "", plainListener)+route("theirs", "{name: edge}", "theirs.example", "/", "{name: theirs, port: 80}"))
	b.Put(t, ns, fmt.Sprintf("apiVersion: penstock.dev/v1alpha1\nkind: PluginPolicy\nmetadata: {name: renamers}\nspec: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}, images: [{prefix: %q, unsigned: true, allowTags: true}]}\n---\n", bed.Registry+"/shop")+
		bed.PullSecret("login", password)+"---\n"+pods("mine")+pods("second")+service("mine", "mine", "")+service("second", "second", "")+
		with(gateway("theirs", "", plainListener), entry("theirs.example"))+route("a", "{name: theirs}", "mine.example", "/", "{name: mine, port: 80}")+
		with(gateway("own", "", plainListener), entry("second.example"))+route("b", "{name: own}", "mine.example", "/", "{name: mine, port: 80}")+route("c", "{name: own}", "second.example", "/", "{name: second, port: 80}")+
		gateway("plain", "", plainListener)+with(route("d", "{name: plain}", "mine.example", "/", "{name: mine, port: 80}"), entry("second.example"))+route("e", "{name: plain}", "second.example", "/", "{name: second, port: 80}"))
	for _, namespace := range []string{ns, other} {
		if err := b.WaitReady(t.Context(), namespace, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	wants(t, "the other's Gateway", b.Address(t, other, "edge"), "theirs.example", "/", 200, "theirs")
	wants(t, "a hostname of another Gateway", b.Address(t, ns, "theirs"), "mine.example", "/", 404, "")
	wants(t, "one of the same Gateway", b.Address(t, ns, "own"), "mine.example", "/", 200, "second")
	wants(t, "made by a route's plugin", b.Address(t, ns, "plain"), "mine.example", "/", 200, "mine")
}
