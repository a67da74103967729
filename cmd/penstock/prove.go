package main

import (
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/author/cases"
	"penstock.dev/penstock/core/sandbox"
)

// prover runs the cases that images carry, before they are used.
func prover(o options, self string) *cases.Prover {
	p := &cases.Prover{Command: []string{self, "prove", "--compiled", compiledIn(o.state)}, Version: version}
	if version != "unknown" { // else another build would pass for this one
		p.Marks = filepath.Join(o.state, "proved")
	}
	return p
}

// compiledIn is the compile cache of a process with that state.
func compiledIn(state string) string { return filepath.Join(state, "compiled") }

// proveCommand is the process that runs an image's cases: see author/cases.
func proveCommand() *cobra.Command {
	var compiled string
	var memory int64
	var cpu time.Duration
	c := &cobra.Command{
		Use:    "prove",
		Short:  "Run the cases of an image from standard input",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := sandbox.Confine(memory, cpu); err != nil {
				return err
			}
			compiler, err := compilerCommand()
			if err != nil {
				return err
			}
			return cases.Prove(cmd.Context(), cases.Options{CacheDir: compiled, Compiler: compiler, ABIs: caseABIs}, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	c.Flags().StringVar(&compiled, "compiled", "", "compile cache")
	c.Flags().Int64Var(&memory, "memory", 0, "bytes that the process may use")
	c.Flags().DurationVar(&cpu, "cpu", 0, "CPU time that the process may use")
	if err := c.MarkFlagRequired("compiled"); err != nil {
		panic("BUG: " + err.Error())
	}
	return c
}
