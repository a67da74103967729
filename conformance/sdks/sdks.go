// Package sdks builds the guests that try the SDKs of this repository: the same ones in
// each language, in guests/LANGUAGE.
package sdks

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/link"
)

// Guests are what each language has.
var Guests = []string{"bodies", "calls", "capabilities", "connection", "consumers", "grpc", "state"}

// SDK is that of one language.
type SDK struct {
	Name string // as of its folder in wasm-sdk
	// Allocations is how often the guest bodies sees memory allocated while it changes a
	// header field, and while it reads one.
	Allocations string

	fence string                                // what its README's blocks of code are named
	build func(t testing.TB, guest, out string) // of a guest's folder, to a module
}

// All are those that there are.
var All = []SDK{goSDK, rustSDK, assemblyscriptSDK, cSDK}

// Guest builds a guest, which has to link on every host of Proxy-Wasm 0.2.1, and returns
// the module's path.
func (s *SDK) Guest(t testing.TB, name string) string {
	t.Helper()
	return s.Build(t, filepath.Join(here(), "guests", s.Name, name))
}

// Has says whether a guest that is not of Guests is there in the language.
func (s *SDK) Has(name string) bool {
	_, err := os.Stat(filepath.Join(here(), "guests", s.Name, name))
	return err == nil
}

// Build is Guest for any folder.
func (s *SDK) Build(t testing.TB, dir string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(dir)+".wasm")
	s.build(t, dir, out)
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	faults, err := link.Check(b)
	if err != nil || faults != nil {
		t.Fatalf("%s: got %q, %v; want that it links", dir, faults, err)
	}
	return out
}

// Readme returns the SDK's README's blocks of code in its language, each ending with a
// line feed.
func (s *SDK) Readme(t testing.TB) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(here(), "..", "..", "wasm-sdk", s.Name, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, rest := range strings.Split(string(text), "```"+s.fence+"\n")[1:] {
		block, _, _ := strings.Cut(rest, "```")
		blocks = append(blocks, block)
	}
	if len(blocks) < 10 {
		t.Fatalf("%d examples; want at least 10", len(blocks))
	}
	return blocks
}

// here is this package's folder.
func here() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}

// run runs a toolchain's command in dir. One that is missing fails the test, unless
// PENSTOCK_SKIP_TOOLCHAINS is set.
func run(t testing.TB, dir string, env []string, name string, args ...string) {
	t.Helper()
	c := exec.Command(name, args...)
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	text, err := c.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		missing(t, name, "toolchains")
	}
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, text)
	}
}

// missing fails the test for want of a program that a target of the Makefile installs, or
// leaves it out if PENSTOCK_SKIP_TOOLCHAINS is set.
func missing(t testing.TB, what, target string) {
	t.Helper()
	if os.Getenv("PENSTOCK_SKIP_TOOLCHAINS") != "" {
		t.Skipf("%s is not installed, and PENSTOCK_SKIP_TOOLCHAINS is set", what)
	}
	t.Fatalf("%s is not installed: run make %s, or set PENSTOCK_SKIP_TOOLCHAINS=1 to leave this test out", what, target)
}
