// Package scaffold makes the folders of new plugins.
package scaffold

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

//go:embed templates
var templates embed.FS

// sdks has sdks.tar.gz, the SDKs by language, if the binary was built with them.
//
//go:embed sdk
var sdks embed.FS

// Languages are those that there are templates for.
var Languages = []string{"go", "rust", "assemblyscript", "c"}

// shared are the files that plugins in all languages have.
var shared = []string{"README.md", "cases.yaml", "plugin.json", "schema.json", "gitignore"}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// New makes a plugin of that name in dir, which must not exist, with the SDK of its
// language in the folder sdk of it. On an error nothing is left there.
func New(dir, name, language string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%q: want a name of lower-case letters, digits and hyphens that begins with a letter", name)
	}
	if !slices.Contains(Languages, language) {
		return fmt.Errorf("--lang %q: want one of %s", language, strings.Join(Languages, ", "))
	}
	own, err := fs.Sub(templates, path.Join("templates", language))
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // source code
		return err
	}
	if err := fill(dir, name, language, own); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return nil
}

func fill(dir, name, language string, own fs.FS) error {
	if err := fs.WalkDir(own, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return write(dir, file, name, own)
	}); err != nil {
		return err
	}
	all, err := fs.Sub(templates, "templates")
	if err != nil {
		return err
	}
	for _, file := range shared {
		if err := write(dir, file+".tmpl", name, all); err != nil {
			return err
		}
	}
	return unpack(language, filepath.Join(dir, "sdk"))
}

// write makes a file of a template.
func write(dir, file, name string, from fs.FS) error {
	text, err := fs.ReadFile(from, file)
	if err != nil {
		return err
	}
	to := strings.TrimSuffix(file, ".tmpl")
	if to == "gitignore" {
		to = ".gitignore"
	}
	text = bytes.ReplaceAll(text, []byte("NAME"), []byte(name))
	return writeFile(filepath.Join(dir, filepath.FromSlash(to)), text)
}

func writeFile(to string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // source code
		return err
	}
	return os.WriteFile(to, text, 0o644) //nolint:gosec // source code
}

// unpack writes the SDK of a language to dir.
func unpack(language, dir string) error {
	archive, err := sdks.ReadFile("sdk/sdks.tar.gz")
	if err != nil {
		return errors.New("this penstock was built without the SDKs: build it with make build")
	}
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return err
	}
	found := false
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		rest, ok := strings.CutPrefix(h.Name, language+"/")
		if !ok || h.Typeflag != tar.TypeReg || !filepath.IsLocal(rest) {
			continue
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, filepath.FromSlash(rest)), text); err != nil {
			return err
		}
		found = true
	}
	if !found {
		return fmt.Errorf("this penstock was built without the SDK for %s: build it with make build", language)
	}
	return nil
}
