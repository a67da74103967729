package catalogue

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTasksUpToDate: the pages are what the SDKs' READMEs say, and there are no others.
func TestTasksUpToDate(t *testing.T) {
	var guides []Guide
	for _, l := range [][2]string{{"Go", "go"}, {"Rust", "rust"}, {"AssemblyScript", "assemblyscript"}, {"C", "c"}} {
		folder := "wasm-sdk/" + l[1]
		text, err := os.ReadFile(filepath.Join(root, folder, "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		guides = append(guides, Guide{Language: l[0], Folder: folder, Text: string(text)})
	}
	pages, err := Tasks(guides)
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) < 12 {
		t.Errorf("%d pages", len(pages))
	}
	for name, text := range pages {
		compare(t, filepath.Join(root, TaskFolder, name), text)
	}
	for name, text := range pages {
		dir := filepath.Join(root, TaskFolder)
		for _, to := range link.FindAllStringSubmatch(text, -1) {
			file, _, _ := strings.Cut(to[1], "#")
			if _, err := os.Stat(filepath.Join(dir, file)); err != nil && !strings.Contains(to[1], "://") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	there, err := os.ReadDir(filepath.Join(root, TaskFolder))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range there {
		if pages[f.Name()] == "" {
			t.Errorf("%s is no task of all SDKs any more: remove it", f.Name())
		}
	}
}

func TestTasks(t *testing.T) {
	guides := []Guide{
		{"Go", "wasm-sdk/go", "# SDK\n## Bodies, whole\nSay [more](../../docs/cases.md#a) and [this](#b).\n```go\n## no title\n```\n\n## Only here\nx\n"},
		{"C", "wasm-sdk/c", "## First\ny\n\n## Bodies, whole\nSee [it](penstock.h), [far](https://a.example/x).\n"},
	}
	pages, err := Tasks(guides)
	if err != nil {
		t.Fatal(err)
	}
	const want = "# Bodies, whole\n\nMade of the SDKs' READMEs by `make catalogue`. [All tasks](README.md).\n" +
		"\n## Go\nSay [more](../cases.md#a) and [this](../../wasm-sdk/go/README.md#b).\n```go\n## no title\n```\n" +
		"\n## C\nSee [it](../../wasm-sdk/c/penstock.h), [far](https://a.example/x).\n"
	if got := pages["bodies-whole.md"]; got != want || len(pages) != 2 {
		t.Errorf("got %q of %d pages; want %q", got, len(pages), want)
	}
	if !strings.HasSuffix(pages["README.md"], "\n- [Bodies, whole](bodies-whole.md)\n") {
		t.Errorf("got %q", pages["README.md"])
	}
	if _, err := Tasks(append(guides, Guide{"Rust", "wasm-sdk/rust", "## First\n"})); err == nil {
		t.Error("no section in common is taken")
	}
}
