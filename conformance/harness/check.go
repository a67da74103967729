package harness

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Check runs `penstock check` on a folder with these files and returns what it
// wrote and its exit code. ${PORT} is 8080.
func Check(t testing.TB, files map[string]string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "${PORT}", "8080")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, log strings.Builder
	c := exec.Command(Binary(t), append([]string{"check", dir}, args...)...)
	c.Stdout, c.Stderr = &out, &log
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), log.String(), c.ProcessState.ExitCode()
}
