package sdks

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// rustSDK is for Debian's toolchain. Its standard library for WebAssembly is built once,
// into build/rust. What reads a field uses memory again.
var rustSDK = SDK{Name: "rust", fence: "rust", Allocations: "0 0", build: func(t testing.TB, guest, out string) {
	name := filepath.Base(guest)
	cargo(t, guest, append([]string{"build", "--release", "--locked", "--package", name}, wasm...)...)
	copyFile(t, filepath.Join(rustTarget(), "wasm32-unknown-unknown", "release", strings.ReplaceAll(name, "-", "_")+".wasm"), out)
}}

const (
	cargoPath  = "/usr/bin/cargo" // not one of rustup, which has no WebAssembly
	rustSource = "/usr/lib/rustlib/src/rust/library/vendor"
	rustLinker = "wasm-ld-22"
)

// wasm are cargo's arguments for a build with Debian's toolchain, as the README has them.
var wasm = []string{
	"--target", "wasm32-unknown-unknown", "-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size",
	"--config", `source.crates-io.replace-with="std"`, "--config", `source.std.directory="` + rustSource + `"`,
}

// rustTarget is where cargo builds, for all guests alike.
func rustTarget() string { return filepath.Join(here(), "..", "..", "build", "rust") }

// cargo runs cargo in dir. A toolchain that is missing fails the test, unless
// PENSTOCK_SKIP_TOOLCHAINS is set.
func cargo(t testing.TB, dir string, args ...string) {
	t.Helper()
	for _, needed := range []string{cargoPath, rustSource, rustLinker} {
		_, err := exec.LookPath(needed)
		if needed == rustSource {
			_, err = os.Stat(needed)
		}
		if err != nil {
			missing(t, needed, "rust")
		}
	}
	run(t, dir, []string{
		"RUSTC=/usr/bin/rustc", "RUSTC_BOOTSTRAP=1", "RUSTFLAGS=", "CARGO_TARGET_DIR=" + rustTarget(),
		"CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=" + rustLinker,
	}, cargoPath, append(args, "--offline", "--quiet")...)
}

// Cargo runs Debian's cargo in a folder, for plugins of others than this package's.
func Cargo(t testing.TB, dir string, args ...string) {
	t.Helper()
	cargo(t, dir, args...)
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
