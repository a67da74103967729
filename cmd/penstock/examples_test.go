package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"penstock.dev/penstock/k8s/annotation"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/files"
)

func TestExamplesHaveNoProblems(t *testing.T) {
	folders, err := filepath.Glob("../../examples/*/config")
	if err != nil || len(folders) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, dir := range folders {
		checked, err := files.Check(dir, newTranslator(nil))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range checked.Problems {
			t.Errorf("%s: %s", p.File, p)
		}
	}
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestReadme loads every YAML block of the READMEs: an object, or the
// annotation alone.
func TestReadme(t *testing.T) {
	names, err := filepath.Glob("../../plugins-src/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for _, name := range append(names, "../../README.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
			blocks++
			var object struct {
				Kind     string
				Metadata struct{ Annotations map[string]string }
			}
			if err := yaml.Unmarshal([]byte(m[1]), &object); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			value := object.Metadata.Annotations[api.AnnotationPlugins]
			if object.Kind == "" {
				var alone map[string]string
				if err := yaml.Unmarshal([]byte(m[1]), &alone); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				value = alone[api.AnnotationPlugins]
			}
			if entries, err := annotation.Parse(value, "Service"); err != nil || len(entries) == 0 {
				t.Errorf("%s: %v, %v\n%s", name, entries, err, m[1])
			}
		}
	}
	if blocks < 3 {
		t.Errorf("only %d blocks", blocks)
	}
}

// TestParametersDocument checks the YAML of docs/parameters.md as a folder.
func TestParametersDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/parameters.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	const more = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: penstock}\nspec: {controllerName: " + controllerName + "}\n" +
		"---\napiVersion: v1\nkind: Secret\nmetadata: {name: redis, namespace: infra}\nstringData: {password: x}\n"
	block := yamlBlock.FindStringSubmatch(string(text))
	if block == nil {
		t.Fatal("no block")
	}
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(block[1]+more), 0o600); err != nil {
		t.Fatal(err)
	}
	checked, err := files.Check(dir, newTranslator(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range checked.Problems {
		t.Error(p)
	}
}

// TestTLSDocument checks the YAML of docs/tls.md with the example's Secret.
func TestTLSDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/tls.md")
	if err != nil {
		t.Fatal(err)
	}
	secret, err := os.ReadFile("../../examples/tls/config/secret.yaml")
	if err != nil {
		t.Fatal(err)
	}
	block := yamlBlock.FindStringSubmatch(string(text))
	if block == nil {
		t.Fatal("no block")
	}
	const class = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: penstock}\nspec: {controllerName: " + controllerName + "}\n---\n"
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(block[1]+class+string(secret)), 0o600); err != nil {
		t.Fatal(err)
	}
	checked, err := files.Check(dir, newTranslator(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range checked.Problems {
		t.Error(p)
	}
}

// TestTCPDocument checks the first YAML of docs/tcp.md; its other routes are left
// to the reader.
func TestTCPDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/tcp.md")
	if err != nil {
		t.Fatal(err)
	}
	block := yamlBlock.FindStringSubmatch(string(text))
	if block == nil {
		t.Fatal("no block")
	}
	const more = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: penstock}\nspec: {controllerName: " + controllerName + "}\n" +
		"---\napiVersion: v1\nkind: Service\nmetadata: {name: sql}\nspec: {ports: [{port: 5432}]}\n"
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(block[1]+more), 0o600); err != nil {
		t.Fatal(err)
	}
	checked, err := files.Check(dir, newTranslator(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range checked.Problems {
		if p.Reason != "NoRoutes" {
			t.Error(p)
		}
	}
}

// TestConsumersDocument checks each YAML of docs/consumers.md, which leaves the way to its
// Services, and what was there before, to the reader.
func TestConsumersDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/consumers.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := yamlBlock.FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 3 {
		t.Fatalf("%d blocks", len(blocks))
	}
	for i, block := range blocks {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(block[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		checked, err := files.Check(dir, newTranslator(nil))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range checked.Problems {
			if p.Reason != "NoRoutes" && (i == 0 || p.Reason != "SecretMissing") {
				t.Errorf("block %d: %s", i, p)
			}
		}
		if n := checked.Config.Consumers.Len(); (n == 1) != (i != 2) { // that one is of another's
			t.Errorf("block %d: %d Consumers", i, n)
		}
	}
}

// TestBundledGuards: a bundled plugin is known as a guard, before its image is read, if
// its manifest says so; each one that authenticates or filters requests does.
func TestBundledGuards(t *testing.T) {
	guards := map[string]bool{}
	for _, b := range bundled() {
		text, err := os.ReadFile("../../plugins-src/" + b.Name + "/plugin.json")
		if err != nil {
			t.Fatal(err)
		}
		var manifest struct {
			Guard        bool
			Capabilities []string
		}
		if err := yaml.Unmarshal(text, &manifest); err != nil {
			t.Fatal(err)
		}
		if manifest.Guard != b.Guard || slices.Contains(manifest.Capabilities, "consumer") && !b.Guard {
			t.Errorf("%s: its manifest says guard %v, the catalogue %v", b.Name, manifest.Guard, b.Guard)
		}
		guards[b.Name] = b.Guard
	}
	for name, want := range map[string]bool{"key-auth": true, "waf": true, "csrf": true, "ip-restriction": true, "transform": false, "cache-rules": false} {
		if guard, known := guards[name]; !known || guard != want {
			t.Errorf("%s: bundled %v, guard %v; want %v", name, known, guard, want)
		}
	}
}

// TestBundledIdentify: the catalogue says which of them may say who sends a request.
func TestBundledIdentify(t *testing.T) {
	known := 0
	for _, b := range bundled() {
		text, err := os.ReadFile("../../plugins-src/" + b.Name + "/plugin.json")
		if err != nil {
			t.Fatal(err)
		}
		var manifest struct{ Capabilities []string }
		if err := yaml.Unmarshal(text, &manifest); err != nil {
			t.Fatal(err)
		}
		if may := slices.Contains(manifest.Capabilities, "consumer"); may != b.Identifies {
			t.Errorf("%s: its manifest says %v, the catalogue %v", b.Name, may, b.Identifies)
		} else if may {
			known++
		}
	}
	if known < 5 {
		t.Errorf("%d of them may", known)
	}
}

func TestLoopbackOnly(t *testing.T) {
	for address, ok := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "0.0.0.0:1": false, ":1": false, "192.0.2.1:1": false, "x": false} {
		if err := loopback(address); (err == nil) != ok {
			t.Errorf("%s: got %v", address, err)
		}
	}
}

func TestVersionOfCommands(t *testing.T) {
	var out strings.Builder
	c := versionCommand()
	c.SetOut(&out)
	c.SetArgs(nil)
	if err := c.Execute(); err != nil || !strings.HasPrefix(out.String(), "penstock ") {
		t.Errorf("got %q, %v", out.String(), err)
	}
}
