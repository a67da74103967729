package toolchain

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// clangs are the names that clang may have, in the order of preference.
var clangs = []string{"clang-22", "clang-23", "clang-21", "clang-20", "clang-19", "clang"}

// buildC uses clang, with the SDK that lies in the folder sdk of the plugin's.
func buildC(ctx context.Context, dir, out string) error {
	name := clangs[0]
	for _, one := range clangs {
		if _, err := exec.LookPath(one); err == nil {
			name = one
			break
		}
	}
	args := []string{"@" + filepath.Join("sdk", "wasm.flags"), "-Isdk", "-std=c11", "-o", out}
	for _, pattern := range []string{"*.c", filepath.Join("sdk", "*.c")} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(files) == 0 {
			return fmt.Errorf("%s: no file %s is there: the SDK is a copy of wasm-sdk/c", dir, pattern)
		}
		for _, f := range files {
			relative, err := filepath.Rel(dir, f)
			if err != nil {
				return err
			}
			args = append(args, relative)
		}
	}
	return command(ctx, dir, nil, "install clang and lld, of Debian the packages clang-22 and lld-22", name, args...)
}
