package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"penstock.dev/penstock/author/cases"
	"penstock.dev/penstock/author/schema"
	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/k8s/translate"
)

// moduleName is the module that a folder's plugin is built to.
const moduleName = "plugin.wasm"

// caseFiles are the files of cases of a plugin's folder.
func caseFiles(dir string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "cases", "*.yaml"))
	if err != nil {
		return nil, err
	}
	if one := filepath.Join(dir, "cases.yaml"); exists(one) {
		found = append([]string{one}, found...)
	}
	return found, nil
}

// readCases reads files of cases as an image has them; what could not be read there is an
// error here.
func readCases(files []string) ([]oci.CasesFile, error) {
	var all []oci.CasesFile
	number := 0
	for _, name := range files {
		text, err := os.ReadFile(name) //nolint:gosec // the author's own file
		if err != nil {
			return nil, err
		}
		file, err := cases.Parse(name, text)
		if err != nil {
			return nil, err
		}
		number += len(file.Cases)
		all = append(all, oci.CasesFile{Name: filepath.Base(name), Text: text})
	}
	if number > cases.MaxProved {
		return nil, fmt.Errorf("%d cases: an image carries at most %d", number, cases.MaxProved)
	}
	return all, oci.CheckCases(all)
}

// imageOf is a folder's plugin as an image would have it, but for its cases, with the text
// of its manifest, nil if there is none. What the folder says that it costs is in the
// manifest. Without a module it is built.
func imageOf(ctx context.Context, dir, module string) (image *oci.Image, manifest []byte, err error) {
	image = &oci.Image{Digest: "sha256:cases"}
	if image.Schema, err = readSchema(filepath.Join(dir, "schema.json")); err != nil {
		return nil, nil, err
	}
	if module == "" {
		scratch, err := os.MkdirTemp("", "penstock-plugin")
		if err != nil {
			return nil, nil, err
		}
		defer func() { _ = os.RemoveAll(scratch) }()
		module = filepath.Join(scratch, moduleName)
		if err := buildPlugin(ctx, dir, module); err != nil {
			return nil, nil, err
		}
	}
	if image.Module, err = os.ReadFile(module); err != nil { //nolint:gosec // the author's own file
		return nil, nil, err
	}
	name := filepath.Join(dir, "plugin.json")
	manifest, err = os.ReadFile(name) //nolint:gosec // the author's own file
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, nil, err
	default:
		if image.Manifest, err = oci.ParseManifest(manifest); err == nil {
			err = translate.CheckCapabilities(image.Manifest.Capabilities)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if cost := filepath.Join(dir, costName); exists(cost) {
		if manifest, err = withCost(manifest, cost); err != nil {
			return nil, nil, err
		}
		if image.Manifest, err = oci.ParseManifest(manifest); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return image, manifest, nil
}

// readSchema reads a JSON Schema that can be used, nil if there is none of that name. Errors
// say the line.
func readSchema(name string) ([]byte, error) {
	text, err := os.ReadFile(name) //nolint:gosec // the author's own file
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := schema.Check(text, translate.Near); err != nil {
		return nil, fmt.Errorf("%s:%s", name, strings.ReplaceAll(err.Error(), "\n", "\n"+name+":"))
	}
	if place, err := plugin.CheckSchema(text); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", name, schema.Line(text, place), err)
	}
	return text, nil
}

// costName is the file of a plugin's folder that says what it costs.
const costName = "cost.json"

// withCost adds what a file says that a plugin costs to the text of its manifest.
func withCost(manifest []byte, file string) ([]byte, error) {
	text, err := os.ReadFile(file) //nolint:gosec // the author's own file
	if err != nil {
		return nil, err
	}
	c, err := oci.ParseCost(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return oci.WithCost(manifest, c)
}

// subject is a plugin that a command is about, wherever it is from.
type subject struct {
	image *oci.Image
	// Of these one is set: the name in the catalogue, the image's reference with its
	// digest, or the folder.
	use, reference, folder string
}

// entry is how an annotation names it.
func (s *subject) entry() string {
	switch {
	case s.use != "":
		return "use: " + s.use
	case s.reference != "":
		return "image: " + s.reference
	}
	return "image: registry.example.com/me/" + filepath.Base(s.folder) + ":1"
}

// subjectOf finds a plugin: of a folder, which is built unless there is a module, the
// module of a file, of the catalogue by its name, or of an image by its reference.
func subjectOf(ctx context.Context, o options, name, module string) (*subject, error) {
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		image, _, err := imageOf(ctx, name, module)
		if err != nil {
			return nil, err
		}
		files, err := caseFiles(name)
		if err != nil {
			return nil, err
		}
		if image.Cases, err = readCases(files); err != nil {
			return nil, err
		}
		folder, err := filepath.Abs(name)
		return &subject{image: image, folder: folder}, err
	case err == nil:
		image, _, err := imageOf(ctx, filepath.Dir(name), name)
		return &subject{image: image, folder: filepath.Dir(name)}, err
	}
	found := &subject{reference: name}
	if !strings.ContainsAny(name, "/:") {
		one, err := bundledPlugin(name)
		if err != nil {
			return nil, err
		}
		found.use, found.reference = one.Name, one.Image
		if len(o.images) == 0 { // no registry has it
			return nil, fmt.Errorf("%s is bundled: --images names the folder that holds the bundled plugins", one.Name)
		}
	}
	err = withRegistry(ctx, o, found.reference, func(r *registry) error {
		var err error
		if found.image, err = r.Get(ctx, r.req); err != nil {
			return err
		}
		found.reference = r.ref.String()
		if r.ref.Digest == "" {
			found.reference += "@" + found.image.Digest
		}
		return nil
	})
	return found, err
}

// bundledPlugin finds a plugin of the catalogue by name or name@major.
func bundledPlugin(use string) (translate.Bundled, error) {
	name, major, _ := strings.Cut(use, "@")
	var names []string
	for _, b := range bundled() {
		if b.Name == name && (major == "" || major == b.Major) {
			return b, nil
		}
		names = append(names, b.Name)
	}
	slices.Sort(names)
	near := ""
	if found := translate.Near(name, names); found != "" {
		near = ": did you mean " + found + "?"
	}
	return translate.Bundled{}, fmt.Errorf("%s is no folder, no bundled plugin and no image reference%s (penstock plugin list shows the bundled ones)", use, near)
}
