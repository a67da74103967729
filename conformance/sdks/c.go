package sdks

import (
	"path/filepath"
	"testing"
)

// cSDK is for clang. Nothing is allocated: what is read lies in memory of the callback.
var cSDK = SDK{Name: "c", fence: "c", Allocations: "0 0", build: func(t testing.TB, guest, out string) {
	dir := filepath.Join(here(), "..", "..", "wasm-sdk", "c")
	buildC(t, dir, guest, "*.c", out, "-std=c11", "-Wpedantic", "-Werror")
}}

// buildC builds a plugin as the README of the SDK in dir says, with more flags.
func buildC(t testing.TB, dir, guest, sources, out string, flags ...string) {
	t.Helper()
	args := append([]string{"@" + filepath.Join(dir, "wasm.flags"), "-I" + dir, "-o", out}, flags...)
	for _, pattern := range []string{filepath.Join(guest, sources), filepath.Join(dir, "*.c")} {
		files, err := filepath.Glob(pattern)
		if err != nil || files == nil {
			t.Fatalf("%s: got %q, %v", pattern, files, err)
		}
		args = append(args, files...)
	}
	run(t, guest, nil, "clang-22", args...)
}

// Clang runs clang in a folder, for plugins of others than this package's.
func Clang(t testing.TB, dir string, args ...string) {
	t.Helper()
	run(t, dir, nil, "clang-22", args...)
}
