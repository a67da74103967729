// Package toolchain builds plugins with the toolchain of their language.
package toolchain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrMissing means that a program which the build needs is not installed; the error says
// how to get it.
var ErrMissing = errors.New("not installed")

// Language is one that plugins are written in.
type Language struct {
	Name string
	// detect reports whether a folder holds a plugin in it.
	detect func(dir string) bool
	build  func(ctx context.Context, dir, out string) error
}

// languages are those that can be built.
var languages = []Language{
	{Name: "go", detect: has("go.mod"), build: buildGo},
	{Name: "rust", detect: has("Cargo.toml"), build: buildRust},
	{Name: "assemblyscript", detect: has("asconfig.json"), build: buildAssemblyScript},
	{Name: "c", detect: has("*.c"), build: buildC},
}

// has reports whether a folder has a file of that name, in which * stands for any text.
func has(pattern string) func(string) bool {
	return func(dir string) bool {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		return err == nil && len(found) > 0
	}
}

// Detect returns the language of the plugin in dir.
func Detect(dir string) (*Language, error) {
	for i := range languages {
		if languages[i].detect(dir) {
			return &languages[i], nil
		}
	}
	return nil, fmt.Errorf("%s: no plugin is here: want a go.mod, a Cargo.toml, an asconfig.json or a .c file", dir)
}

// Build compiles the plugin in dir to the Wasm module out. The same source gives the
// same bytes, wherever it lies. Errors wrap ErrMissing, or hold what the toolchain said.
func (l *Language) Build(ctx context.Context, dir, out string) error {
	absolute, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(absolute), 0o755); err != nil { //nolint:gosec // a folder of the author's
		return err
	}
	return l.build(ctx, dir, absolute)
}

// command runs a program in dir. need says how to get it.
func command(ctx context.Context, dir string, env []string, need, name string, args ...string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("%s is %w: %s", name, ErrMissing, need)
	}
	c := exec.CommandContext(ctx, path, args...) //nolint:gosec // a toolchain, with fixed arguments
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, strings.TrimSpace(said.String()))
	}
	return nil
}

// buildGo uses the standard toolchain; a file "tags" holds build tags.
func buildGo(ctx context.Context, dir, out string) error {
	args := []string{"build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid="}
	tags, err := os.ReadFile(filepath.Join(dir, "tags"))
	if err == nil {
		args = append(args, "-tags="+strings.TrimSpace(string(tags)))
	}
	return command(ctx, dir, []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"}, "get Go 1.26 or newer from go.dev/dl", "go", append(args, "-o", out, ".")...)
}
