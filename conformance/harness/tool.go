package harness

import (
	"os"
	"os/exec"
	"testing"
)

// Long leaves the test out unless PENSTOCK_LONG is set: it takes minutes, or tools
// that `make conformance` installs.
func Long(t testing.TB) {
	t.Helper()
	if os.Getenv("PENSTOCK_LONG") == "" {
		t.Skip("takes long: run make conformance, or set PENSTOCK_LONG=1")
	}
}

// Tool returns the path of a program that the distribution has.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed: run make clients", name)
	}
	return path
}
