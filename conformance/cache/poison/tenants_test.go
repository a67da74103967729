package poison

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// away is a Service and its route in the namespace team.
func away(name, annotation string) string {
	text := harness.Service(name, annotation, 1)
	text = strings.ReplaceAll(text, ": 1}", ": ${ORIGIN}}")
	text = strings.ReplaceAll(text, "metadata: {name: "+name, "metadata: {namespace: team, name: "+name)
	text = strings.ReplaceAll(text, "metadata:\n  name: "+name, "metadata:\n  namespace: team\n  name: "+name)
	return strings.ReplaceAll(text, "parentRefs: [{name: edge}]", "parentRefs: [{name: edge, namespace: default}]")
}

// here is a Service of the namespace default.
func here(name, annotation string) string {
	return strings.ReplaceAll(harness.Service(name, annotation, 1), ": 1}", ": ${ORIGIN}}")
}

const routes = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: tenants}
spec:
  parentRefs: [{name: edge}]
  rules:
    - matches: [{path: {value: /tenant-a}}]
      filters:
        - {type: URLRewrite, urlRewrite: {hostname: in.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /plain/same}}}
        - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Tenant, value: a}]}}
      backendRefs: [{name: plain, port: 80}]
    - matches: [{path: {value: /tenant-b}}]
      filters:
        - {type: URLRewrite, urlRewrite: {hostname: in.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /plain/same}}}
        - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Tenant, value: b}]}}
      backendRefs: [{name: plain, port: 80}]
    - matches: [{path: {value: /tenant-c}}]
      filters: [{type: URLRewrite, urlRewrite: {hostname: in.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /plain/same}}}]
      backendRefs:
        - name: plain
          port: 80
          filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Tenant, value: c}]}}]
    - matches: [{path: {value: /tenant-d}}]
      filters: [{type: URLRewrite, urlRewrite: {hostname: in.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /plain/same}}}]
      backendRefs: [{name: ttl, port: 80}]
    - matches: [{path: {value: /moved}}]
      backendRefs:
        - name: plain
          port: 80
          filters: [{type: URLRewrite, urlRewrite: {hostname: in.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /elsewhere}}}]
`

// same are two Services of two namespaces for one hostname and path, and two ports of one
// Service, told apart by a field.
const same = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: same}
spec:
  parentRefs: [{name: edge}]
  hostnames: [same.example]
  rules:
    - matches: [{path: {value: /same}}]
      backendRefs: [{name: ports, port: 80}]
    - matches: [{path: {value: /same}, headers: [{name: X-To, value: other-port}]}]
      backendRefs: [{name: ports, port: 81}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: same, namespace: team}
spec:
  parentRefs: [{name: edge, namespace: default}]
  hostnames: [same.example]
  rules:
    - matches: [{path: {value: /same}, headers: [{name: X-To, value: team}]}]
      backendRefs: [{name: team, port: 80}]
`

// ports is a Service with two ports before one origin.
func ports() string {
	text := strings.Replace(here("ports", "- cache"), "targetPort: ${ORIGIN}}]", "targetPort: ${ORIGIN}}, {name: more, port: 81, targetPort: ${ORIGIN}}]", 1)
	return strings.Replace(text, "ports: [{name: http, port: ${ORIGIN}}]", "ports: [{name: http, port: ${ORIGIN}}, {name: more, port: ${ORIGIN}}]", 1)
}

const keyAuth = `- image: penstock.dev/plugins/key-auth:1
  config: {keys: [{key: key-of-one, consumer: one}, {key: key-of-two, consumer: two}]}
`

func tenants() map[string]string {
	return map[string]string{
		"shared.yaml": here("shared", keyAuth+"- cache"),
		"each.yaml":   here("each", keyAuth+"- use: cache\n  config: {key: {consumer: true}}"),
		"team.yaml":   away("team", "- cache"),
		"routes.yaml": routes,
		"ports.yaml":  ports(),
		"same.yaml":   same,
	}
}

// TestTenants: what was stored on the way to one place never answers on the way to
// another.
func TestTenants(t *testing.T) {
	b := start(t, tenants())
	b.Eventually("the plugins run", func() bool {
		return b.Chain("Service/default/shared").State == "Running" && b.Chain("Service/default/each").State == "Running"
	})
	b.origin.reset(mirror)
	b.Eventually("the routes lead there", func() bool {
		return b.raw(t, request("/tenant-a/probe"), 1).status == 200 && b.raw(t, request("/team/probe"), 1).status == 200
	})
	t.Run("routes with filters of their own to one Service", func(t *testing.T) {
		b.origin.reset(mirror)
		for range 2 {
			for tenant, want := range map[string]string{"a": `X-Tenant=["a"]`, "b": `X-Tenant=["b"]`, "c": `X-Tenant=["c"]`, "d": ""} {
				g := b.raw(t, request("/tenant-"+tenant+"/x"), 1)
				if g.status != 200 || !strings.Contains(g.body, "T=/plain/same/x H=in.example") || !strings.Contains(g.body, want) || want == "" && strings.Contains(g.body, "X-Tenant") {
					t.Errorf("tenant %s got %v", tenant, g)
				}
			}
		}
		if n := b.origin.count(); n != 4 {
			t.Errorf("the origin was asked %d times; want once for each", n)
		}
	})
	t.Run("a plain route to what another one rewrites to", func(t *testing.T) {
		b.origin.reset(mirror)
		b.raw(t, request("/tenant-a/y"), 1)
		if g := b.raw(t, "GET /plain/same/y HTTP/1.1\nHost: in.example\n\n", 1); g.status != 200 || strings.Contains(g.body, "X-Tenant") {
			t.Errorf("the plain one got %v", g)
		}
	})
	t.Run("two Services with one origin", func(t *testing.T) {
		b.origin.reset(func(a *asked) string { return fresh("", fmt.Sprint(a.n)) })
		one, two := b.raw(t, request("/plain/z"), 1), b.raw(t, request("/ttl/z"), 1)
		if one.body == two.body || one.status != 200 {
			t.Errorf("both got %v", one)
		}
	})
	t.Run("two ports, and two namespaces, of one hostname", func(t *testing.T) {
		b.origin.reset(func(a *asked) string { return fresh("", "for "+a.Header.Get("X-To")) })
		for range 2 {
			for _, to := range []string{"", "other-port", "team"} {
				g := b.raw(t, "GET /same/a HTTP/1.1\nHost: same.example\nX-To: "+to+"\n\n", 1)
				if g.status != 200 || g.body != "for "+to {
					t.Errorf("%q got %v", to, g)
				}
			}
		}
		if n := b.origin.count(); n != 3 {
			t.Errorf("the origin was asked %d times; want once for each", n)
		}
	})
	t.Run("a response that varies by the client's address", func(t *testing.T) {
		for _, name := range []string{"X-Forwarded-For", "Forwarded"} {
			b.origin.reset(func(a *asked) string { return fresh("Vary: "+name, a.Header.Get(name)) })
			place := b.place("plain")
			for range 2 {
				for _, address := range []string{"127.0.0.1", "127.0.0.9"} {
					if g := b.from(t, address, request(place), 1); g.status != 200 || !strings.Contains(g.body, address) {
						t.Errorf("%s: %s got %v", name, address, g)
					}
				}
			}
		}
	})
	t.Run("http and https", func(t *testing.T) {
		b.origin.reset(func(a *asked) string { return fresh("", a.Header.Get("X-Forwarded-Proto")) })
		place := b.place("plain")
		versions := b.versions()
		for range 2 {
			for version, want := range map[string]string{"HTTP/1.1": "http", "HTTP/2": "https", "HTTP/3": "https"} {
				if g := versions[version](t, place, nil); g.body != want {
					t.Errorf("%s got %v; want %q", version, g, want)
				}
			}
		}
	})
	t.Run("a page of one consumer", func(t *testing.T) { b.consumers(t) })
	t.Run("a consumer by what the client says", func(t *testing.T) {
		b.origin.reset(func(a *asked) string {
			return answer("200 OK", "Cache-Control: private, max-age=60", a.Header.Get("X-Consumer-Username"))
		})
		place := b.place("each")
		b.raw(t, request(place, "X-API-Key: key-of-one"), 1)
		if g := b.raw(t, request(place, "X-API-Key: key-of-two", "X-Consumer-Username: one", "X-Consumer-Groups: one"), 1); g.body != "two" {
			t.Errorf("it got %v", g)
		}
	})
	t.Run("a purge of another namespace", func(t *testing.T) {
		b.origin.reset(func(a *asked) string { return fresh("Surrogate-Key: tag", fmt.Sprint(a.n)) })
		before := b.raw(t, request("/team/tagged"), 1)
		base := "http://shop.example"
		for _, q := range []url.Values{
			{"namespace": {"default"}, "tag": {"tag"}}, {"namespace": {"default"}, "hostname": {"shop.example"}}, {"namespace": {"default"}, "url": {base + "/team/tagged"}},
			{"namespace": {"default"}, "prefix": {base + "/"}}, {"namespace": {""}, "tag": {"tag"}}, {"namespace": {"*"}, "tag": {"tag"}}, {"namespace": {"default/team"}, "tag": {"tag"}},
		} {
			b.purge(t, "DELETE", q, nil)
			if g := b.raw(t, request("/team/tagged"), 1); g.body != before.body {
				t.Errorf("%v: got %v; want what was stored", q, g)
			}
		}
		if status := b.purge(t, "DELETE", url.Values{"namespace": {"team"}, "tag": {"tag"}}, nil); status != 200 || b.raw(t, request("/team/tagged"), 1).body == before.body {
			t.Errorf("its own purge did nothing: %d", status)
		}
	})
	t.Run("a purge by a page in a browser", func(t *testing.T) {
		b.origin.reset(func(a *asked) string { return fresh("", fmt.Sprint(a.n)) })
		place := b.place("plain")
		before := b.raw(t, request(place), 1)
		all := url.Values{"namespace": {"default"}, "prefix": {"http://shop.example/"}}
		for name, try := range map[string]int{
			"GET":                   b.purge(t, "GET", all, nil),
			"POST":                  b.purge(t, "POST", all, map[string]string{"Content-Type": "text/plain", "Origin": "https://evil.example"}),
			"POST with an override": b.purge(t, "POST", all, map[string]string{"X-HTTP-Method-Override": "DELETE"}),
			"DELETE by a name":      b.purge(t, "DELETE", all, map[string]string{"Host": "evil.example"}),
		} {
			if try < 400 && name != "GET" {
				t.Errorf("%s: %d", name, try)
			}
		}
		if g := b.raw(t, request(place), 1); g.body != before.body {
			t.Errorf("it is gone: %v", g)
		}
	})
	t.Run("a change behind a filter that moves the request", func(t *testing.T) {
		b.origin.reset(func(a *asked) string { return fresh("", fmt.Sprint(a.n)) })
		before := b.raw(t, request("/moved/a"), 1)
		b.raw(t, "PUT"+strings.TrimPrefix(request("/moved/a", "Content-Length: 0"), "GET"), 1)
		if g := b.raw(t, request("/moved/a"), 1); g.status != 200 || g.body == before.body {
			t.Errorf("what was there before the change: %v", g)
		}
	})
}

// consumers: with one key for all, and with one for each.
func (b *bed) consumers(t *testing.T) {
	for _, service := range []string{"shared", "each"} {
		for _, control := range []string{"private, max-age=60", "max-age=60", "no-store", "", "public, max-age=60\nVary: X-Consumer-Username"} {
			b.origin.reset(func(a *asked) string {
				fields := ""
				if control != "" {
					fields = "Cache-Control: " + control
				}
				return answer("200 OK", fields, "for "+a.Header.Get("X-Consumer-Username"))
			})
			place := b.place(service)
			for range 2 {
				for _, who := range []string{"one", "two"} {
					if g := b.raw(t, request(place, "X-API-Key: key-of-"+who), 1); g.body != "for "+who {
						t.Errorf("%s, %q: %s got %v", service, control, who, g)
					}
				}
				if g := b.raw(t, request(place), 1); g.status != 401 || strings.Contains(g.body, "for ") {
					t.Errorf("%s, %q: nobody got %v", service, control, g)
				}
			}
		}
	}
}

// purge asks the admin address; its status.
func (b *bed) purge(t *testing.T, method string, query url.Values, fields map[string]string) int {
	t.Helper()
	q, err := http.NewRequest(method, b.Admin+"/cache?"+query.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range fields {
		q.Header.Set(name, value)
	}
	if host, ok := fields["Host"]; ok {
		q.Host = host
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	_, _ = io.Copy(io.Discard, r.Body)
	return r.StatusCode
}
