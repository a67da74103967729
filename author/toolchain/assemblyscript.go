package toolchain

import (
	"context"
	"os"
	"path/filepath"
)

const needNode = "get Node.js 20 or newer, with npm, from nodejs.org; of Debian install nodejs and npm"

// buildAssemblyScript uses the compiler that package.json names, which npm installs first
// if it is not there.
func buildAssemblyScript(ctx context.Context, dir, out string) error {
	compiler := filepath.Join("node_modules", "assemblyscript", "bin", "asc.js")
	if _, err := os.Stat(filepath.Join(dir, compiler)); err != nil {
		if err := command(ctx, dir, nil, needNode, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"); err != nil {
			return err
		}
	}
	return command(ctx, dir, nil, needNode, "node", compiler, "index.ts", "-o", out)
}
