package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestMetricsAreDocumented: docs/seeing.md lists every metric that the code names, once.
func TestMetricsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/seeing.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for row := range strings.Lines(string(text)) {
		metrics, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " |")
		for _, name := range strings.Split(metrics, ", ") {
			if strings.HasPrefix(name, "`penstock_") && strings.HasPrefix(row, "| ") {
				if seen[name] {
					t.Errorf("docs/seeing.md: %s has two rows", name)
				}
				seen[name] = true
			}
		}
	}
	form := regexp.MustCompile(`"(penstock_[a-z_]+[a-z])"`)
	names := 0
	for _, dir := range []string{"../../core", "../../hosts", "../../k8s"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			code, err := os.ReadFile(path)
			for _, m := range form.FindAllStringSubmatch(string(code), -1) {
				if m[1] == "penstock_on_request_headers" { // a guest's export
					continue
				}
				if names++; !strings.Contains(string(text), "`"+m[1]+"`") {
					t.Errorf("%s: %s is not in docs/seeing.md", path, m[1])
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if names < 20 {
		t.Errorf("only %d names", names)
	}
}
