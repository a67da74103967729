package translate_test

import (
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
)

// parts returns the faults of the Services' parts by Service; "" runs.
func faults(c *config.Config) map[string]string {
	m := map[string]string{}
	for _, e := range c.Gateways[0].Listeners[0].Routes.Entries {
		for _, r := range e.Route.Rules {
			for _, b := range r.Backends {
				if b.Chain == nil {
					continue
				}
				for _, p := range b.Chain.Parts {
					if p.Name == "service" {
						m[p.Object.Name] = ""
						if p.Fault != nil {
							m[p.Object.Name] = p.Fault.Reason + ": " + p.Fault.Message
						}
					}
				}
			}
		}
	}
	return m
}

const totalsPolicy = `apiVersion: penstock.dev/v1alpha1
kind: PluginPolicy
metadata: {name: small}
spec: {namespaceSelector: {}, limits: {totals: {filters: 3}}}
---
apiVersion: penstock.dev/v1alpha1
kind: PluginPolicy
metadata: {name: wide}
spec: {namespaceSelector: {}, limits: {totals: {filters: 50}}, overrides: {before: [{use: transform}, {use: transform, name: b}]}}
`

func TestFiltersOfANamespaceAreCounted(t *testing.T) {
	f := newFolder(t)
	f.write("policy.yaml", totalsPolicy)
	f.write("m.yaml", service("m", "[transform, {use: transform, name: b}]", ""))
	if got := faults(f.load()); got["m"] != "" {
		t.Fatalf("got %v", got)
	}
	// What is there first stays, whatever the order of names.
	f.write("a.yaml", service("a", "[transform, {use: transform, name: b}]", ""))
	got := faults(f.load())
	want := "RefusedByPolicy: Service/default/a: it has 2 filters, and namespace default may have 3 in all by PluginPolicy small (spec.limits.totals.filters): the others have 2; remove filters, or raise it"
	if got["m"] != "" || got["a"] != want {
		t.Fatalf("got %v; want %s", got, want)
	}
	again := f.load()
	if f.load() != again {
		t.Error("a refused part makes a new config each time")
	}
	// It grows: refused as well, and the room goes to the other.
	f.write("m.yaml", service("m", "[transform, {use: transform, name: b}, {use: transform, name: c}, {use: transform, name: d}]", ""))
	if got := faults(f.load()); !strings.Contains(got["m"], "it has 4 filters") || got["a"] != "" {
		t.Errorf("got %v; want a to run in place of m", got)
	}
	// A part that goes makes room in the same translation.
	f.write("m.yaml", service("m", "[transform, {use: transform, name: b}]", ""))
	f.write("a.yaml", service("a", "[]", ""))
	if got := faults(f.load()); got["m"] != "" {
		t.Errorf("got %v; want m to run: a has gone", got)
	}
}

// TestWhatCountsAsAFilter: a Service's filters count once, for however many
// ports and routes; a canary is one more, and gives way; a policy's own do not count.
func TestWhatCountsAsAFilter(t *testing.T) {
	f := newFolder(t)
	f.write("policy.yaml", strings.Replace(totalsPolicy, "filters: 3", "filters: 2", 1))
	two := strings.Replace(service("s", "[transform, {use: transform, name: b}]", ""), "ports: [{name: http, port: 80}]", "ports: [{name: http, port: 80}, {name: other, port: 81}]", 1)
	two = strings.Replace(two, "rules: [", "rules: [{matches: [{path: {value: /other}}], backendRefs: [{name: s, port: 81}]}, ", 1)
	f.write("s.yaml", two)
	if got := faults(f.load()); len(got) != 1 || got["s"] != "" {
		t.Errorf("two ports: got %v", got)
	}
	f.write("s.yaml", service("s", "[transform, {use: transform, name: b, canary: {use: transform, weight: 1, mode: shadow}}]", ""))
	p := part(t, f.load())
	want := "(b): canary: it is one filter more, and namespace default may have 2 in all by PluginPolicy small (spec.limits.totals.filters); the filter itself runs for all exchanges"
	if p.Fault != nil || len(p.Filters) != 2 || p.Filters[1].Canary.Filter != nil || p.Filters[1].Canary.Fault.Message != want {
		t.Errorf("a canary: got %+v, %+v; want %s", p.Fault, p.Filters, want)
	}
	f.write("policy.yaml", totalsPolicy)
	if p := part(t, f.load()); p.Fault != nil || p.Filters[1].Canary.Filter == nil {
		t.Errorf("with room for it: got %+v, %+v", p.Fault, p.Filters[1].Canary)
	}
}

func TestTotalsAreTheSmallestOfAllPolicies(t *testing.T) {
	f := newFolder(t)
	f.write("s.yaml", service("s", "[transform]", ""))
	if c := f.load(); len(c.Totals) != 0 {
		t.Fatalf("got %v; want the defaults", c.Totals)
	}
	f.write("policy.yaml", `apiVersion: penstock.dev/v1alpha1
kind: PluginPolicy
metadata: {name: a}
spec: {namespaceSelector: {}, limits: {totals: {filters: 20000, memory: 1Gi, cpuShare: 50, moduleSize: 4Mi}}}
---
apiVersion: penstock.dev/v1alpha1
kind: PluginPolicy
metadata: {name: b}
spec: {namespaceSelector: {}, limits: {totals: {memory: 512Mi, cpuShare: 80, compilesPerHour: 5, metricSeries: 0}}}
`)
	c := f.load()
	got := c.Totals["default"]
	want := &config.Totals{Filters: 20000, MemoryBytes: 512 << 20, CPUPercent: 50, CompilesPerHour: 5, ModuleBytes: 4 << 20, MetricSeries: 0,
		Policies: map[string]string{"filters": "a", "memory": "b", "cpuShare": "a", "compilesPerHour": "b", "moduleSize": "a", "metricSeries": "b"}}
	if got == nil || got.Filters != want.Filters || got.MemoryBytes != want.MemoryBytes || got.CPUPercent != want.CPUPercent || got.CompilesPerHour != want.CompilesPerHour ||
		got.ModuleBytes != want.ModuleBytes || got.MetricSeries != want.MetricSeries {
		t.Fatalf("got %+v; want %+v", got, want)
	}
	for field, policy := range want.Policies {
		if got.Policies[field] != policy {
			t.Errorf("%s: got %s; want %s", field, got.Policies[field], policy)
		}
	}
	if s := part(t, c).Filters[0]; s.ModuleBytes != 4<<20 || s.ModuleSource != "PluginPolicy a (spec.limits.totals.moduleSize)" {
		t.Errorf("got %d by %s", s.ModuleBytes, s.ModuleSource)
	}
	if again := f.load(); again != c {
		t.Error("nothing changed, and the config is another")
	}
}

func TestTotalsOutOfRangeCloseTheNamespace(t *testing.T) {
	for totals, want := range map[string]string{
		"filters: -1":              "spec.limits.totals: filters: -1: want 0 to 100000",
		"memory: 1Ki":              `spec.limits.totals: memory: "1Ki": want a size from 1Mi to 1024Gi`,
		"cpuShare: 0":              "spec.limits.totals: cpuShare: 0: want 1 to 10000",
		"compilesPerHour: 100000":  "spec.limits.totals: compilesPerHour: 100000: want 0 to 10000",
		"moduleSize: 65Mi":         `spec.limits.totals: moduleSize: "65Mi": want a size from 1Ki to 64Mi`,
		"metricSeries: -5":         "spec.limits.totals: metricSeries: -5: want 0 to 100000",
		"memory: much":             `spec.limits.totals: memory: "much": want a size from 1Mi to 1024Gi`,
		"filters: -1, cpuShare: 0": "spec.limits.totals: filters: -1: want 0 to 100000; cpuShare: 0: want 1 to 10000",
	} {
		t.Run(totals, func(t *testing.T) {
			f := newFolder(t)
			f.write("s.yaml", service("s", "[transform]", ""))
			f.write("policy.yaml", "apiVersion: penstock.dev/v1alpha1\nkind: PluginPolicy\nmetadata: {name: p}\nspec: {namespaceSelector: {}, limits: {totals: {"+totals+"}}}\n")
			c := f.load()
			p := part(t, c)
			message := "PluginPolicy p cannot be applied: " + want
			if p.Fault == nil || p.Fault.Reason != "RefusedByPolicy" || p.Fault.Message != message {
				t.Errorf("got %+v; want %s", p.Fault, message)
			}
		})
	}
}
