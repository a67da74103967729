package author

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// block is the first block of code of that kind in a text.
func block(t *testing.T, text, kind string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, "```"+kind+"\n")
	code, _, ended := strings.Cut(rest, "```")
	if !found || !ended {
		t.Fatalf("no block of %s", kind)
	}
	return code
}

// TestWriteAPlugin: what docs/write-a-plugin.md says in each language, done as it says,
// passes the cases that it has.
func TestWriteAPlugin(t *testing.T) {
	doc, err := os.ReadFile("../../docs/write-a-plugin.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "## Test it\n")
	cases := block(t, section, "yaml")
	target, err := filepath.Abs("../../build/rust")
	if err != nil {
		t.Fatal(err)
	}
	for language, source := range map[string][2]string{"go": {"main.go", "go"}, "rust": {"src/lib.rs", "rust"}, "assemblyscript": {"index.ts", "typescript"}, "c": {"plugin.c", "c"}} {
		t.Run(language, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "prices")
			do := func(want string, args ...string) {
				t.Helper()
				c := exec.Command(harness.Binary(t), append([]string{"plugin"}, args...)...)
				c.Env = append(os.Environ(), "CARGO_TARGET_DIR="+target)
				out, err := c.CombinedOutput()
				if err != nil && os.Getenv("PENSTOCK_SKIP_TOOLCHAINS") != "" && strings.Contains(string(out), "not installed") {
					t.Skip(string(out))
				}
				if err != nil || !strings.Contains(string(out), want) {
					t.Fatalf("plugin %q: %v\n%s", args, err, out)
				}
			}
			do("", "new", dir, "--lang", language)
			file := filepath.Join(dir, filepath.FromSlash(source[0]))
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			code := block(t, string(doc), source[1])
			first, _, _ := strings.Cut(code, "\n") // the comment of the function that it takes the place of
			before, rest, found := strings.Cut(string(text), first+"\n")
			indent := first[:len(first)-len(strings.TrimLeft(first, " "))]
			_, after, ended := strings.Cut(rest, "\n"+indent+"}\n")
			if !found || !ended {
				t.Fatalf("%s has no function after %q", file, first)
			}
			for name, text := range map[string]string{file: before + code + after, filepath.Join(dir, "cases.yaml"): cases} {
				if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			do("4 cases, 0 failed", "test", dir)
		})
	}
}
