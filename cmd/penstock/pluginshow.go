package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/author/cases"
	"penstock.dev/penstock/author/schema"
)

// shown is what penstock plugin show says.
type shown struct {
	Name        string `json:"name"` // as an annotation names it: "use: key-auth"
	Description string `json:"description,omitempty"`
	*inspected
	Config []schema.Row `json:"config,omitempty"` // its fields
	// Example is an entry of an annotation.
	Example string   `json:"example"`
	Cases   []string `json:"cases,omitempty"` // their names
}

func pluginShowCommand() *cobra.Command {
	var o options
	var asJSON bool
	c := &cobra.Command{
		Use:   "show [NAME|FOLDER|MODULE]",
		Short: "Show a plugin: what it does, its configuration, an example, its capabilities and cases",
		Long: "Show a plugin: one of the catalogue by its name, one in a folder (this one, if nothing is named), which is built, a\n" +
			"module, or an image by its reference. All of it is what the image, or the folder, says.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := folderOf(args)
			s, err := subjectOf(cmd.Context(), o, name, "")
			if err != nil {
				return err
			}
			found, err := show(cmd.Context(), s)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(found)
			}
			found.write(cmd.OutOrStdout(), name)
			return nil
		},
	}
	imagesFlag(c, &o)
	registryFlags(c, &o)
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON, with the whole schema")
	return c
}

// show says what a plugin is.
func show(ctx context.Context, s *subject) (*shown, error) {
	i, err := inspect(ctx, s.image)
	if err != nil {
		return nil, err
	}
	if s.reference != "" {
		i.Image = s.reference
	}
	found := &shown{Name: s.entry(), Description: description(s.image), inspected: i}
	return found, found.fill(s)
}

// fill adds what schema and cases say.
func (s *shown) fill(from *subject) (err error) {
	if len(from.image.Schema) > 0 {
		if s.Config, err = schema.Rows(from.image.Schema); err != nil {
			return err
		}
	}
	for _, f := range from.image.Cases {
		file, err := cases.Parse(f.Name, f.Text)
		if err != nil {
			return err
		}
		for n := range file.Cases {
			s.Cases = append(s.Cases, file.Cases[n].Name)
		}
	}
	key, value, _ := strings.Cut(from.entry(), ": ")
	s.Example, err = cases.Entry(key, value, from.image.Cases)
	return err
}

func (s *shown) write(out io.Writer, asked string) {
	if s.Description != "" {
		fmt.Fprintf(out, "%s\n\n", s.Description)
	}
	s.inspected.write(out)
	cases := "none"
	if len(s.Cases) > 0 {
		cases = fmt.Sprintf("%d: %s", len(s.Cases), strings.Join(s.Cases, "; "))
	}
	fmt.Fprintln(out, "cases        ", cases)
	cost := "unknown"
	if c := s.Manifest.Cost; c != nil {
		cost = fmt.Sprintf("%.3g us for a request and %d KiB for an instance, by its author", c.MicrosecondsPerRequest, c.InstanceKiB)
	}
	if len(s.Cases) > 0 {
		cost += "; penstock plugin bench " + asked + " measures it here"
	}
	fmt.Fprintln(out, "cost         ", cost)
	if len(s.Config) > 0 {
		fmt.Fprintf(out, "\nconfig\n%s", schema.Markdown(s.Config))
	}
	fmt.Fprint(out, "\nexample\npenstock.dev/plugins: |\n")
	for line := range strings.Lines(s.Example) {
		fmt.Fprint(out, "  ", line)
	}
}
