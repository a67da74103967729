package identity

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// consumer is a Consumer with one key, and its Secret.
func consumer(namespace, name, key, rest string) string {
	return fmt.Sprintf(`apiVersion: penstock.dev/v1alpha1
kind: Consumer
metadata: {name: %[2]s, namespace: %[1]s}
spec: {credentials: [{name: %[2]s-key}]%[4]s}
---
apiVersion: v1
kind: Secret
metadata: {name: %[2]s-key, namespace: %[1]s, labels: {penstock.dev/credential: key-auth}}
stringData: {key: %[3]s}
`, namespace, name, key, rest)
}

// withKey asks for a path with a key. The body is to be closed.
func withKey(t *testing.T, p *harness.Proxy, path, key string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-API-Key", key)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// byKey asks for a path with a key, and returns the status, and what came of who sent it.
func byKey(t *testing.T, p *harness.Proxy, path, key string) (int, string) {
	t.Helper()
	response := withKey(t, p, path, key)
	defer response.Body.Close()
	return response.StatusCode, response.Header.Get("X-Got-X-Consumer-Username") + " " + response.Header.Get("X-Got-X-Consumer-Groups")
}

// soon waits until something is so, and after the test looks whether most of its waits were
// within a second: a machine that is busy may keep one of them longer.
type soon struct {
	t    *testing.T
	p    *harness.Proxy
	took []time.Duration
}

func newSoon(t *testing.T, p *harness.Proxy) *soon {
	s := &soon{t: t, p: p}
	t.Cleanup(func() {
		slices.Sort(s.took)
		if n := len(s.took); n > 0 && s.took[n/2] > time.Second {
			t.Errorf("changes were live after %v; want a second", s.took)
		}
	})
	return s
}

func (s *soon) until(what string, ok func() bool) {
	s.t.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > 20*time.Second {
			s.t.Fatalf("not within 20 s: %s\n%s", what, s.p.Log())
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.took = append(s.took, time.Since(begin))
	s.t.Logf("after %v: %s", time.Since(begin).Round(time.Millisecond), what)
}

// startConsumers is a proxy with Services by name whose annotations are these.
func startConsumers(t *testing.T, handler http.HandlerFunc, annotations map[string]string) *harness.Proxy {
	t.Helper()
	port := harness.Upstream(t, handler)
	files := map[string]string{"gateway.yaml": harness.GatewayFor(1)}
	for name, text := range annotations {
		files[name+".yaml"] = harness.Service(name, text, port)
	}
	p := harness.Start(t, harness.Options{Files: files, Images: []string{harness.BundledPlugins(t)}})
	for name := range annotations {
		p.Eventually(name+" runs", func() bool { return p.Chain("Service/default/"+name).State == "Running" })
	}
	return p
}

// instances is what there are of plugins' instances, and how many were started.
func instances(p *harness.Proxy) (lines string) {
	for line := range strings.Lines(p.Metrics()) {
		if strings.HasPrefix(line, "penstock_plugin_instances{") || strings.HasPrefix(line, "penstock_plugin_starts") {
			lines += line
		}
	}
	return lines
}

// TestConsumersChange: a Consumer comes, gets another key and groups, and goes, each live
// within a second and without a new instance.
func TestConsumersChange(t *testing.T) {
	p := startConsumers(t, harness.Echo, map[string]string{"a": "- {use: key-auth, config: {consumers: {}}}", "b": "- {use: key-auth, config: {consumers: {}, keys: [{key: of-the-config, consumer: old}]}}"})
	is := func(path, key string, status int, who string) func() bool {
		return func() bool {
			gotStatus, gotWho := byKey(t, p, path, key)
			return gotStatus == status && (status != 200 || gotWho == who)
		}
	}
	live := newSoon(t, p)
	if !is("/a", "first-key", 401, "")() {
		t.Fatal("a key that nobody has does not get 401")
	}
	before := instances(p)
	p.Write("shop.yaml", consumer("default", "shop", "first-key", ", groups: [buyers, eu]"))
	live.until("the new key", is("/a", "first-key", 200, "shop buyers,eu"))
	live.until("the new key elsewhere", is("/b", "first-key", 200, "shop buyers,eu"))
	if !is("/b", "of-the-config", 200, "old ")() || !is("/a", "of-the-config", 401, "")() {
		t.Error("keys of a configuration count elsewhere, or no more beside Consumers")
	}
	p.Write("shop.yaml", consumer("default", "shop", "second-key", ", groups: [sellers], username: mobile"))
	live.until("another key, name and group", is("/a", "second-key", 200, "mobile sellers"))
	if !is("/a", "first-key", 401, "")() {
		t.Error("the key that was replaced still counts")
	}
	p.Write("more.yaml", consumer("default", "other", "third-key", ""))
	live.until("another Consumer", is("/a", "third-key", 200, "other "))
	p.Write("shop.yaml", "")
	live.until("it is gone", is("/a", "second-key", 401, ""))
	if !is("/a", "third-key", 200, "other ")() {
		t.Error("the other one is gone too")
	}
	if log := p.Log(); strings.Contains(log, "first-key") || strings.Contains(log, "second-key") || strings.Contains(p.AdminText("/config"), "third-key") {
		t.Error("a key is in the log, or told by the admin API")
	}
	if after := instances(p); after != before {
		t.Errorf("instances were\n%s\nand are\n%s", before, after)
	}
}

// TestConsumersElsewhere: another namespace's Consumers count if the filter names it, and
// a ReferenceGrant there permits it.
func TestConsumersElsewhere(t *testing.T) {
	p := startConsumers(t, harness.Echo, map[string]string{
		"a": "- {use: key-auth, config: {consumers: {}}}",
		"b": "- {use: key-auth, config: {consumers: {namespaces: [partners]}}}",
	})
	live := newSoon(t, p)
	p.Write("partner.yaml", consumer("partners", "acme", "partner-key", "")+"---\n"+consumer("partners", "zenith", "zenith-key", ""))
	p.Write("own.yaml", consumer("default", "own", "default-key", ""))
	live.until("the own one", func() bool { status, _ := byKey(t, p, "/b", "default-key"); return status == 200 })
	if status, _ := byKey(t, p, "/b", "partner-key"); status != 401 {
		t.Errorf("without a ReferenceGrant: got %d; want 401", status)
	}
	grant := func(kind, name string) string {
		return fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: a, namespace: partners}\nspec: {from: [{group: \"\", kind: %s, namespace: default}], to: [{group: penstock.dev, kind: Consumer%s}]}\n", kind, name)
	}
	p.Write("grant.yaml", grant("Service", ", name: acme"))
	live.until("permitted", func() bool {
		status, who := byKey(t, p, "/b", "partner-key")
		return status == 200 && who == "acme "
	})
	for path, key := range map[string]string{"/a": "partner-key", "/b": "zenith-key"} {
		if status, _ := byKey(t, p, path, key); status != 401 {
			t.Errorf("%s with %s, which nothing permits: got %d; want 401", path, key, status)
		}
	}
	p.Write("grant.yaml", grant("Gateway", ""))
	live.until("permitted no more", func() bool { status, _ := byKey(t, p, "/b", "partner-key"); return status == 401 })
}

// TestConsumersHaveResponsesOfTheirOwn: the cache's key holds who it was, also where two of
// different namespaces have one name.
func TestConsumersHaveResponsesOfTheirOwn(t *testing.T) {
	var asked atomic.Int64
	p := startConsumers(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Cache-Control", "private, max-age=60")
		harness.Echo(w, r)
	}, map[string]string{"a": "- {use: key-auth, config: {consumers: {namespaces: [partners]}}}\n- {use: cache, config: {key: {consumer: true}}}"})
	p.Write("all.yaml", strings.Join([]string{consumer("default", "one", "key-of-one", ""), consumer("default", "two", "key-of-two", ""), consumer("partners", "one", "key-elsewhere", ""),
		"apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: a, namespace: partners}\nspec: {from: [{group: \"\", kind: Service, namespace: default}], to: [{group: penstock.dev, kind: Consumer}]}\n"}, "---\n"))
	live := newSoon(t, p)
	live.until("the keys", func() bool { status, _ := byKey(t, p, "/a/warm", "key-elsewhere"); return status == 200 })
	asked.Store(0)
	for range 3 {
		for key, want := range map[string]string{"key-of-one": "one ", "key-of-two": "two ", "key-elsewhere": "one "} {
			if status, who := byKey(t, p, "/a/x", key); status != 200 || who != want {
				t.Errorf("%s: got %d for %q; want %q", key, status, who, want)
			}
		}
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("the origin was asked %d times; want once for each consumer", n)
	}
}
