package author

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// TestRefusals: what is missing or wrong is told in a line that says what would be right,
// with exit code 1.
func TestRefusals(t *testing.T) {
	parent, nobody := t.TempDir(), t.TempDir()
	made := func(name, language string) string {
		t.Helper()
		dir := filepath.Join(parent, name)
		newPlugin(t, dir, language)
		return dir
	}
	broken := func(dir, file string) string {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, file), []byte("broken"), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	with := func(dir, file, text string) string {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	goFolder, typescript, c := made("a", "go"), made("b", "assemblyscript"), made("c", "c")
	typo := with(made("g", "c"), "schema.json", "{\n\"properties\": {\n\"a\": {\"minItem\": 1}}}")
	tests := map[string]struct {
		path string // PATH; empty: as it is
		args []string
		want string
		more bool // what the toolchain said follows
	}{
		"no Go":             {nobody, []string{"build", goFolder}, "penstock: go is not installed: get Go 1.26 or newer from go.dev/dl", false},
		"no Node.js":        {nobody, []string{"test", typescript}, "penstock: npm is not installed: get Node.js 20 or newer", false},
		"no clang":          {nobody, []string{"run", c, "--to", "http://127.0.0.1:1"}, "penstock: clang-22 is not installed: install clang and lld", false},
		"no plugin":         {"", []string{"bench", nobody}, "penstock: " + nobody + ": no plugin is here: want a go.mod, a Cargo.toml, an asconfig.json or a .c file", false},
		"a broken source":   {"", []string{"build", broken(made("d", "go"), "main.go")}, "does not build: go: exit status 1", true},
		"a broken manifest": {"", []string{"test", broken(made("e", "c"), "plugin.json")}, "plugin.json: plugin manifest: invalid character", false},
		"a broken cost":     {"", []string{"show", broken(made("f", "go"), "cost.json")}, "cost.json: cost: want microsecondsPerRequest and instanceKiB, both above 0", false},
		"an unknown key":    {"", []string{"test", with(made("h", "c"), "plugin.json", `{"capabilites": []}`)}, `plugin.json: plugin manifest: unknown field "capabilites" (one of abi, capabilities, guard, multiConfig, connections)`, false},
		"an unknown field":  {"", []string{"test", with(made("i", "c"), "cases.yaml", "cases:\n- name: typo\n  reqest: {}\n")}, `cases.yaml: line 3: case "typo": unknown field "reqest" (one of name, config, `, false},
		"no such case":      {"", []string{"test", c, "--run", "none"}, `no case is called "none": there are ["a response gets the greeting" "a blocked request" "a field that it does not know"]`, false},
		"no such benchmark": {"", []string{"bench", c, "--run", "none"}, `no case is called "none": there are ["a response gets the greeting" `, false},
		"a schema's typo":   {"", []string{"test", typo}, "g/schema.json:3: /properties/a/minItem: no keyword of JSON Schema 2020-12: did you mean minItems?", false},
		"pushing it":        {"", []string{"push", "127.0.0.1:1/a/b:1", typo}, "g/schema.json:3: /properties/a/minItem: no keyword", false},
		"building it":       {"", []string{"build", typo}, "g/schema.json:3: /properties/a/minItem: no keyword", false},
		"a schema's type":   {"", []string{"show", with(made("j", "c"), "schema.json", "{\n\"type\": \"strin\"}")}, "j/schema.json:2: it is no JSON Schema: /type: ", false},
		"a broken schema":   {"", []string{"test", with(made("k", "c"), "schema.json", "{\n\"type\": \"object\",\n}")}, "k/schema.json:3: no JSON: invalid character '}'", false},
		"a folder":          {"", []string{"inspect", c}, "is a folder: name its module, which penstock plugin build makes, or have penstock plugin show build it", false},
		"no module":         {"", []string{"inspect", "plugin.wasm"}, "plugin.wasm: no such file; penstock plugin build makes it", false},
		"no parent":         {"", []string{"new", "nobody/b"}, "nobody/b: there is no folder nobody: a plugin is made in one that exists", false},
		"no name":           {"", []string{"new", "../B"}, `"B": want a name of lower-case letters, digits and hyphens that begins with a letter`, false},
		"no such plugin":    {"", []string{"show", "key-aut"}, "penstock: key-aut is no folder, no bundled plugin and no image reference: did you mean key-auth?", false},
		"no images":         {"", []string{"show", "key-auth"}, "penstock: key-auth is bundled: --images names the folder that holds the bundled plugins", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			command := exec.Command(harness.Binary(t), append([]string{"plugin"}, test.args...)...)
			command.Env = os.Environ()
			if test.path != "" {
				command.Env = append(command.Env, "PATH="+test.path)
			}
			out, err := command.CombinedOutput()
			var exit *exec.ExitError
			lines := strings.Count(strings.TrimSpace(string(out)), "\n") + 1
			if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), test.want) || lines > 1 != test.more {
				t.Errorf("%v: got %s; want %s", err, out, test.want)
			}
		})
	}
}

// TestPackRefuses: image pack takes no schema that no proxy could use, and none that is not
// there.
func TestPackRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"plugin.wasm": "\x00asm", "schema.json": "{\n\"typ\": \"object\"}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for schema, want := range map[string]string{"schema.json": "schema.json:2: /typ: no keyword of JSON Schema 2020-12", "none.json": "none.json: no such file"} {
		layout := filepath.Join(dir, "images")
		out, err := exec.Command(harness.Binary(t), "image", "pack", "--layout", layout, "--name", "test.example/a/b:1", "--schema", filepath.Join(dir, schema), filepath.Join(dir, "plugin.wasm")).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: got %s; want %s", err, out, want)
		}
		if _, err := os.Stat(layout); err == nil {
			t.Error("an image was packed")
		}
	}
}
