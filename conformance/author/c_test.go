package author

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// inC makes a plugin in C, and returns its folder and what runs penstock plugin there.
func inC(t *testing.T) (dir string, do func(args ...string) (string, error)) {
	t.Helper()
	parent := t.TempDir()
	do = func(args ...string) (string, error) {
		t.Helper()
		c := exec.Command(harness.Binary(t), append([]string{"plugin"}, args...)...)
		if c.Dir = dir; dir == "" {
			c.Dir = parent
		}
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := do("new", "prices", "--lang", "c"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dir = filepath.Join(parent, "prices")
	return dir, do
}

// TestWhatACapabilityIsMissing: a plugin that calls out without http-call in plugin.json is
// told so, and where it trapped.
func TestWhatACapabilityIsMissing(t *testing.T) {
	dir, do := inC(t)
	rewrite(t, filepath.Join(dir, "plugin.c"), "  ps_str blocked;\n", "  ps_str blocked;\n  ps_must(ps_http_call(PS_STR(\"auth\"), PS_PAIRS(PS_PAIR(\":method\", \"GET\"), PS_PAIR(\":path\", \"/\"), PS_PAIR(\":authority\", \"a\")), PS_STR(\"\"), PS_NO_PAIRS, 1000, answered, s));\n")
	rewrite(t, filepath.Join(dir, "plugin.c"), "// request_headers sees", "static void answered(void *data, const ps_http_response *r) { (void)data, (void)r; }\n\n// request_headers sees")
	out, err := do("test")
	if err == nil {
		t.Error("it passes")
	}
	for _, want := range []string{
		`policy and the image's manifest: http-call; add "http-call" to capabilities in plugin.json` + "\n",
		"error: the proxy refused: internal failure (or the capability is missing)\n",
		"plugin.ps_must(", "plugin.request_headers(",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("got no %q in\n%s", want, out)
		}
	}
	if regexp.MustCompile(`\.\$\d+\(`).MatchString(out) {
		t.Errorf("got functions without names: %s", out)
	}
}

// TestAForgottenBit: a callback that ps_only leaves out is told, once.
func TestAForgottenBit(t *testing.T) {
	dir, do := inC(t)
	if out, err := do("test"); err != nil || strings.Contains(out, "warning") {
		t.Fatalf("%v: %s", err, out)
	}
	rewrite(t, filepath.Join(dir, "plugin.c"), "ps_only(PS_ON_REQUEST_HEADERS | PS_ON_RESPONSE_HEADERS)", "ps_only(PS_ON_REQUEST_HEADERS)")
	out, err := do("test")
	const want = "\nwarning: proxy_on_response_headers is exported, but in no case did the plugin want it: ps_only leaves out PS_ON_RESPONSE_HEADERS\n3 cases, 1 failed"
	if err == nil || strings.Count(out, "warning: ") != 1 || !strings.Contains(out, want) {
		t.Errorf("got %v, %s; want %q", err, out, want)
	}
}

// TestWithoutTheSchema: a case may ask the plugin alone what it says of a configuration.
func TestWithoutTheSchema(t *testing.T) {
	dir, do := inC(t)
	const text = `cases:
- {name: both, config: {greeting: 7}, refused: "config does not fit the image's JSON Schema: /greeting: got number, want string"}
- {name: the plugin, schema: false, config: {greeting: 7}, refused: "config.greeting: a number; want a text"}
- {name: the schema again, schema: true, config: {greeting: 7}, refused: "/greeting"}
`
	if err := os.WriteFile(filepath.Join(dir, "cases.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := do("test"); err != nil || !strings.Contains(out, "3 cases, 0 failed") {
		t.Errorf("%v: %s", err, out)
	}
}
