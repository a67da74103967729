package catalogue

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// wrong is a configuration that the schema does not allow, as author/schema makes it.
type wrong struct {
	Path, Pointer, Name, What string
	Config, Right             json.RawMessage
}

// wrongs are those of a plugin's schema.
func wrongs(t *testing.T, dir string) (all []wrong) {
	t.Helper()
	c := exec.Command("go", "run", "./author/schema/wrong", "plugins-src/"+filepath.Base(dir)+"/schema.json")
	c.Dir = "../.."
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) < 3 {
		t.Fatalf("%d wrong configurations", len(all))
	}
	return all
}

// TestWrongConfigs: the schema refuses what it does not allow, with the field's path, and
// so does the plugin without it; both take the same with the fault taken away.
func TestWrongConfigs(t *testing.T) {
	each(t, func(t *testing.T, name, dir string) {
		if name == "waf" { // it takes a second to start, each time
			harness.Long(t)
		}
		all := wrongs(t, dir)
		t.Run("penstock check", func(t *testing.T) { checkAll(t, name, all) })
		t.Run("the plugin", func(t *testing.T) { tryAll(t, name, dir, all) })
	})
}

// checkAll has penstock check look at a Service for each configuration.
func checkAll(t *testing.T, name string, all []wrong) {
	objects := class + "---" + strings.ReplaceAll(gateway, "${PORT}", "8080") + "---\n"
	rights := map[string]string{}
	for i, w := range all {
		objects += service(fmt.Sprintf("wrong-%d", i), name, string(w.Config))
		if _, ok := rights[string(w.Right)]; !ok {
			rights[string(w.Right)] = fmt.Sprintf("right-%d", i)
			objects += service(rights[string(w.Right)], name, string(w.Right))
		}
	}
	out, _, code := harness.Check(t, map[string]string{"all.yaml": objects}, "--images", harness.BundledPlugins(t))
	if code != 1 {
		t.Fatalf("exit code %d; want 1\n%s", code, out)
	}
	said := func(service string) string {
		for line := range strings.Lines(out) {
			if strings.Contains(line, "error: Service/default/"+service+": ") {
				return line
			}
		}
		return ""
	}
	for i, w := range all {
		line := said(fmt.Sprintf("wrong-%d", i))
		if !strings.Contains(line, ": "+w.Pointer+": ") || !strings.Contains(line, w.Name) {
			t.Errorf("%s (%s): %s: got %q; want %s", w.Path, w.What, w.Config, line, w.Pointer)
		}
	}
	for config, service := range rights {
		if line := said(service); line != "" {
			t.Errorf("%s is right: %s", config, line)
		}
	}
	if t.Failed() && said("wrong-0") == "" {
		t.Logf("%.2000s", out)
	}
}

// tryAll has the plugin look at each configuration, without a schema.
func tryAll(t *testing.T, name, dir string, all []wrong) {
	alone := t.TempDir()
	manifest, err := os.ReadFile(filepath.Join(dir, "plugin.json"))
	if err != nil {
		t.Fatal(err)
	}
	type one struct {
		Name    string          `json:"name"`
		Config  json.RawMessage `json:"config"`
		Refused string          `json:"refused,omitempty"`
		Request *struct{}       `json:"request,omitempty"`
		Logs    *[]string       `json:"logs,omitempty"`
	}
	var file struct {
		Limits map[string]string `json:"limits"`
		Cases  []one             `json:"cases"`
	}
	file.Limits = map[string]string{"cpuTime": "1s", "cpuTimeExchange": "3s", "cpuTimeStart": "30s", "memory": "128Mi"}
	rights := map[string]bool{}
	for i, w := range all {
		path := "config"
		if w.Path != "" {
			path += "." + w.Path
		}
		file.Cases = append(file.Cases, one{Name: fmt.Sprintf("%d: %s, %s", i, w.Path, w.What), Config: w.Config, Refused: path})
		if !rights[string(w.Right)] {
			rights[string(w.Right)] = true
			right := one{Name: fmt.Sprintf("right: %d", i), Config: w.Right, Request: &struct{}{}}
			if bytes.Contains(manifest, []byte(`"http-call"`)) { // a request would have it call
				right.Request, right.Logs = nil, &[]string{}
			}
			file.Cases = append(file.Cases, right)
		}
	}
	text, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string][]byte{"plugin.json": manifest, "cases.yaml": text} {
		if err := os.WriteFile(filepath.Join(alone, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range cases(t, "--module", harness.BundledModule(t, name), alone) {
		for _, f := range r.Faults {
			t.Errorf("%s: %s\n%s", r.Name, f, file.Cases[i].Config)
		}
	}
}
