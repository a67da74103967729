package hostile

import (
	"net/http"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// harmed asks a service so that its plugin does harm, and returns the status.
func harmed(t *testing.T, p *harness.Proxy, service string) int {
	t.Helper()
	r, err := http.NewRequest("GET", p.URL+"/"+service, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Harm", "1")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// state returns what /chains says of a service's filter called x; of several
// the one that has failed.
func state(p *harness.Proxy, service string) string {
	worst := ""
	for _, f := range p.Chain("Service/default/" + service).Filters {
		if worst == "" || f.State != "Ready" {
			worst = f.State
		}
	}
	return worst
}

// TestRollBack: a change that makes a filter fail is undone; without one, and
// for a guard, the filter goes into quarantine and is tried again.
func TestRollBack(t *testing.T) {
	layout := t.TempDir()
	guest := harness.Guest(t, "guests/bad")
	harness.Pack(t, layout, "bad", guest)
	harness.Pack(t, layout, "guard", guest) // an image that a guard names is a guard everywhere
	upstream := harness.Upstream(t, harness.Echo)
	entry := func(use, harm string) string { return "- " + use + "\n  name: x\n  config: " + harm }
	const image = "image: test.example/plugins/bad:1"
	files := map[string]string{
		"gateway.yaml": harness.GatewayFor(1),
		"plugin.yaml": `
apiVersion: penstock.dev/v1alpha1
kind: Plugin
metadata: {name: guarded}
spec:
  guard: true
  versions: [{name: "1", image: "test.example/plugins/guard:1"}]
`,
		"good.yaml":    harness.Service("good", entry(image, "nothing"), upstream),
		"changed.yaml": harness.Service("changed", entry(image, "nothing"), upstream),
		"guard.yaml":   harness.Service("guard", entry("use: guarded", "nothing"), upstream),
		"fresh.yaml":   harness.Service("fresh", entry(image, "trap"), upstream),
	}
	p := harness.Start(t, harness.Options{Files: files, Images: []string{layout}})
	services := []string{"good", "changed", "guard", "fresh"}
	running := func() bool {
		for _, s := range services {
			if p.Chain("Service/default/"+s).State != "Running" {
				return false
			}
		}
		return true
	}
	p.Eventually("all run", running)
	for _, s := range services[:3] {
		if got := harmed(t, p, s); got != 200 {
			t.Errorf("%s: got %d before the change; want 200", s, got)
		}
	}
	p.Write("changed.yaml", harness.Service("changed", entry(image, "trap"), upstream))
	p.Write("guard.yaml", harness.Service("guard", entry("use: guarded", "trap"), upstream))
	for _, s := range []string{"changed", "guard"} {
		p.Eventually(s+" runs its new form", func() bool { return harmed(t, p, s) == 500 })
	}

	p.Eventually("the change is undone", func() bool { return harmed(t, p, "changed") == 200 })
	if got := state(p, "changed"); got != "RolledBack" {
		t.Errorf("changed: got state %s; want RolledBack", got)
	}
	for _, s := range []string{"guard", "fresh"} {
		p.Eventually(s+" is in quarantine", func() bool { return harmed(t, p, s) == 500 && state(p, s) == "Quarantined" })
		p.Eventually(s+" is tried again", func() bool { return state(p, s) == "Ready" })
	}
	if got := harmed(t, p, "good"); got != 200 {
		t.Errorf("the same image on another Service: got %d; want 200", got)
	}
	metrics := p.Metrics()
	for _, want := range []string{`penstock_filter_rollbacks_total{filter="service/x",owner="Service/default/changed"} 1`, `penstock_filter_quarantines_total{filter="service/x",owner="Service/default/guard"}`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no metric %s", want)
		}
	}

	// A third form that works takes over; it does not go back to the one that failed.
	p.Write("changed.yaml", harness.Service("changed", entry(image, "twice"), upstream))
	p.Eventually("the third form runs", func() bool { return harmed(t, p, "changed") == 403 })
}
