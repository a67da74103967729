package check

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// named is how docs/trust.md names a test: folder TestName, or folder TestName/part of it.
var named = regexp.MustCompile("`([a-z0-9/-]+) (Test[A-Za-z0-9]+)(?:/([^`]+))?`")

// TestTrustDocument: each claim of docs/trust.md names tests, and each of them is there;
// one of its parts stands in the folder's tests as a text.
func TestTrustDocument(t *testing.T) {
	const root = "../.."
	text, err := os.ReadFile(root + "/docs/trust.md")
	if err != nil {
		t.Fatal(err)
	}
	folders := map[string]string{}
	rows, tests := 0, 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 2 || strings.HasPrefix(line, "| ---") || strings.HasPrefix(line, "| claim") {
			continue
		}
		rows++
		all := named.FindAllStringSubmatch(cells[1], -1)
		if len(all) == 0 {
			t.Errorf("no test is named for: %s", cells[0])
		}
		for _, m := range all {
			tests++
			dir, name, part := m[1], m[2], m[3]
			code, known := folders[dir]
			if !known {
				files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
				if err != nil || len(files) == 0 {
					t.Errorf("%s: no tests there", dir)
				}
				for _, file := range files {
					one, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					code += string(one)
				}
				folders[dir] = code
			}
			if !strings.Contains(code, "func "+name+"(") {
				t.Errorf("%s has no %s", dir, name)
			}
			if part != "" && !strings.Contains(code, `"`+part+`"`) {
				t.Errorf("%s: %s has no part %q", dir, name, part)
			}
		}
	}
	if rows < 40 || tests < rows {
		t.Errorf("%d claims, %d tests", rows, tests)
	}
}
