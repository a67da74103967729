package seeing

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// ask sends a request whose field X-Do is that, and returns its answer.
func ask(t *testing.T, url, do string) *http.Response {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Do", do)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response
}

// metric returns the value of a filter's series; ok is false if there is none.
func metric(p *harness.Proxy, name, owner, more string) (value float64, ok bool) {
	form := regexp.MustCompile(`(?m)^` + name + `\{` + more + `filter="[^"]*",owner="` + regexp.QuoteMeta(owner) + `"` + `[^}]*\} (\S+)$`)
	m := form.FindStringSubmatch(p.Metrics())
	if m == nil {
		return 0, false
	}
	v, err := strconv.ParseFloat(m[1], 64)
	return v, err == nil
}

// TestNumbers: /chains says of each filter where it is from and what it does; so
// do the metrics; both move as they should, and end with their object.
func TestNumbers(t *testing.T) {
	layout := t.TempDir()
	harness.Pack(t, layout, "seen", harness.Guest(t, "guests/seen"))
	harness.Pack(t, layout, "many", harness.Guest(t, "../httpwasm/guests/many"))
	upstream := harness.Upstream(t, harness.Echo)
	const limits = "\n  limits: {cpuTime: 200ms, cpuTimeExchange: 1s}"
	const transform = "- use: transform\n  config: {response: {headers: {set: {X-A: b}}}}"
	p := harness.Start(t, harness.Options{
		Files: map[string]string{
			"gateway.yaml": harness.GatewayFor(1),
			"plugin.yaml": `
apiVersion: penstock.dev/v1alpha1
kind: Plugin
metadata: {name: listed}
spec: {versions: [{name: "7", image: "test.example/plugins/seen:1"}]}
`,
			"own.yaml":    harness.Service("own", "- image: test.example/plugins/seen:1\n  config: {}"+limits, upstream),
			"listed.yaml": harness.Service("listed", "- use: listed@7\n  config: {}"+limits, upstream),
			"http.yaml":   harness.Service("http", "- image: test.example/plugins/many:1\n  config: x"+limits, upstream),
			"a.yaml":      harness.Service("a", transform, upstream),
			"b.yaml":      harness.Service("b", transform, upstream),
		},
		Images: []string{harness.BundledPlugins(t), layout},
		Args:   []string{"--access-log", "off"},
	})
	filter := func(service string) harness.Filter {
		t.Helper()
		c := p.Chain("Service/default/" + service)
		if len(c.Filters) != 1 {
			t.Fatalf("%s: got %+v; want one filter", service, c)
		}
		return c.Filters[0]
	}
	for service, origin := range map[string][2]string{"own": {"", ""}, "http": {"", ""}, "listed": {"Plugin/listed", "7"}, "a": {"bundled/transform", "1"}} {
		f := filter(service)
		if o := f.Origin; o.Object != "Service/default/"+service || o.Part != "service" || [2]string{o.Plugin, o.Version} != origin {
			t.Errorf("%s: got origin %+v; want %v", service, o, origin)
		}
		if f.State != "Ready" || !strings.HasPrefix(f.Digest, "sha256:") || f.Since.IsZero() || f.Starts < 1 {
			t.Errorf("%s: got %+v", service, f)
		}
		for range 20 {
			if r := ask(t, p.URL+"/"+service, ""); r.StatusCode != 200 {
				t.Fatalf("%s: got %d", service, r.StatusCode)
			}
		}
		after := filter(service)
		if after.Calls < f.Calls+20 || after.Steps <= f.Steps || after.Seconds <= f.Seconds || after.Instances < 1 || after.MemoryBytes < 1<<16 || len(after.Failures) > 0 {
			t.Errorf("%s: got %+v after 20 requests, %+v before", service, after, f)
		}
		if (after.Shared != "") != (service == "a") {
			t.Errorf("%s: got shared %q", service, after.Shared)
		}
		p.Eventually(service+": the metrics are what /chains says", func() bool { // the last calls come after the response
			f := filter(service)
			calls, _ := metric(p, "penstock_plugin_calls_total", "Service/default/"+service, "")
			steps, _ := metric(p, "penstock_plugin_steps_total", "Service/default/"+service, "")
			return calls == float64(f.Calls) && steps == float64(f.Steps)
		})
		if got, _ := metric(p, "penstock_filter_state", "Service/default/"+service, ""); got != 1 || !strings.Contains(p.Metrics(), `owner="Service/default/`+service+`",state="Ready"} 1`) {
			t.Errorf("%s: got state %v; want Ready", service, got)
		}
	}
	if a, b := filter("a"), filter("b"); a.Shared != b.Shared || !strings.HasPrefix(a.Shared, "Namespace/default shared/") || a.Starts != b.Starts || b.Calls >= a.Calls {
		t.Errorf("got %+v and %+v; want shared instances, and calls of each", a, b)
	}

	before := filter("own")
	for _, do := range []string{"trap", "trap", "spin", "exit"} {
		if r := ask(t, p.URL+"/own", do); r.StatusCode != 500 {
			t.Errorf("%s: got %d; want 500", do, r.StatusCode)
		}
		p.Eventually("it runs again", func() bool { return ask(t, p.URL+"/own", "").StatusCode == 200 })
	}
	f := filter("own")
	if got := fmt.Sprint(f.Failures); got != "map[cpu:1 exit:1 trap:2]" {
		t.Errorf("got failures %s", got)
	}
	if f.Starts < before.Starts+4 {
		t.Errorf("got %d starts, %d before; want 4 more", f.Starts, before.Starts)
	}
	for cause, want := range f.Failures {
		if got, _ := metric(p, "penstock_plugin_failures_total", "Service/default/own", `cause="`+cause+`",`); got != float64(want) {
			t.Errorf("%s: the metric says %v; /chains %d", cause, got, want)
		}
	}
	for name, want := range map[string]float64{"penstock_plugin_starts_total": float64(f.Starts), "penstock_plugin_instances": float64(f.Instances), "penstock_plugin_memory_bytes": float64(f.MemoryBytes)} {
		if got, _ := metric(p, name, "Service/default/own", ""); got != want {
			t.Errorf("%s is %v; /chains says %v", name, got, want)
		}
	}

	gone := func(file, owner string) {
		t.Helper()
		if err := os.Remove(filepath.Join(p.Dir, file)); err != nil {
			t.Fatal(err)
		}
		p.Eventually("the series of "+owner+" are gone", func() bool { return !strings.Contains(p.Metrics(), `owner="`+owner+`"`) })
	}
	gone("own.yaml", "Service/default/own")
	gone("http.yaml", "Service/default/http")
	gone("a.yaml", "Service/default/a")
	if f := filter("b"); f.Instances < 1 {
		t.Errorf("got %+v; want b's instances to live on", f)
	}
	gone("b.yaml", "Namespace/default")
}
