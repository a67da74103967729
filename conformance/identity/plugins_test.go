package identity

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// limited is the plugins of a Consumer that may send so many requests a minute, and marks
// what it sends.
func limited(n int, mark string) string {
	return fmt.Sprintf(`, plugins: [{name: limit, use: rate-limit, config: {limit: %d, window: 1m, by: [consumer]}}, {name: mark, use: transform, config: {request: {headers: {set: {X-Plan: %s}}}, response: {headers: {set: {X-Plan: %[2]s}}}}}]`, n, mark)
}

// asked is what comes of a request with a key.
type asked struct {
	status    int
	sent, got string // X-Plan, to the upstream and to the client
	body      string
}

func ask(t *testing.T, p *harness.Proxy, path, key string) asked {
	t.Helper()
	response := withKey(t, p, path, key)
	defer func() { _ = response.Body.Close() }()
	var body [512]byte
	n, _ := response.Body.Read(body[:])
	return asked{response.StatusCode, response.Header.Get("X-Got-X-Plan"), response.Header.Get("X-Plan"), string(body[:n])}
}

// TestConsumersPlugins: a Consumer's plugins run for its requests alone, behind the plugin
// that has found it; they change at once, and where they are broken nobody else is.
func TestConsumersPlugins(t *testing.T) {
	p := startConsumers(t, harness.Echo, map[string]string{
		"a": "- {use: key-auth, config: {consumers: {}}}\n- {use: transform, config: {request: {headers: {rename: {X-Plan: X-Plan-Then}, set: {X-Plan: after}}}}}",
		"b": "- {use: key-auth, config: {consumers: {}}}",
	})
	p.Write("free.yaml", consumer("default", "free", "the-free-key", ""))
	p.Write("gold.yaml", consumer("default", "gold", "the-gold-key", limited(1000, "gold")))
	p.Eventually("both are found, and the plugins run", func() bool {
		return ask(t, p, "/b", "the-free-key").status == http.StatusOK && ask(t, p, "/b", "the-gold-key").got == "gold"
	})
	for range 3 {
		if a := ask(t, p, "/b", "the-gold-key"); a.status != http.StatusOK || a.sent != "gold" || a.got != "gold" {
			t.Errorf("got %+v", a)
		}
	}
	live := newSoon(t, p)
	p.Write("gold.yaml", consumer("default", "gold", "the-gold-key", limited(2, "gold")))
	live.until("a limit", func() bool { return ask(t, p, "/b", "the-gold-key").status == http.StatusTooManyRequests })
	if a := ask(t, p, "/a", "the-gold-key"); a.status != http.StatusTooManyRequests {
		t.Errorf("at the other Service: got %d; the limit is the Consumer's", a.status)
	}
	for range 5 {
		if a := ask(t, p, "/b", "the-free-key"); a.status != http.StatusOK || a.sent != "" || a.got != "" {
			t.Errorf("who has no plugins: got %+v", a)
		}
	}
	p.Write("gold.yaml", consumer("default", "gold", "the-gold-key", limited(1000, "more")))
	live.until("plugins change", func() bool { return ask(t, p, "/b", "the-gold-key").sent == "more" })
	if a := ask(t, p, "/a", "the-gold-key"); a.status != http.StatusOK || a.sent != "after" || a.got != "more" {
		t.Errorf("what comes behind decides by what they leave: got %+v", a)
	}
	for what, plugins := range map[string]string{
		"UnknownPlugin": `, plugins: [{name: x, use: no-such}]`,
		"NotSupported":  `, plugins: [{name: x, use: key-auth, config: {consumers: {}}}]`,
		"InvalidConfig": `, plugins: [{name: x, use: rate-limit, config: {limit: no}}]`,
	} {
		p.Write("new.yaml", consumer("default", "new", "the-new-key-"+what, plugins))
		live.until(what+" is refused", func() bool { return ask(t, p, "/b", "the-new-key-"+what).status == http.StatusServiceUnavailable })
		if a := ask(t, p, "/b", "the-new-key-"+what); !strings.Contains(a.body, what) && !strings.Contains(a.body, "Consumer/default/new") {
			t.Errorf("%s: got %q", what, a.body)
		}
		if a := ask(t, p, "/b", "the-gold-key"); a.status != http.StatusOK || a.sent != "more" {
			t.Errorf("%s of another one: got %+v", what, a)
		}
	}
	p.Write("gold.yaml", consumer("default", "gold", "the-gold-key", ""))
	live.until("it has none any more", func() bool { a := ask(t, p, "/b", "the-gold-key"); return a.status == http.StatusOK && a.sent == "" })
	p.Write("gold.yaml", consumer("default", "gold", "the-gold-key", limited(1000, "back")))
	live.until("and has some again", func() bool { return ask(t, p, "/b", "the-gold-key").sent == "back" })
	p.Write("gold.yaml", "")
	live.until("it is gone", func() bool { return ask(t, p, "/b", "the-gold-key").status == http.StatusUnauthorized })
	if p.Chain("Consumer/default/gold").State != "" {
		t.Error("its chain is still there")
	}
}

// TestPluginsOfOneFaultyText: last good serves a Consumer whose text is wrong later on.
func TestPluginsOfOneFaultyText(t *testing.T) {
	p := startConsumers(t, harness.Echo, map[string]string{"a": "- {use: key-auth, config: {consumers: {}}}"})
	p.Write("gold.yaml", consumer("default", "gold", "the-gold-key", limited(1000, "gold")))
	p.Eventually("it runs", func() bool { return ask(t, p, "/a", "the-gold-key").sent == "gold" })
	p.Write("gold.yaml", consumer("default", "gold", "the-gold-key", strings.Replace(limited(1000, "gold"), "use: transform", "use: transfrom", 1)))
	p.Eventually("last good runs", func() bool { return p.Chain("Consumer/default/gold").State == "LastGood" })
	if a := ask(t, p, "/a", "the-gold-key"); a.status != http.StatusOK || a.sent != "gold" {
		t.Errorf("got %+v", a)
	}
}

// TestGatewayFindsTheConsumer: its plugins then run before the route is matched, and once,
// also where the Service asks for the consumer again; and those of a chain of all.
func TestGatewayFindsTheConsumer(t *testing.T) {
	p := startConsumers(t, harness.Echo, map[string]string{"a": "- {use: key-auth, config: {consumers: {}}}"})
	annotated := strings.Replace(harness.GatewayFor(1), "metadata: {name: edge}", `metadata: {name: edge, annotations: {penstock.dev/plugins: "- {use: key-auth, config: {consumers: {}}}"}}`, 1)
	if annotated == harness.GatewayFor(1) {
		t.Fatal("the Gateway is written otherwise")
	}
	p.Write("gateway.yaml", annotated)
	p.Write("plans.yaml", "apiVersion: penstock.dev/v1alpha1\nkind: PluginChain\nmetadata: {name: plan}\nspec: {plugins: [{name: limit, use: rate-limit, config: {limit: 2, window: 1m, by: [consumer]}}]}\n")
	for _, name := range []string{"one", "two"} {
		p.Write(name+".yaml", consumer("default", name, "the-key-of-"+name, ", plugins: [{name: plan, chain: plan}]"))
	}
	p.Eventually("all run", func() bool {
		return p.Chain("Gateway/default/edge").State == "Running" && p.Chain("Consumer/default/one").State == "Running" && p.Chain("Consumer/default/two").State == "Running"
	})
	for _, name := range []string{"one", "two"} {
		p.Eventually("its first request", func() bool { return ask(t, p, "/a", "the-key-of-"+name).status == http.StatusOK })
		if second, third := ask(t, p, "/a", "the-key-of-"+name).status, ask(t, p, "/a", "the-key-of-"+name).status; second != http.StatusOK || third != http.StatusTooManyRequests {
			t.Errorf("%s: got %d, %d; want 200, 429", name, second, third)
		}
	}
}

// TestConsumersPluginsAndTheCache: what is stored for one is not another's, and their plugins
// run for a hit as well.
func TestConsumersPluginsAndTheCache(t *testing.T) {
	var fetched atomic.Int32
	served := func(w http.ResponseWriter, r *http.Request) {
		fetched.Add(1)
		w.Header().Set("Cache-Control", "public, max-age=60")
		harness.Echo(w, r)
	}
	p := startConsumers(t, served, map[string]string{"a": "- {use: key-auth, config: {consumers: {}}}\n- {use: cache, config: {key: {consumer: true}}}"})
	p.Write("one.yaml", consumer("default", "one", "the-key-of-one", limited(4, "one")))
	p.Write("two.yaml", consumer("default", "two", "the-key-of-two", limited(100, "two")))
	p.Eventually("they run", func() bool {
		return p.Chain("Consumer/default/one").State == "Running" && p.Chain("Consumer/default/two").State == "Running"
	})
	p.Eventually("the second is found", func() bool { return ask(t, p, "/a", "the-key-of-two").status == http.StatusOK })
	for i := range 4 {
		if a := ask(t, p, "/a", "the-key-of-one"); a.status != http.StatusOK || a.sent != "one" || a.got != "one" {
			t.Errorf("request %d: got %+v", i, a)
		}
		if a := ask(t, p, "/a", "the-key-of-two"); a.sent != "two" || a.got != "two" {
			t.Errorf("request %d of the other: got %+v", i, a)
		}
	}
	if a := ask(t, p, "/a", "the-key-of-one"); a.status != http.StatusTooManyRequests {
		t.Errorf("a hit is not counted: got %+v", a)
	}
	if n := fetched.Load(); n != 2 {
		t.Errorf("%d requests came to the Service; want one for each", n)
	}
}
