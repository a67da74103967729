package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/core/sandbox"
)

// compilerCommand is what compiles a module, for sandbox.Options.
func compilerCommand() ([]string, error) {
	self, err := os.Executable()
	return []string{self, "compile"}, err
}

// compileCommand is the process that compiles a module: see core/sandbox.
func compileCommand() *cobra.Command {
	var dir string
	var memory int64
	var cpu time.Duration
	c := &cobra.Command{
		Use:    "compile",
		Short:  "Compile a module from standard input into a folder",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return sandbox.Compile(dir, memory, cpu, cmd.InOrStdin())
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "empty folder for the native code")
	c.Flags().Int64Var(&memory, "memory", 0, "bytes that the process may use")
	c.Flags().DurationVar(&cpu, "cpu", 0, "CPU time that the process may use")
	if err := c.MarkFlagRequired("dir"); err != nil {
		panic("BUG: " + err.Error())
	}
	return c
}
