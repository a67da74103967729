package toolchain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	rustTarget = "wasm32-unknown-unknown"
	// What Debian has: no standard library for WebAssembly, but its source.
	debianCargo  = "/usr/bin/cargo"
	debianRustc  = "/usr/bin/rustc"
	debianSource = "/usr/lib/rustlib/src/rust/library/vendor"
	debianLinker = "wasm-ld-22"

	needRust = "get Rust from rustup.rs and run rustup target add " + rustTarget + "; of Debian install rustc-web, cargo-web, rust-web-src and lld-22"
)

// buildRust uses the cargo of the path if it has a standard library for WebAssembly, else
// Debian's, which builds one.
func buildRust(ctx context.Context, dir, out string) error {
	cargo, env, args, err := rust(ctx)
	if err != nil {
		return err
	}
	target := os.Getenv("CARGO_TARGET_DIR")
	if target == "" { // one for all plugins: the library is built once
		if target, err = os.UserCacheDir(); err != nil {
			return err
		}
		target = filepath.Join(target, "penstock", "rust")
		env = append(env, "CARGO_TARGET_DIR="+target)
	}
	args = append([]string{"build", "--release", "--quiet", "--target", rustTarget}, args...)
	if err := command(ctx, dir, env, needRust, cargo, args...); err != nil {
		return err
	}
	name, err := crate(ctx, dir, cargo, env)
	if err != nil {
		return err
	}
	return copyFile(filepath.Join(target, rustTarget, "release", strings.ReplaceAll(name, "-", "_")+".wasm"), out)
}

// rust chooses a toolchain.
func rust(ctx context.Context) (cargo string, env, args []string, err error) {
	if _, err := exec.LookPath("cargo"); err == nil {
		said, err := exec.CommandContext(ctx, "rustc", "--print", "target-libdir", "--target", rustTarget).Output()
		if dir := strings.TrimSpace(string(said)); err == nil && has("libcore-*.rlib")(dir) {
			return "cargo", nil, nil, nil
		}
	}
	for _, file := range []string{debianCargo, debianRustc, debianSource} {
		if _, err := os.Stat(file); err != nil {
			return "", nil, nil, fmt.Errorf("a Rust toolchain for WebAssembly is %w: %s", ErrMissing, needRust)
		}
	}
	return debianCargo,
		[]string{"RUSTC=" + debianRustc, "RUSTC_BOOTSTRAP=1", "RUSTFLAGS=", "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=" + debianLinker},
		[]string{
			"--offline", "-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size",
			"--config", `source.crates-io.replace-with="std"`, "--config", `source.std.directory="` + debianSource + `"`,
		}, nil
}

// crate is the name of the library that is built in dir.
func crate(ctx context.Context, dir, cargo string, env []string) (string, error) {
	c := exec.CommandContext(ctx, cargo, "metadata", "--no-deps", "--offline", "--format-version", "1") //nolint:gosec // a toolchain, with fixed arguments
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	said, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("cargo metadata: %w", err)
	}
	var all struct {
		Packages []struct {
			Targets []struct {
				Name       string   `json:"name"`
				CrateTypes []string `json:"crate_types"`
			} `json:"targets"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(said, &all); err != nil {
		return "", fmt.Errorf("cargo metadata: %w", err)
	}
	for _, p := range all.Packages {
		for _, t := range p.Targets {
			for _, kind := range t.CrateTypes {
				if kind == "cdylib" {
					return t.Name, nil
				}
			}
		}
	}
	return "", fmt.Errorf("%s: Cargo.toml has no library of the type cdylib", dir)
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from) //nolint:gosec // what was built
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644) //nolint:gosec // the author's own file
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
