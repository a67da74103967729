package sdks

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGuests: each guest links in each language.
func TestGuests(t *testing.T) {
	for _, s := range All {
		for _, name := range Guests {
			t.Run(s.Name+"/"+name, func(t *testing.T) { s.Guest(t, name) })
		}
	}
}

// TestGoReadme: the examples of the README are, together, a plugin that builds and links.
func TestGoReadme(t *testing.T) {
	dir, err := os.MkdirTemp(filepath.Join(here(), "guests", "go"), "readme") // in the module
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	source := "package main\n\nimport (\n\"bytes\"\n\"crypto/subtle\"\n\"errors\"\n\"strconv\"\n\"time\"\n\nsdk \"penstock.dev/penstock/wasm-sdk/go\"\n)\n" + strings.Join(goSDK.Readme(t), "")
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	goSDK.Build(t, dir)
}
