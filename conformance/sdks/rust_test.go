package sdks

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

func rustFolder() string { return filepath.Join(here(), "..", "..", "wasm-sdk", "rust") }

// TestRustUnits runs the SDK's own tests, on this machine.
func TestRustUnits(t *testing.T) { cargo(t, rustFolder(), "test", "--locked") }

// TestRustReadme: the examples of the README are, together, a plugin that builds and links
// where the README says, and has the same bytes in any folder.
func TestRustReadme(t *testing.T) {
	sources := "use std::{cell::RefCell, error::Error, rc::Rc, time::Duration};\n\nuse penstock::{Context, Counter, Grpc, GrpcStatus, Queue};\n\n"
	// What a section says of a trait is a part of its one implementation.
	part := regexp.MustCompile(`(?ms)^(impl sdk::\w+ for \w+) \{\n(.*?)^\}\n`)
	parts := map[string]string{}
	for _, block := range rustSDK.Readme(t) {
		for _, p := range part.FindAllStringSubmatch(block, -1) {
			parts[p[1]] += p[2]
		}
		sources += part.ReplaceAllString(block, "")
	}
	for _, head := range slices.Sorted(maps.Keys(parts)) {
		sources += head + " {\n" + parts[head] + "}\n"
	}
	text, err := os.ReadFile(filepath.Join(rustFolder(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, argument := range wasm {
		if !strings.Contains(string(text), argument) {
			t.Errorf("the README does not build with %s, as this test does", argument)
		}
	}
	_, manifest, _ := strings.Cut(string(text), "```toml\n")
	manifest, _, _ = strings.Cut(manifest, "```")

	var modules [2][]byte
	for i := range modules {
		dir := filepath.Join(t.TempDir(), strings.Repeat("deeper/", i), "plugin")
		if err := os.CopyFS(filepath.Join(dir, "penstock"), os.DirFS(rustFolder())); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"Cargo.toml": manifest, "src/lib.rs": sources} {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cargo(t, dir, "generate-lockfile")
		if modules[i], err = os.ReadFile(rustSDK.Build(t, dir)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(modules[0], modules[1]) {
		t.Errorf("%d and %d bytes, which differ; want the same in any folder", len(modules[0]), len(modules[1]))
	}
}

// grant answers as the guest calls reads it.
func grant(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Trailer", "X-Sum")
	_, _ = io.WriteString(w, "granted")
	w.Header().Set("X-Sum", "7a")
}

// TestRustInstances: many requests use memory again, also when their calls are not awaited; two
// configurations in one instance keep apart; a panic's message is in the log.
func TestRustInstances(t *testing.T) {
	layout, manifest := t.TempDir(), filepath.Join(t.TempDir(), "manifest.json")
	if err := os.WriteFile(manifest, []byte(`{"abi": "proxy-wasm", "multiConfig": true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bodies", "calls", "grpc"} {
		harness.Pack(t, layout, name, rustSDK.Guest(t, name))
	}
	harness.Pack(t, layout, "state", rustSDK.Guest(t, "state"), "--manifest", manifest)
	port := harness.Upstream(t, harness.Echo)
	entry := func(name, config string) string {
		return "- image: test.example/plugins/" + name + ":1\n  config: " + config + "\n  limits: {cpuTime: 200ms, cpuTimeExchange: 1s}"
	}
	const plugin = `
apiVersion: penstock.dev/v1alpha1
kind: Plugin
metadata: {name: calls}
spec:
  versions: [{name: "1", image: "test.example/plugins/calls:1"}]
  capabilities: [http-call]
  egress: [{hostname: localhost}]
`
	files := map[string]string{
		"gateway.yaml": harness.GatewayFor(1), "plugin.yaml": plugin, "auth.yaml": harness.Service("auth", "", harness.Upstream(t, grant)),
		"calls.yaml": harness.Service("calls", "- use: calls\n  config: outbound|80||auth.default.svc.cluster.local", port),
	}
	for name, config := range map[string]string{"bodies": "x", "grpc": "x", "one": `{greeting: "one"}`, "two": `{greeting: "two"}`} {
		image := name
		if strings.HasPrefix(config, "{") {
			image = "state"
		}
		files[name+".yaml"] = harness.Service(name, entry(image, config), port)
	}
	p := harness.Start(t, harness.Options{Images: []string{layout}, Files: files, Args: []string{"--access-log", "off"}})
	for _, name := range []string{"bodies", "calls", "grpc", "one", "two"} {
		p.Eventually(name+" runs", func() bool { return p.Chain("Service/default/"+name).State == "Running" })
	}
	send := func(name, what string) (int, http.Header) {
		t.Helper()
		r, err := http.NewRequest("POST", p.URL+"/"+name, strings.NewReader(strings.Repeat("x", 20_000)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"X-Do": {what}, "X-Messages": {what}, "X-Long": {strings.Repeat("x", 100)}}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, response.Header
	}

	for _, name := range []string{"one", "two", "one"} {
		if _, h := send(name, ""); h.Get("X-Got-X-Greeting") != name+" 0" {
			t.Errorf("%s: got the greeting %q", name, h.Get("X-Got-X-Greeting"))
		}
	}
	// Two may be there: a request makes one more while the one before has its last callbacks.
	shared := regexp.MustCompile(`penstock_plugin_instances\{filter="shared/[0-9a-f]{12}",owner="Namespace/default"\} [12]\n`)
	own := regexp.MustCompile(`penstock_plugin_instances\{filter="service/state",.*\} [1-9]`)
	if metrics := p.Metrics(); !shared.MatchString(metrics) || own.MatchString(metrics) {
		t.Errorf("the instances are not shared: %q", regexp.MustCompile(`penstock_plugin_instances\{.*`).FindAllString(metrics, -1))
	}

	if status, _ := send("grpc", "no digits"); status < 500 {
		t.Errorf("a panic: got %d", status)
	}
	p.Logged("panicked at grpc/lib.rs")
	p.Logged("InvalidDigit")

	each := func(name string) int { // bytes
		number := func(metric string) int {
			m := regexp.MustCompile(fmt.Sprintf(`%s\{filter="service/%[2]s",owner="Service/default/%[2]s"\} ([0-9.e+]+)`, metric, name)).FindStringSubmatch(p.Metrics())
			if m == nil {
				t.Fatalf("%s has no %s", name, metric)
			}
			n, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		instances := number("penstock_plugin_instances")
		if instances == 0 {
			t.Fatalf("%s has no instance", name)
		}
		return number("penstock_plugin_memory_bytes") / instances
	}
	load := func(rounds int) {
		t.Helper()
		for range rounds {
			for _, what := range []string{"all", "allocations", "upper", "append", "range", "whole"} {
				if status, _ := send("bodies", what); status != http.StatusOK {
					t.Fatalf("bodies, %s: got %d", what, status)
				}
			}
			for what, want := range map[string]int{"good": 200, "leave": 200, "twice": 200, "never": 400, "unknown": 400} {
				if status, _ := send("calls", what); status != want {
					t.Fatalf("calls, %s: got %d; want %d", what, status, want)
				}
			}
		}
	}
	load(30)
	before := [2]int{each("bodies"), each("calls")}
	load(600)
	if after := [2]int{each("bodies"), each("calls")}; after != before {
		t.Errorf("%v bytes after 30 rounds of requests, %v after 600 more; want the same", before, after)
	}
}
