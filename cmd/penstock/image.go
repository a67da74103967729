package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/core/oci"
)

func imageCommand() *cobra.Command {
	image := &cobra.Command{Use: "image", Short: "Work with plugin images"}
	image.AddCommand(packCommand())
	return image
}

func packCommand() *cobra.Command {
	var layout, name, manifest, schema, cost string
	var files []string
	c := &cobra.Command{
		Use:   "pack MODULE",
		Short: "Put a Wasm module into an OCI layout folder under a name",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := oci.ParseReference(name)
			if err != nil {
				return err
			}
			var parts [3][]byte
			for i, file := range []string{args[0], manifest, schema} {
				if file == "" {
					continue
				}
				if parts[i], err = os.ReadFile(file); err != nil {
					return err
				}
			}
			if _, err := readSchema(schema); err != nil {
				return err
			}
			if cost != "" {
				if parts[1], err = withCost(parts[1], cost); err != nil {
					return err
				}
			}
			all, err := readCases(files)
			if err != nil {
				return err
			}
			digest, err := oci.WriteLayout(layout, ref, parts[0], parts[1], parts[2], all...)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s@%s\n", name, digest)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&layout, "layout", "", "OCI layout folder, made if it is missing")
	f.StringVar(&name, "name", "", "registry/repository:tag")
	f.StringVar(&manifest, "manifest", "", "plugin manifest (JSON): abi, capabilities, guard, multiConfig, connections")
	f.StringVar(&schema, "schema", "", "JSON Schema of the plugin's config")
	f.StringVar(&cost, "cost", "", "what the plugin costs, as penstock plugin bench --cost writes it")
	f.StringArrayVar(&files, "cases", nil, "file of test cases, which are run before the image is used; may be repeated")
	for _, required := range []string{"layout", "name"} {
		if err := c.MarkFlagRequired(required); err != nil {
			panic("BUG: " + err.Error())
		}
	}
	return c
}
