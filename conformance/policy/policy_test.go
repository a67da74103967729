// Package policy tests what an operator sets for the plugins of others, and
// versions of a plugin side by side, against the built binary.
package policy

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// pack builds the guests that these tests share with hostile/: with X-Harm a
// request meets what their configuration says.
func pack(t *testing.T, names ...string) (layout string) {
	t.Helper()
	layout = t.TempDir()
	for _, name := range names {
		harness.Pack(t, layout, name, harness.Guest(t, "../hostile/guests/"+name))
	}
	return layout
}

func policy(name, spec string) string {
	return fmt.Sprintf("apiVersion: penstock.dev/v1alpha1\nkind: PluginPolicy\nmetadata: {name: %s}\nspec: {namespaceSelector: {}, images: [{prefix: test.example/plugins, unsigned: true, allowTags: true}], %s}\n", name, spec)
}

type answer struct {
	status     int
	body       string
	retryAfter string
	took       time.Duration
}

func ask(t *testing.T, p *harness.Proxy, path string, harm bool, body io.Reader) answer {
	t.Helper()
	method := "GET"
	if body != nil {
		method = "POST"
	}
	r, err := http.NewRequest(method, p.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if harm {
		r.Header.Set("X-Harm", "1")
	}
	start := time.Now()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, string(text), response.Header.Get("Retry-After"), time.Since(start)}
}

// canary is what /chains says of one.
type canary struct {
	Mode                           string
	WeightPercent                  int
	Digest, State, Reason, Message string
	Ran, Agrees, Differs, Failed   int
	Skipped                        int
}

func canaryOf(t *testing.T, p *harness.Proxy, target string) canary {
	t.Helper()
	r, err := http.Get(p.Admin + "/chains")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var reply struct {
		Chains []struct {
			Target  string
			Filters []struct{ Canary *canary }
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&reply); err != nil {
		t.Fatal(err)
	}
	for _, c := range reply.Chains {
		if c.Target == target && len(c.Filters) > 0 && c.Filters[0].Canary != nil {
			return *c.Filters[0].Canary
		}
	}
	return canary{}
}

func TestCanary(t *testing.T) {
	layout := pack(t, "bad", "harm")
	upstream := harness.Upstream(t, harness.Echo)
	entry := func(canary string) string {
		return "- image: test.example/plugins/harm:1\n  config: twice\n  canary: {" + canary + "}"
	}
	p := harness.Start(t, harness.Options{Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1),
		"live.yaml":    harness.Service("live", entry("image: 'test.example/plugins/bad:1', weight: 100, mode: live"), upstream),
		"half.yaml":    harness.Service("half", entry("image: 'test.example/plugins/bad:1', weight: 50, mode: live"), upstream),
		"shadow.yaml":  harness.Service("shadow", entry("image: 'test.example/plugins/bad:1', weight: 100, mode: shadow"), upstream),
		"gone.yaml":    harness.Service("gone", entry("image: 'test.example/plugins/nobody:1', weight: 100, mode: live"), upstream),
		"refused.yaml": harness.Service("refused", entry("image: 'other.example/plugins/bad:1', weight: 100, mode: live"), upstream),
	}, Images: []string{layout}})
	for _, name := range []string{"live", "half", "shadow"} {
		p.Eventually(name+" has its canary", func() bool { return canaryOf(t, p, "Service/default/"+name).State == "Ready" })
	}
	p.Eventually("it runs", func() bool { return ask(t, p, "/live", true, nil).status == 403 })
	t.Run("live", func(t *testing.T) {
		for range 20 {
			if got := ask(t, p, "/live", true, nil).status; got != 403 {
				t.Fatalf("got %d", got)
			}
		}
		if c := canaryOf(t, p, "Service/default/live"); c.Mode != "live" || c.WeightPercent != 100 || c.Ran < 20 || !strings.HasPrefix(c.Digest, "sha256:") {
			t.Errorf("got %+v", c)
		}
		if m := p.Metrics(); !strings.Contains(m, `penstock_filter_canary_total{filter="service/harm:canary",owner="Service/default/live",result="ran"}`) {
			t.Error("no metric")
		}
	})
	t.Run("half", func(t *testing.T) {
		n := 0
		for range 200 {
			if ask(t, p, "/half", true, nil).status == 403 {
				n++
			}
		}
		if n < 60 || n > 140 {
			t.Errorf("%d of 200; want about half", n)
		}
	})
	t.Run("shadow", func(t *testing.T) {
		for range 20 {
			if got := ask(t, p, "/shadow", true, strings.NewReader("body")); got.status != 200 {
				t.Fatalf("got %d: the shadow decided", got.status)
			}
			ask(t, p, "/shadow", false, nil)
		}
		p.Eventually("all are compared", func() bool {
			c := canaryOf(t, p, "Service/default/shadow")
			return c.Differs == 20 && c.Agrees == 20 && c.Failed == 0 && c.Skipped == 0
		})
	})
	t.Run("one that cannot load", func(t *testing.T) {
		for name, reason := range map[string]string{"gone": "ImageUnavailable", "refused": "RefusedByPolicy"} {
			p.Eventually(name+" is told", func() bool { return canaryOf(t, p, "Service/default/"+name).Reason == reason })
			if got := ask(t, p, "/"+name, true, nil).status; got != 200 {
				t.Errorf("%s: got %d; want the filter itself", name, got)
			}
		}
	})
}

func TestTotals(t *testing.T) {
	layout := pack(t, "harm")
	upstream := harness.Upstream(t, harness.Echo)
	harm := func(config string) string {
		return "- image: test.example/plugins/harm:1\n  config: " + config + "\n  limits: {cpuTime: 100ms, cpuTimeExchange: 1s}"
	}
	p := harness.Start(t, harness.Options{Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1),
		"policy.yaml":  policy("small", "limits: {totals: {filters: 2}}"),
		"a.yaml":       harness.Service("a", harm("request spin"), upstream),
		"b.yaml":       harness.Service("b", harm("request spin")+"\n- {use: nobody}", upstream),
	}, Images: []string{layout}})
	t.Run("filters", func(t *testing.T) {
		p.Write("b.yaml", harness.Service("b", harm("request spin")+"\n- image: test.example/plugins/harm:1\n  name: more", upstream))
		want := "Service/default/b: it has 2 filters, and namespace default may have 2 in all by PluginPolicy small (spec.limits.totals.filters): the others have 1; remove filters, or raise it"
		p.Eventually("b is refused", func() bool { return p.Chain("Service/default/b").Message == want })
		if got := ask(t, p, "/b", false, nil); got.status != 503 || !strings.Contains(got.body, "RefusedByPolicy") {
			t.Errorf("got %+v", got)
		}
		if got := ask(t, p, "/a", false, nil); got.status != 200 {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("module size", func(t *testing.T) {
		p.Write("policy.yaml", policy("small", "limits: {totals: {moduleSize: 64Ki}}"))
		p.Eventually("a is refused", func() bool {
			return strings.Contains(p.Chain("Service/default/a").Message, "at most 65536 by PluginPolicy small (spec.limits.totals.moduleSize): make it smaller, or raise it")
		})
		if got := ask(t, p, "/a", false, nil); got.status != 503 || !strings.Contains(got.body, "RefusedByPolicy") {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("memory", func(t *testing.T) {
		// What runs goes on, a new filter waits, and starts once it is raised.
		p.Write("b.yaml", harness.Service("b", "[]", upstream))
		p.Write("policy.yaml", policy("small", ""))
		p.Eventually("a runs", func() bool { return ask(t, p, "/a", false, nil).status == 200 })
		p.Write("policy.yaml", policy("small", "limits: {totals: {memory: 1Mi}}"))
		p.Write("c.yaml", harness.Service("c", harm("request trap"), upstream))
		p.Eventually("c waits", func() bool {
			f := p.Chain("Service/default/c").Filters
			return len(f) == 1 && f[0].State == "Compiling" && f[0].Reason == "RefusedByPolicy" && strings.Contains(f[0].Message, "by PluginPolicy small (spec.limits.totals.memory): run fewer or smaller filters, or raise it")
		})
		if got := ask(t, p, "/a", false, nil); got.status != 200 {
			t.Errorf("got %+v; want what runs to go on", got)
		}
		p.Write("policy.yaml", policy("small", ""))
		p.Eventually("c runs", func() bool { return ask(t, p, "/c", false, nil).status == 200 })
	})
	t.Run("CPU share", func(t *testing.T) {
		p.Write("policy.yaml", policy("small", "limits: {totals: {cpuShare: 1}}"))
		p.Eventually("it is spent", func() bool {
			got := ask(t, p, "/a", true, nil)
			if got.status != 500 && got.status != 503 {
				t.Fatalf("got %+v", got)
			}
			return got.status == 503 && got.retryAfter != "" && got.took < 5*time.Second
		})
		if m := p.Metrics(); !strings.Contains(m, `penstock_namespace_refusals_total{namespace="default",total="cpuShare"}`) {
			t.Error("no metric")
		}
		p.Write("policy.yaml", policy("small", ""))
		p.Eventually("it has enough again", func() bool { return ask(t, p, "/a", false, nil).status == 200 })
	})
}

func TestBodyBudget(t *testing.T) {
	layout := pack(t, "harm")
	upstream := harness.Upstream(t, harness.Echo)
	p := harness.Start(t, harness.Options{Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1),
		"a.yaml":       harness.Service("a", "- image: test.example/plugins/harm:1\n  config: body pause", upstream),
	}, Images: []string{layout}, Args: []string{"--memory-limit", "4Mi"}}) // 1 MiB of bodies, 256 KiB for a namespace
	p.Eventually("it runs", func() bool { return ask(t, p, "/a", false, nil).status == 200 })
	if got := ask(t, p, "/a", false, strings.NewReader(strings.Repeat("x", 512<<10))); got.status != 200 {
		t.Errorf("a body that nobody holds back: got %+v", got.status)
	}
	got := ask(t, p, "/a", true, strings.NewReader(strings.Repeat("x", 512<<10)))
	if got.status != 503 || got.retryAfter == "" {
		t.Errorf("got %d, Retry-After %q; want 503 and Retry-After", got.status, got.retryAfter)
	}
	p.Eventually("all is given back", func() bool { return strings.Contains(p.Metrics(), "penstock_filter_body_held_bytes 0\n") })
	m := p.Metrics()
	for _, want := range []string{"penstock_filter_body_refusals_total 1\n", "penstock_filter_body_budget_bytes 1.048576e+06\n"} {
		if !strings.Contains(m, want) {
			t.Errorf("no metric %s", want)
		}
	}
}

func TestDefaults(t *testing.T) {
	layout := pack(t, "bad")
	upstream := harness.Upstream(t, harness.Echo)
	p := harness.Start(t, harness.Options{Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1),
		"policy.yaml":  policy("d", "defaults: {plugins: [{image: 'test.example/plugins/bad:1', config: twice}]}"),
		"silent.yaml":  harness.Service("silent", "", upstream),
		"out.yaml":     harness.Service("out", "[]", upstream),
	}, Images: []string{layout}})
	p.Eventually("the default runs", func() bool { return ask(t, p, "/silent", true, nil).status == 403 })
	if got := ask(t, p, "/out", true, nil).status; got != 200 {
		t.Errorf("a Service that opted out: got %d", got)
	}
	if c := p.Chain("PluginPolicy/d"); c.State != "Running" || c.Part != "policy" {
		t.Errorf("got %+v", c)
	}
}
