package catalogue

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"penstock.dev/penstock/author/schema"
	"penstock.dev/penstock/author/toolchain"
	"penstock.dev/penstock/core/oci"
)

// Plugin is what the folder of a bundled plugin says.
type Plugin struct {
	Name, About string
	Group       string // of Groups
	Language    string // as of author/toolchain
	Manifest    oci.Manifest
	Rows        []schema.Row
	// Cost is what a request costs, for people; "" if it was not measured.
	Cost string
}

// Groups are the kinds of plugins, with what they are for.
var Groups = [][2]string{
	{"who", "Who sends a request, and what they may"},
	{"protect", "Protection of a Service, and of its clients"},
	{"change", "Changes of requests and responses, and answers in place of a Service"},
}

// Read reads the plugin in a folder. It is an error if a part is missing, if the schema
// says nothing of the whole or of a field, or names no group in "x-group".
func Read(dir string) (*Plugin, error) {
	p := &Plugin{Name: filepath.Base(dir)}
	if err := p.read(dir); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return p, nil
}

func (p *Plugin) read(dir string) error {
	l, err := toolchain.Detect(dir)
	if err != nil {
		return err
	}
	p.Language = l.Name
	text, err := os.ReadFile(filepath.Join(dir, "plugin.json")) //nolint:gosec // of this repository
	if err != nil {
		return err
	}
	if p.Manifest, err = oci.ParseManifest(text); err != nil {
		return fmt.Errorf("plugin.json: %w", err)
	}
	if text, err = os.ReadFile(filepath.Join(dir, "schema.json")); err != nil { //nolint:gosec // as above
		return err
	}
	if p.Rows, err = schema.Rows(text); err != nil {
		return fmt.Errorf("schema.json: %w", err)
	}
	title, about, err := schema.About(text)
	if err != nil {
		return fmt.Errorf("schema.json: %w", err)
	}
	if p.About = about; title != p.Name || about == "" {
		return fmt.Errorf("schema.json: want the title %s, and a description", p.Name)
	}
	for _, r := range p.Rows {
		if r.Description == "" {
			return fmt.Errorf("schema.json: %s has no description", r.Path)
		}
	}
	var more struct {
		Group string `json:"x-group"`
	}
	if err := json.Unmarshal(text, &more); err != nil {
		return fmt.Errorf("schema.json: %w", err)
	}
	p.Group = more.Group
	if !slices.ContainsFunc(Groups, func(g [2]string) bool { return g[0] == p.Group }) {
		return fmt.Errorf("schema.json: x-group: %q is none of who, protect and change", p.Group)
	}
	return p.readCost(filepath.Join(dir, "cost.json"))
}

// readCost reads what was measured, if it was.
func (p *Plugin) readCost(file string) error {
	text, err := os.ReadFile(file) //nolint:gosec // of this repository
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var c struct {
		MicrosecondsPerRequest float64 `json:"microsecondsPerRequest"`
		InstanceKiB            int     `json:"instanceKiB"`
	}
	if err := json.Unmarshal(text, &c); err != nil || c.MicrosecondsPerRequest <= 0 || c.InstanceKiB <= 0 {
		return errors.New("cost.json: want microsecondsPerRequest and instanceKiB, both above 0")
	}
	p.Cost = fmt.Sprintf("%.2g µs, %d KiB", c.MicrosecondsPerRequest, c.InstanceKiB)
	if c.MicrosecondsPerRequest >= 100 {
		p.Cost = fmt.Sprintf("%.0f µs, %d KiB", c.MicrosecondsPerRequest, c.InstanceKiB)
	}
	return nil
}

// Marks around what is made.
const (
	begin = "<!-- made of schema.json by make catalogue -->\n"
	end   = "<!-- end -->\n"
)

// Readme returns a README with the table of the plugin's configuration between its marks.
func (p *Plugin) Readme(text string) (string, error) {
	before, rest, ok := strings.Cut(text, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", fmt.Errorf("README.md: want a line %q and a line %q after it, between which the table of the configuration goes", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return before + begin + "\n" + schema.Markdown(p.Rows) + "\n" + end + after, nil
}

// languages are their names for people.
var languages = map[string]string{"go": "Go", "rust": "Rust", "assemblyscript": "AssemblyScript", "c": "C"}

// Page returns the page of all plugins. Links lead from docs.
func Page(all []*Plugin) string {
	var b strings.Builder
	b.WriteString("<!-- Made of plugins-src by make catalogue. DO NOT EDIT. -->\n# Catalogue\n\n" +
		"The plugins that travel with the binary: `use: NAME` in an annotation runs one. The page of\n" +
		"each has its configuration and an example, which a test runs. `penstock plugin show NAME` says\n" +
		"the same. A guard is never skipped when it fails; capabilities are what it may ask the proxy\n" +
		"for. To write your own: [wasm-sdk](../wasm-sdk/README.md).\n")
	cost := slices.ContainsFunc(all, func(p *Plugin) bool { return p.Cost != "" })
	for _, g := range Groups {
		b.WriteString("\n## " + g[1] + "\n\n")
		head := []string{"plugin", "what it does", "language", "guard", "capabilities"}
		if cost {
			head = append(head, "cost")
		}
		b.WriteString("| " + strings.Join(head, " | ") + " |\n|" + strings.Repeat(" --- |", len(head)) + "\n")
		for _, p := range all {
			if p.Group != g[0] {
				continue
			}
			guard := ""
			if p.Manifest.Guard {
				guard = "yes"
			}
			row := []string{
				fmt.Sprintf("[%s](../plugins-src/%s/README.md)", p.Name, p.Name), strings.ReplaceAll(p.About, "|", `\|`),
				languages[p.Language], guard, strings.Join(p.Manifest.Capabilities, ", "),
			}
			if cost {
				row = append(row, p.Cost)
			}
			b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		}
	}
	if cost {
		b.WriteString("\nCost: what a request and its response take, without a network, and the memory of one\ninstance: the median of the plugin's cases, by `penstock plugin bench --cost`.\n")
	}
	return b.String()
}
