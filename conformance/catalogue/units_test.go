package catalogue

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"penstock.dev/penstock/conformance/harness"
	"penstock.dev/penstock/conformance/sdks"
)

// TestUnits runs the plugins' own tests that are not in Go.
func TestUnits(t *testing.T) {
	each(t, func(t *testing.T, name, dir string) {
		has := func(file string) bool {
			_, err := os.Stat(filepath.Join(dir, file))
			return err == nil
		}
		switch {
		case has("Cargo.toml"):
			sdks.Cargo(t, dir, "test", "--locked")
		case has("test/unit.c"):
			program := filepath.Join(t.TempDir(), name)
			args := []string{"-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-Isdk", "-fno-sanitize-recover=all", "-fsanitize=address,undefined", "-o", program, "test/unit.c", "sdk/test/host.c"}
			for _, pattern := range []string{"*.c", "sdk/*.c"} {
				files, err := filepath.Glob(filepath.Join(dir, pattern))
				if err != nil || files == nil {
					t.Fatalf("%s: %q, %v", pattern, files, err)
				}
				for _, f := range files {
					if filepath.Base(f) != "plugin.c" { // which is the callbacks
						args = append(args, filepath.Join(filepath.Dir(pattern), filepath.Base(f)))
					}
				}
			}
			sdks.Clang(t, dir, args...)
			if text, err := exec.Command(program).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, text)
			}
		case has("go.mod"):
			t.Skip("make test runs them")
		default:
			t.Skip("its cases test it")
		}
	})
}

// TestBuildsAreTheSame: the source of a plugin in each language makes the same image,
// wherever it lies.
func TestBuildsAreTheSame(t *testing.T) {
	for language, name := range map[string]string{"go": "bot-detect", "rust": "csrf", "assemblyscript": "request-size-limit", "c": "redirect"} {
		t.Run(language, func(t *testing.T) {
			if language == "rust" || language == "assemblyscript" { // Rust's library is built twice
				harness.Long(t)
			}
			if language == "rust" { // whose absence fails the test, or leaves it out
				sdks.Cargo(t, ".", "--version")
			}
			var images [2]string
			for i, deep := range []string{"a", "b/c/d"} {
				images[i] = buildAt(t, filepath.Join(t.TempDir(), deep), language, name)
			}
			if images[0] != images[1] {
				t.Errorf("got %s and %s; want one digest", images[0], images[1])
			}
		})
	}
}
