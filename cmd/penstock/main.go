// Command penstock is the proxy: a service-mesh ingress without sidecars. It
// wires the packages together; it holds no logic of its own.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "unknown"

// errReported ends the process with exit 1 when all has been said.
var errReported = errors.New("reported")

func main() {
	root := &cobra.Command{
		Use:           "penstock",
		Short:         "A service-mesh ingress without sidecars",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(runCommand(), proxyCommand(), controlCommand(), checkCommand(), cacheCommand(), imageCommand(), pluginCommand(), compileCommand(), proveCommand(), versionCommand())
	if err := root.Execute(); err != nil {
		if !errors.Is(err, errReported) {
			fmt.Fprintln(os.Stderr, "penstock:", err)
		}
		os.Exit(1)
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintf(cmd.OutOrStdout(), "penstock %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	}
}
