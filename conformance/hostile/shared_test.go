package hostile

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// TestSharedInstances: filters of one namespace share instances if the image
// says so. One of them does harm at each request: once it has ended an instance
// that it shared it has instances of its own, and its neighbour's requests, which
// come between, all succeed.
func TestSharedInstances(t *testing.T) {
	layout, manifest := t.TempDir(), filepath.Join(t.TempDir(), "manifest.json")
	if err := os.WriteFile(manifest, []byte(`{"abi": "proxy-wasm", "multiConfig": true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Pack(t, layout, "harm", harness.Guest(t, "guests/harm"), "--manifest", manifest)
	upstream := harness.Upstream(t, harness.Echo)
	entry := func(harm string) string { return "- {image: \"test.example/plugins/harm:1\", config: " + harm + "}" }
	harms := []string{"request trap", "request spin", "request recurse", "request exit", "response trap", "done trap"}
	files := map[string]string{"gateway.yaml": harness.GatewayFor(1), "good.yaml": harness.Service("good", entry("nothing"), upstream)}
	for i, harm := range harms {
		files[fmt.Sprintf("bad%d.yaml", i)] = harness.Service(fmt.Sprintf("bad%d", i), entry(harm), upstream)
	}
	p := harness.Start(t, harness.Options{Files: files, Images: []string{layout}, Args: []string{"--access-log", "off"}})
	p.Eventually("all run", func() bool {
		for i := range harms {
			if p.Chain(fmt.Sprintf("Service/default/bad%d", i)).State != "Running" {
				return false
			}
		}
		return p.Chain("Service/default/good").State == "Running"
	})
	shared := regexp.MustCompile(`penstock_plugin_instances\{filter="shared/[0-9a-f]{12}",owner="Namespace/default"\} [1-9]`)
	if !shared.MatchString(p.Metrics()) {
		t.Error("no instances are shared")
	}
	for round := range 5 {
		for i, harm := range harms {
			harmed(t, p, fmt.Sprintf("bad%d", i))
			time.Sleep(5 * time.Millisecond) // the end of an exchange comes after its answer
			if got := harmed(t, p, "good"); got != http.StatusOK {
				t.Errorf("round %d, after %q: the neighbour got %d", round, harm, got)
			}
		}
	}
	for i, harm := range harms {
		own := regexp.MustCompile(fmt.Sprintf(`penstock_plugin_failures_total\{cause="\w+",filter="service/harm",owner="Service/default/bad%d"\} [1-9]`, i))
		if !own.MatchString(p.Metrics()) {
			t.Errorf("%s: its failures are not counted for it", harm)
		}
	}
	if regexp.MustCompile(`penstock_plugin_failures_total\{[^}]*owner="Service/default/good"`).MatchString(p.Metrics()) {
		t.Error("failures are counted for the neighbour")
	}
}
