package cache

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"penstock.dev/penstock/conformance/harness"
	"penstock.dev/penstock/conformance/sdks"
)

// ask sends a GET and returns the body and Cache-Status.
func ask(t *testing.T, url string, fields ...[2]string) (body, status string) {
	t.Helper()
	q, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		q.Header.Set(f[0], f[1])
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("%s: %d %s, %v", url, r.StatusCode, text, err)
	}
	return string(text), r.Header.Get("Cache-Status")
}

// counting is an origin whose every answer is another one: its number, what it was asked
// for, and the device that it was told.
func counting(header map[string]string) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		for name, value := range header {
			w.Header().Set(name, value)
		}
		_, _ = fmt.Fprintf(w, "%d %s %s", n.Add(1), r.URL.RequestURI(), r.Header.Get("X-Device-Class"))
	}
}

func purge(t *testing.T, p *harness.Proxy, query string) string {
	t.Helper()
	q, err := http.NewRequest(http.MethodDelete, p.Admin+"/cache?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	// A DELETE is not sent again when a connection that was kept has gone.
	r, err := oneEach.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(text)), "")
}

const rules = `
- use: cache-rules
  config:
    rules:
      - {path: {prefix: /shop/account}, bypass: true}
      - {path: {prefix: /shop/static}, ttl: 12h, force: true, query: {allow: [v]}, tags: [static]}
      - {device: true, query: {deny: ["utm_*"], sort: true}, key: {cookies: [currency]}, tagHeader: X-Shop-Id, ttl: 60s}
- use: cache`

// TestCacheRules: the bundled plugin before the cache, over real connections.
func TestCacheRules(t *testing.T) {
	answer := counting(nil)
	port := harness.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/shop/static"):
			w.Header().Set("Cache-Control", "max-age=0")
		case r.URL.Path == "/shop/price":
			w.Header().Set("Cache-Control", "max-age=60") // with a cookie, it has to say so itself
		}
		answer(w, r)
	})
	p := harness.Start(t, harness.Options{
		Files:  map[string]string{"gateway.yaml": harness.GatewayFor(1), "shop.yaml": harness.Service("shop", rules, port)},
		Images: []string{harness.BundledPlugins(t)},
		Args:   []string{"--access-log", "off"},
	})
	p.Eventually("the rules run", func() bool { return p.Chain("Service/default/shop").State == "Running" })
	const phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
	agent := func(s string) [2]string { return [2]string{"User-Agent", s} }
	same := func(t *testing.T, first, second string, want bool) {
		t.Helper()
		if (first == second) != want {
			t.Errorf("got %q, then %q; want the same: %v", first, second, want)
		}
	}
	hit := func(t *testing.T, status string, want bool) {
		t.Helper()
		if strings.Contains(status, "; hit") != want {
			t.Errorf("Cache-Status: %q; want a hit: %v", status, want)
		}
	}

	t.Run("devices are stored apart", func(t *testing.T) {
		desktop, _ := ask(t, p.URL+"/shop/page", agent("curl/8"))
		mobile, status := ask(t, p.URL+"/shop/page", agent(phone))
		hit(t, status, false)
		if !strings.HasSuffix(desktop, " desktop") || !strings.HasSuffix(mobile, " mobile") {
			t.Errorf("the origin was told %q and %q", desktop, mobile)
		}
		again, status := ask(t, p.URL+"/shop/page", agent("another/1"), [2]string{"X-Device-Class", "mobile"})
		same(t, desktop, again, true)
		hit(t, status, true)
		again, status = ask(t, p.URL+"/shop/page", agent("x"), [2]string{"Sec-CH-UA-Mobile", "?1"})
		same(t, mobile, again, true)
		hit(t, status, true)
	})
	t.Run("queries that are equal are one", func(t *testing.T) {
		first, _ := ask(t, p.URL+"/shop/list?b=2&utm_source=mail&a=1")
		if !strings.Contains(first, " /shop/list?a=1&b=2 ") {
			t.Errorf("the origin was asked %q", first)
		}
		again, status := ask(t, p.URL+"/shop/list?a=1&utm_campaign=x&b=2&utm_source=ad")
		same(t, first, again, true)
		hit(t, status, true)
		other, status := ask(t, p.URL+"/shop/list?a=1&b=3")
		same(t, first, other, false)
		hit(t, status, false)
	})
	t.Run("a cookie tells apart", func(t *testing.T) {
		euro, _ := ask(t, p.URL+"/shop/price", [2]string{"Cookie", "s=1; currency=EUR"})
		dollar, _ := ask(t, p.URL+"/shop/price", [2]string{"Cookie", "currency=USD; s=1"})
		none, _ := ask(t, p.URL+"/shop/price")
		same(t, euro, dollar, false)
		same(t, none, euro, false)
		same(t, none, dollar, false)
		again, status := ask(t, p.URL+"/shop/price", [2]string{"Cookie", "currency=EUR; s=2"})
		same(t, euro, again, true)
		hit(t, status, true)
	})
	t.Run("a time is forced", func(t *testing.T) {
		first, _ := ask(t, p.URL+"/shop/static/a.css?v=1&x=2")
		again, status := ask(t, p.URL+"/shop/static/a.css?v=1")
		same(t, first, again, true)
		hit(t, status, true)
		if ttl := status[strings.Index(status, "ttl=")+len("ttl="):]; len(ttl) < 5 || ttl[:2] != "43" { // 43,200 s
			t.Errorf("Cache-Status: %q; want a ttl of about 12 h", status)
		}
	})
	t.Run("a path bypasses", func(t *testing.T) {
		for _, path := range []string{"/shop/account", "/shop/account/orders?utm_a=1", "/shop/%61ccount", "/shop/static/..%2faccount", "/shop/static/..;/account"} {
			first, _ := ask(t, p.URL+path)
			again, status := ask(t, p.URL+path)
			same(t, first, again, false)
			if !strings.Contains(status, "fwd=bypass") {
				t.Errorf("%s: Cache-Status: %q; want a bypass", path, status)
			}
			if !strings.Contains(first, " "+path+" ") {
				t.Errorf("the origin was asked %q; want %s as it was sent", first, path)
			}
		}
	})
	t.Run("a header is a tag", func(t *testing.T) {
		shop := [2]string{"X-Shop-Id", "17"}
		first, _ := ask(t, p.URL+"/shop/tagged", shop)
		other, _ := ask(t, p.URL+"/shop/untagged")
		css, _ := ask(t, p.URL+"/shop/static/b.css")
		if got := purge(t, p, "namespace=other&tag=17"); got != `{"removed":0}` {
			t.Errorf("in another namespace: got %s", got)
		}
		again, _ := ask(t, p.URL+"/shop/tagged", shop)
		same(t, first, again, true)
		if got := purge(t, p, "namespace=default&tag=17"); got != `{"removed":1}` {
			t.Errorf("got %s; want one removed", got)
		}
		again, status := ask(t, p.URL+"/shop/tagged", shop)
		same(t, first, again, false)
		hit(t, status, false)
		again, _ = ask(t, p.URL+"/shop/untagged")
		same(t, other, again, true)
		if got := purge(t, p, "namespace=default&tag=static"); got != `{"removed":2}` {
			t.Errorf("got %s; want what is static removed", got)
		}
		again, _ = ask(t, p.URL+"/shop/static/b.css")
		same(t, css, again, false)
	})
	for mistake, want := range map[[2]string]string{
		{"bypass: true", "bypas: true"}: "/rules/0: additional properties 'bypas' not allowed", // by the schema
		{"ttl: 60s", "ttl: soon"}:       "config.rules[2].ttl:",                                // by the plugin
	} {
		t.Run("a mistake is told with its path: "+mistake[1], func(t *testing.T) {
			p.Write("shop.yaml", harness.Service("shop", strings.Replace(rules, mistake[0], mistake[1], 1), port))
			p.Eventually("the mistake is told", func() bool {
				filters := p.Chain("Service/default/shop").Filters
				return len(filters) > 0 && filters[0].Reason == "InvalidConfig" && strings.Contains(filters[0].Message+p.Log(), want)
			})
		})
	}
}

// TestSteeringAddsUp: the Gateway's part, of a namespace, steers the cache of a Service of
// another one, together with that one's own rules.
func TestSteeringAddsUp(t *testing.T) {
	port := harness.Upstream(t, counting(nil))
	gateway := strings.NewReplacer(
		"kind: Gateway\nmetadata: {name: edge}", `kind: Gateway
metadata:
  name: edge
  annotations:
    penstock.dev/plugins: |
      - use: cache-rules
        config: {rules: [{path: {prefix: /away/private}, bypass: true}, {device: true, ttl: 1s, tags: [edge]}]}`,
		"port: ${PORT}}", "port: ${PORT}, allowedRoutes: {namespaces: {from: All}}}").Replace(harness.GatewayFor(1))
	service := strings.NewReplacer("metadata:\n  name: away", "metadata:\n  namespace: away\n  name: away", "metadata: {name: away}", "metadata: {name: away, namespace: away}", "{name: edge}", "{name: edge, namespace: default}").
		Replace(harness.Service("away", "- use: cache-rules\n  config: {rules: [{key: {headers: [X-Lang]}, ttl: 12h, tags: [own]}]}\n- use: cache", port))
	p := harness.Start(t, harness.Options{
		Files:  map[string]string{"gateway.yaml": gateway, "away.yaml": service},
		Images: []string{harness.BundledPlugins(t)},
		Args:   []string{"--access-log", "off"},
	})
	for _, name := range []string{"Gateway/default/edge", "Service/away/away"} {
		p.Eventually(name+" runs", func() bool { return p.Chain(name).State == "Running" })
	}
	german, english, phone := [2]string{"X-Lang", "de"}, [2]string{"X-Lang", "en"}, [2]string{"Sec-CH-UA-Mobile", "?1"}
	pages := map[string]bool{}
	all := [][][2]string{{german}, {english}, {german, phone}, {english, phone}}
	for _, fields := range all {
		page, status := ask(t, p.URL+"/away/page", fields...)
		if _, ttl, ok := strings.Cut(status, "fwd=uri-miss"); !ok || strings.Contains(ttl, "detail") {
			t.Errorf("Cache-Status: %q; want a miss that is stored", status)
		}
		pages[page] = true
	}
	if len(pages) != len(all) {
		t.Errorf("%d pages for %d devices and languages", len(pages), len(all))
	}
	for _, fields := range all {
		page, status := ask(t, p.URL+"/away/page", fields...)
		if !pages[page] || !strings.Contains(status, "; hit; ttl=43") { // the last one's time, of 43,200 s
			t.Errorf("got %q, %q; want a hit with a ttl of 12 h", page, status)
		}
	}
	if got := purge(t, p, "namespace=default&tag=edge"); got != `{"removed":0}` {
		t.Errorf("in the Gateway's namespace: got %s", got)
	}
	for _, tag := range []string{"edge", "own"} {
		if got := purge(t, p, "namespace=away&tag="+tag); got != `{"removed":4}` {
			t.Errorf("by tag %s: got %s; want all four removed", tag, got)
		}
		for _, fields := range all {
			ask(t, p.URL+"/away/page", fields...)
		}
	}
	if _, status := ask(t, p.URL+"/away/private/a", german); !strings.Contains(status, "fwd=bypass") {
		t.Errorf("Cache-Status: %q; want a bypass", status)
	}
}

// TestObjectsOfPlugins: what plugins put into the cache is found by those with the same
// state, is in nobody's way, and is bounded.
func TestObjectsOfPlugins(t *testing.T) {
	t.Run("go", func(t *testing.T) { testObjects(t, harness.Guest(t, "guests/shelf")) })
	for _, s := range sdks.All {
		if s.Has("shelf") {
			t.Run(s.Name, func(t *testing.T) { testObjects(t, s.Guest(t, "shelf")) })
		}
	}
}

func testObjects(t *testing.T, guest string) {
	layout := t.TempDir()
	manifest := filepath.Join(t.TempDir(), "manifest.json")
	if err := os.WriteFile(manifest, []byte(`{"abi": "proxy-wasm", "capabilities": ["cache"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Pack(t, layout, "shelf", guest, "--manifest", manifest)
	harness.Pack(t, layout, "powerless", guest)
	entry := func(image, vmID string) string {
		return "- {image: \"test.example/plugins/" + image + ":1\", vmId: " + vmID + ", limits: {cpuTime: 500ms, cpuTimeExchange: 1s}}"
	}
	port := harness.Upstream(t, counting(map[string]string{"Cache-Control": "max-age=600", "Surrogate-Key": "product"}))
	files := map[string]string{
		"gateway.yaml": strings.NewReplacer("capabilities: [consumer]", "capabilities: [cache]", "port: ${PORT}}", "port: ${PORT}, allowedRoutes: {namespaces: {from: All}}}").Replace(harness.GatewayFor(1)),
		"away.yaml": strings.NewReplacer("metadata:\n  name: away", "metadata:\n  namespace: away\n  name: away", "metadata: {name: away}", "metadata: {name: away, namespace: away}", "{name: edge}", "{name: edge, namespace: default}").
			Replace(harness.Service("away", entry("shelf", "shared")+"\n- use: cache", port)),
	}
	for name, annotation := range map[string]string{
		"one": entry("shelf", "shared") + "\n- use: cache", "two": entry("shelf", "shared"), "other": entry("shelf", "other"), "powerless": entry("powerless", "shared"),
	} {
		files[name+".yaml"] = harness.Service(name, annotation, port)
	}
	p := harness.Start(t, harness.Options{Files: files, Images: []string{layout}, Args: []string{"--access-log", "off"}})
	for _, name := range []string{"default/one", "default/two", "default/other", "default/powerless", "away/away"} {
		p.Eventually(name+" runs", func() bool { return p.Chain("Service/"+name).State == "Running" })
	}
	page, _ := ask(t, p.URL+"/one/page")
	away, _ := ask(t, p.URL+"/away/page")
	steps := []struct{ service, do, want string }{
		{"one", "get k", "nothing"},
		{"one", "put k value tag product", "done"},
		{"one", "get k", "value left=true stale=false"},
		{"two", "get k", "value left=true stale=false"},
		{"other", "get k", "nothing"},
		{"away", "get k", "nothing"},
		{"away", "put k elsewhere product", "done"},
		{"powerless", "get k", "nothing"},
		{"powerless", "put k forged", "failed: the proxy refused: internal failure"},
		{"powerless", "delete k", "failed: the proxy refused: internal failure"},
		{"powerless", "purge product", "failed: the proxy refused: internal failure"},
		{"powerless", "steer a", "failed: the proxy refused: internal failure"},
		{"one", "soft tag", "purged 1"},
		{"two", "get k", "value left=true stale=true"},
		{"two", "put k new product", "done"},
		{"one", "get k", "new left=true stale=false"},
		{"one", "delete k", "done"},
		{"two", "get k", "nothing"},
		{"one", "put k again product", "done"},
		{"other", "fill 20", "failed after 16: the proxy refused: internal failure"},
		{"other", "put small x", "failed: the proxy refused: internal failure"},
		{"one", "put small x", "done"},
		{"other", "delete fill-3", "done"},
		{"other", "put small x", "done"},
		{"one", "purge product", "purged 2"}, // the object and the page
		{"one", "get k", "nothing"},
		{"away", "get k", "elsewhere left=true stale=false"},
	}
	for i, step := range steps {
		if got, _ := ask(t, p.URL+"/"+step.service, [2]string{"X-Do", step.do}); got != step.want {
			t.Errorf("step %d, %s of %s: got %q; want %q", i, step.do, step.service, got, step.want)
		}
	}
	if again, _ := ask(t, p.URL+"/one/page"); again == page {
		t.Errorf("the page is there after a purge of its tag: %q", again)
	}
	if again, status := ask(t, p.URL+"/away/page"); again != away || !strings.Contains(status, "; hit") {
		t.Errorf("another namespace's page: got %q, %q; want %q", again, status, away)
	}
	german, _ := ask(t, p.URL+"/one/page", [2]string{"X-Do", "steer de"})
	english, _ := ask(t, p.URL+"/one/page", [2]string{"X-Do", "steer en"})
	if again, status := ask(t, p.URL+"/one/page", [2]string{"X-Do", "steer de"}); german == english || again != german || !strings.Contains(status, "; hit") {
		t.Errorf("with a key part: got %q and %q, then %q, %q", german, english, again, status)
	}
	if strings.Contains(p.Log(), "filter failed") {
		t.Error("a call ended an instance")
	}
}
