package catalogue

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the documents (make catalogue)")

const root = "../.."

// TestUpToDate: the documents are what the folders say.
func TestUpToDate(t *testing.T) {
	manifests, err := filepath.Glob(root + "/plugins-src/*/plugin.json")
	if err != nil || len(manifests) < 4 {
		t.Fatalf("%d plugins, %v", len(manifests), err)
	}
	var all []*Plugin
	for _, m := range manifests {
		p, err := Read(filepath.Dir(m))
		if err != nil {
			t.Error(err)
			continue
		}
		all = append(all, p)
		file := filepath.Join(filepath.Dir(m), "README.md")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		want, err := p.Readme(string(text))
		if err != nil {
			t.Errorf("%s: %v", p.Name, err)
			continue
		}
		compare(t, file, want)
		if !p.Manifest.MultiConfig && p.Manifest.ABI == "proxy-wasm" && p.Name != "waf" { // whose instance is large, and its rules its own
			t.Errorf("%s: plugin.json: want multiConfig", p.Name)
		}
	}
	if *update || !t.Failed() {
		compare(t, root+"/docs/catalogue.md", Page(all))
	}
}

func compare(t *testing.T, file, want string) {
	t.Helper()
	got, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if string(got) == want {
		return
	}
	if !*update {
		t.Errorf("%s is stale: run make catalogue", file)
		return
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shop")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const shop = `{"title": "shop", "description": "Sells | buys.", "x-group": "change", "type": "object", "properties": {"a": {"type": "string", "description": "what"}}}`

func TestRead(t *testing.T) {
	right := map[string]string{"go.mod": "", "plugin.json": `{"abi": "proxy-wasm", "guard": true, "capabilities": ["cache"]}`, "schema.json": shop, "cost.json": `{"microsecondsPerRequest": 1.24, "instanceKiB": 300}`}
	p, err := Read(folder(t, right))
	if err != nil {
		t.Fatal(err)
	}
	page := Page([]*Plugin{p})
	if want := "| [shop](../plugins-src/shop/README.md) | Sells \\| buys. | Go | yes | cache | 1.2 µs, 300 KiB |\n"; !strings.Contains(page, want) {
		t.Errorf("got %s", page)
	}
	p.Cost = ""
	if strings.Contains(Page([]*Plugin{p}), "cost") {
		t.Error("a cost that nobody has measured")
	}
	if text, err := p.Readme("before\n" + begin + "old\n" + end + "after\n"); err != nil || !strings.HasPrefix(text, "before\n"+begin+"\n| key |") || !strings.HasSuffix(text, "| what |\n\n"+end+"after\n") {
		t.Errorf("got %q, %v", text, err)
	}
	if _, err := p.Readme("before\n"); err == nil {
		t.Error("a README without marks is taken")
	}
	for name, test := range map[string][3]string{
		"no plugin":                  {"go.mod", "", "no plugin is here"},
		"no manifest":                {"plugin.json", "", "plugin.json"},
		"a manifest that is none":    {"plugin.json", "{", "plugin.json"},
		"no schema":                  {"schema.json", "", "schema.json"},
		"a schema that is none":      {"schema.json", "{", "schema.json: "},
		"another title":              {"schema.json", strings.Replace(shop, `"shop"`, `"pub"`, 1), "want the title shop"},
		"no description":             {"schema.json", strings.Replace(shop, `"description": "Sells | buys."`, `"x": 1`, 1), "a description"},
		"a field without a word":     {"schema.json", strings.Replace(shop, `"description": "what"`, `"x": 1`, 1), "a has no description"},
		"no group":                   {"schema.json", strings.Replace(shop, "change", "other", 1), `x-group: "other"`},
		"a cost that is none":        {"cost.json", `{"microsecondsPerRequest": "1"}`, "cost.json: want"},
		"a cost without its memory":  {"cost.json", `{"microsecondsPerRequest": 1}`, "cost.json: want"},
		"a cost that is not told so": {"cost.json", `{}`, "cost.json: want"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			for file, text := range right {
				if files[file] = text; file == test[0] {
					if files[file] = test[1]; test[1] == "" {
						delete(files, file)
					}
				}
			}
			if _, err := Read(folder(t, files)); err == nil || !strings.Contains(err.Error(), test[2]) {
				t.Errorf("got %v; want %q", err, test[2])
			}
		})
	}
}
