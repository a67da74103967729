package translate_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/translate"
)

const gatewayText = common + `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: penstock
  listeners: [{name: http, protocol: HTTP, port: 80}]
---
`

func service(name, annotation, more string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Service
metadata:
  name: %s
  annotations: {"penstock.dev/plugins": %q%s}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[1]s}
spec:
  parentRefs: [{name: edge}]
  rules: [{matches: [{path: {value: /%[1]s}}], backendRefs: [{name: %[1]s, port: 80}]}]
---
`, name, annotation, more)
}

// folder is a Translator behind files that a test rewrites.
type folder struct {
	t   *testing.T
	dir string
	tr  *translate.Translator
	ran map[string]bool
	now time.Time
}

func newFolder(t *testing.T) *folder {
	f := &folder{t: t, dir: t.TempDir(), ran: map[string]bool{}, now: time.Unix(1000, 0)}
	o := options()
	o.Ran = func(hash string) bool { return f.ran[hash] }
	o.Now = func() time.Time { return f.now }
	f.tr = translate.New(o)
	f.write("gateway.yaml", gatewayText)
	return f
}

func (f *folder) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *folder) load() *config.Config {
	f.t.Helper()
	c, _ := load(f.t, f.dir, f.tr)
	return c
}

// part returns the Service's part of the first route.
func part(t *testing.T, c *config.Config) *config.Part {
	t.Helper()
	chain := c.Gateways[0].Listeners[0].Routes.Entries[0].Route.Rules[0].Backends[0].Chain
	if chain == nil {
		return nil
	}
	return chain.Parts[len(chain.Parts)-1]
}

func TestAChangeTouchesWhatItChanges(t *testing.T) {
	f := newFolder(t)
	const n = 1000
	var all strings.Builder
	for i := range n {
		all.WriteString(service(fmt.Sprintf("s%d", i), "[transform]", ""))
	}
	f.write("services.yaml", all.String())
	first := f.load()
	if f.load() != first {
		t.Error("nothing changed, and the config is another")
	}
	f.write("services.yaml", strings.Replace(all.String(), "path: {value: /s7}", "path: {value: /changed}", 1))
	second := f.load()
	if second == first {
		t.Fatal("a change was not seen")
	}
	before, after := first.Gateways[0].Listeners[0].Routes.Entries, second.Gateways[0].Listeners[0].Routes.Entries
	changed := 0
	for i := range before {
		if before[i].Route != after[i].Route {
			changed++
		}
	}
	if changed != 1 || len(after) != n {
		t.Errorf("%d of %d routes are new; want 1 of %d", changed, len(after), n)
	}
	for name, u := range first.Upstreams {
		if second.Upstreams[name] != u || second.Endpoints.Of(name) != first.Endpoints.Of(name) {
			t.Fatalf("upstream %s is new", name)
		}
	}
}

func TestLastGood(t *testing.T) {
	good := "[{use: transform, config: {request: {path: {set: /a}}}}]"
	tests := map[string]struct {
		text, more string
		want       bool // last good may serve
	}{
		"text that cannot be parsed":        {"[{use: [", "", true},
		"an unknown catalogue entry":        {"[nobody]", "", true},
		"a new text that has not run yet":   {"[{use: transform, config: {request: {path: {set: /b}}}}]", "", true},
		"on-invalid: reject":                {"[nobody]", `, "penstock.dev/on-invalid": reject`, false},
		"a policy's refusal":                {"[{image: 'r.example/x:1'}]", "", false},
		"a missing Secret":                  {"[{use: transform, configFrom: [{secretKeyRef: {name: x, key: y}}]}]", "", false},
		"a guard that last good lacks":      {"[key-auth]", "", false},
		"a guard beside something unknown":  {"[key-auth, nobody]", "", false},
		"an unknown annotation of our own":  {good, `, "penstock.dev/other": x`, true},
		"a bad value of on-invalid, broken": {"[nobody]", `, "penstock.dev/on-invalid": maybe`, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			f.write("s.yaml", service("s", good, ""))
			first := part(t, f.load())
			if first.Fallback != nil {
				t.Fatal("a first part has a last good form")
			}
			f.ran[first.Hash] = true
			f.load()
			f.write("s.yaml", service("s", test.text, test.more))
			p := part(t, f.load())
			if (p.Fallback != nil) != test.want {
				t.Fatalf("got fallback %v, fault %+v; want %v", p.Fallback, p.Fault, test.want)
			}
			if p.Fallback == nil {
				return
			}
			if p.Fallback.Hash != first.Hash || !p.FallbackUntil.Equal(f.now.Add(time.Hour)) {
				t.Errorf("got %s until %v; want the first part for an hour", p.Fallback.Hash, p.FallbackUntil)
			}
			f.now = f.now.Add(30 * time.Minute)
			if again := part(t, f.load()); again != p {
				t.Error("time alone made another part")
			}
			if p.Fault == nil { // once the new one has run it needs nobody
				f.ran[p.Hash] = true
				if again := part(t, f.load()); again.Fallback != nil {
					t.Error("a part that ran still has a last good form")
				}
			}
		})
	}
}

// TestLastGoodKnowsStoredManifests: an image is a guard by what its stored manifest says,
// also beside something that cannot be resolved.
func TestLastGoodKnowsStoredManifests(t *testing.T) {
	const good = "[{use: transform, config: {request: {path: {set: /a}}}}]"
	plugin := pluginText("own", `versions: [{name: "1", image: "r.example/manifest-guard:1"}]`)
	tests := map[string]struct {
		before, after string
		want          bool // last good may serve
	}{
		"an image beside something unknown":         {good, "[{image: 'r.example/manifest-guard:1'}, nobody]", false},
		"a Plugin's image beside something unknown": {good, "[own, nobody]", false},
		"it ran before":                               {"[{image: 'r.example/manifest-guard:1'}]", "[{image: 'r.example/manifest-guard:2'}, nobody]", true},
		"an image of which nothing is stored":         {good, "[{image: 'r.example/never-pulled:1'}, nobody]", true},
		"in a chain, with an image that policy knows": {good, "[{chain: c}, nobody]", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			o := options()
			o.Ran, o.Now = func(hash string) bool { return f.ran[hash] }, func() time.Time { return f.now }
			o.GuardImage = func(image string) bool { return strings.HasPrefix(image, "r.example/manifest-guard:") }
			f.tr = translate.New(o)
			f.write("objects.yaml", policyText("p", anyOf)+plugin+"apiVersion: penstock.dev/v1alpha1\nkind: PluginChain\nmetadata: {name: c, namespace: default}\nspec: {plugins: [{name: x, image: 'r.example/manifest-guard:1'}]}\n")
			f.write("s.yaml", service("s", test.before, ""))
			first := part(t, f.load())
			if first.Fault != nil {
				t.Fatalf("got %+v", first.Fault)
			}
			f.ran[first.Hash] = true
			f.load()
			f.write("s.yaml", service("s", test.after, ""))
			if p := part(t, f.load()); p.Fault == nil || (p.Fallback != nil) != test.want {
				t.Errorf("got fault %+v, fallback %v; want %v", p.Fault, p.Fallback, test.want)
			}
		})
	}
}

func TestPolicyTakesLastGoodAway(t *testing.T) {
	f := newFolder(t)
	policy := `apiVersion: penstock.dev/v1alpha1
kind: PluginPolicy
metadata: {name: p}
spec: {namespaceSelector: {}, images: [{prefix: r.example, unsigned: true, allowTags: true}]}
`
	f.write("policy.yaml", policy)
	f.write("s.yaml", service("s", "[{image: 'r.example/x:1'}]", ""))
	p := part(t, f.load())
	f.ran[p.Hash] = true
	f.load()
	f.write("s.yaml", service("s", "[nobody]", ""))
	if p = part(t, f.load()); p.Fallback == nil {
		t.Fatal("no last good form")
	}
	f.write("policy.yaml", strings.Replace(policy, "r.example", "other.example", 1))
	if p = part(t, f.load()); p.Fallback != nil {
		t.Error("last good serves though the policy no longer admits it")
	}
}

func TestPreviousIsWhatRanBeforeTheChange(t *testing.T) {
	text := func(path string) string {
		return service("s", "[{use: transform, config: {request: {path: {set: "+path+"}}}}]", "")
	}
	f := newFolder(t)
	f.write("s.yaml", text("/a"))
	a := part(t, f.load())
	if a.Previous != nil {
		t.Fatal("a first part has a previous form")
	}
	f.ran[a.Hash] = true
	changed := f.now
	f.write("s.yaml", text("/b"))
	b := part(t, f.load())
	if b.Previous == nil || b.Previous.Hash != a.Hash || !b.PreviousUntil.Equal(changed.Add(10*time.Minute)) {
		t.Fatalf("got %+v until %v; want the first part for 10 minutes", b.Previous, b.PreviousUntil)
	}
	f.now = f.now.Add(time.Minute)
	f.ran[b.Hash] = true
	if again := part(t, f.load()); again.Previous == nil || again.Previous.Hash != a.Hash || !again.PreviousUntil.Equal(changed.Add(10*time.Minute)) {
		t.Error("the previous form went away once the new one ran")
	}
	// The second form was rolled back: the third one's previous form is the first.
	delete(f.ran, b.Hash)
	f.write("s.yaml", text("/c"))
	if c := part(t, f.load()); c.Previous == nil || c.Previous.Hash != a.Hash || c.Fallback == nil || c.Fallback.Hash != a.Hash {
		t.Errorf("got previous %+v, last good %+v; want the first part", c.Previous, c.Fallback)
	}
}
