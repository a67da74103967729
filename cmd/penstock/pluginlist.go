package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"penstock.dev/penstock/author/schema"
	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/k8s/annotation"
)

// listed is what penstock plugin list says of one plugin.
type listed struct {
	Name     string   `json:"name"`
	Versions []string `json:"versions"`
	Guard    bool     `json:"guard"`
	// What follows is what its image says.
	Image        string   `json:"image,omitempty"`
	Digest       string   `json:"digest,omitempty"`
	Bytes        int      `json:"bytes,omitempty"` // of the module
	Capabilities []string `json:"capabilities,omitempty"`
	Description  string   `json:"description,omitempty"`
}

func pluginListCommand() *cobra.Command {
	var o options
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the bundled plugins: what an annotation's use: may name, beside Plugin objects",
		Long: "List the bundled plugins: what an annotation's use: may name, beside the Plugin objects of a cluster or folder.\n" +
			"What they do, and their capabilities, their images say: --images names the folder that holds them.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, missing, err := listPlugins(cmd.Context(), o)
			if err != nil {
				return err
			}
			if len(missing) > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "penstock: what their images say is left out for %s: --images names the folder that holds them\n", strings.Join(missing, ", "))
			}
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(all)
			}
			return writeList(cmd.OutOrStdout(), all)
		},
	}
	imagesFlag(c, &o)
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return c
}

// imagesFlag is for commands that look at images and keep none.
func imagesFlag(c *cobra.Command, o *options) {
	c.Flags().StringArrayVar(&o.images, "images", nil, "OCI layout folder with plugin images; may be repeated")
	o.imageQuota = "4Gi"
}

// listPlugins returns the bundled plugins, and the names of those whose images are in
// none of the folders.
func listPlugins(ctx context.Context, o options) (all []listed, missing []string, err error) {
	scratch, err := os.MkdirTemp("", "penstock-plugin")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	o.state = scratch
	store, err := openImages(o, zap.NewNop(), func() []string { return nil })
	if err != nil {
		return nil, nil, err
	}
	for _, b := range bundled() {
		one := listed{Name: b.Name, Versions: []string{b.Major}, Guard: b.Guard, Image: b.Image}
		if len(o.images) == 0 { // no registry is asked for what is bundled
			missing = append(missing, b.Name)
		} else if img, err := store.Get(ctx, oci.Request{Reference: b.Image, Namespace: "command"}); err != nil {
			missing = append(missing, b.Name)
		} else {
			one.Digest, one.Bytes, one.Capabilities, one.Description = img.Digest, len(img.Module), img.Manifest.Capabilities, description(img)
			one.Guard = one.Guard || img.Manifest.Guard
		}
		all = append(all, one)
	}
	all = append(all, listed{Name: annotation.UseCache, Versions: []string{"1"}, Description: "the response cache, at its place in the chain; native, no plugin"})
	slices.SortFunc(all, func(a, b listed) int { return strings.Compare(a.Name, b.Name) })
	return all, missing, nil
}

// description is what an image says that its plugin does, in one line; empty: nothing.
func description(img *oci.Image) string {
	if len(img.Schema) == 0 {
		return ""
	}
	title, text, err := schema.About(img.Schema)
	if err != nil {
		return ""
	}
	if text == "" && title != "" {
		return title
	}
	return text
}

func writeList(out io.Writer, all []listed) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tVERSIONS\tGUARD\tCAPABILITIES\tWHAT IT DOES")
	for _, p := range all {
		guard := ""
		if p.Guard {
			guard = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", p.Name, strings.Join(p.Versions, ", "), guard, strings.Join(p.Capabilities, ", "), p.Description)
	}
	return w.Flush()
}
