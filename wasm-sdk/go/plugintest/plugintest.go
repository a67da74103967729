// Package plugintest runs a plugin's cases from go test, with penstock plugin test.
package plugintest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Run builds the plugin in dir, which "." is for a test beside it, and runs its cases,
// those of cases.yaml and cases/*.yaml, each as a subtest of its name. The program is the
// one that the environment variable PENSTOCK names, else penstock of the PATH; where
// there is neither, the test is skipped. go test runs it again once a file of dir has
// changed; of what lies elsewhere, as another penstock, it knows nothing: -count=1.
func Run(t *testing.T, dir string) {
	t.Helper()
	program, err := find()
	if err != nil {
		t.Skip(err)
	}
	if _, err := touch(dir); err != nil {
		t.Fatal(err)
	}
	all, err := cases(t.Context(), program, dir)
	for _, c := range all {
		t.Run(c.Name, func(t *testing.T) {
			for _, fault := range c.Faults {
				t.Errorf("%s: %s", c.File, fault)
			}
			if t.Failed() {
				for _, line := range c.Logs {
					t.Log(line)
				}
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// maxFiles is how many files and folders of a plugin are opened.
const maxFiles = 10_000

// output are folders of tools, not of the plugin's source.
var output = []string{"node_modules", "target", "build"}

// touch opens the folders of dir, and the files in them, and returns how many: what a test
// has opened go test looks at before it takes a result from its cache, and what penstock and
// the compiler read for it it does not know of. What is hidden or built is left alone.
func touch(dir string) (opened int, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		switch hidden := path != dir && strings.HasPrefix(name, "."); {
		case d.IsDir() && path != dir && (hidden || slices.Contains(output, name)):
			return fs.SkipDir
		case d.IsDir(): // which WalkDir opens
		case hidden || filepath.Ext(name) == ".wasm" || !d.Type().IsRegular(): // a pipe would wait
			return nil
		default:
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			_ = f.Close() // it was not written to
		}
		if opened++; opened >= maxFiles {
			return fs.SkipAll
		}
		return nil
	})
	return opened, err
}

// find returns the program. A PENSTOCK that cannot be run is found, so that a test does
// not pass for its sake.
func find() (string, error) {
	if program := os.Getenv("PENSTOCK"); program != "" {
		return program, nil
	}
	program, err := exec.LookPath("penstock")
	if err != nil {
		return "", errors.New("penstock is not on the PATH, and PENSTOCK does not name it: the plugin's cases are not run")
	}
	return program, nil
}

// result is a line of penstock plugin test --json.
type result struct {
	File   string   `json:"file"`
	Name   string   `json:"name"`
	Faults []string `json:"faults"`
	Logs   []string `json:"logs"`
}

// cases runs the program, and returns what it says of each case; the error is why some,
// or all, were not run.
func cases(ctx context.Context, program, dir string) (all []result, err error) {
	c := exec.CommandContext(ctx, program, "plugin", "test", "--json", dir)
	var failure bytes.Buffer
	c.Stderr = &failure
	out, err := c.Output()
	failed := false
	for line := range bytes.Lines(out) {
		var r result
		if err := json.Unmarshal(line, &r); err != nil {
			return all, fmt.Errorf("%s plugin test: %w: %.200q", program, err, line)
		}
		failed = failed || len(r.Faults) > 0
		all = append(all, r)
	}
	var exit *exec.ExitError
	said := strings.TrimSpace(failure.String())
	switch {
	case errors.As(err, &exit) && failed && said == "": // which the cases say
		return all, nil
	case err != nil && said != "":
		return all, errors.New(said)
	case err == nil && len(all) == 0:
		return nil, fmt.Errorf("%s plugin test: it says nothing of any case", program)
	}
	return all, err
}
