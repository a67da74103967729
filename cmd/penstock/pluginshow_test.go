package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"penstock.dev/penstock/core/oci"
)

// layoutOf makes a layout with an image under the name of a bundled plugin.
func layoutOf(t *testing.T, name string, schema string, cases ...oci.CasesFile) string {
	t.Helper()
	dir := t.TempDir()
	ref, err := oci.ParseReference("penstock.dev/plugins/" + name + ":1")
	if err != nil {
		t.Fatal(err)
	}
	module := []byte("\x00asm\x01\x00\x00\x00")
	if _, err := oci.WriteLayout(dir, ref, module, []byte(`{"abi": "proxy-wasm", "capabilities": ["cache"], "guard": true, "cost": {"microsecondsPerRequest": 1.25, "instanceKiB": 64}}`), []byte(schema), cases...); err != nil {
		t.Fatal(err)
	}
	return dir
}

// run runs a command of penstock plugin in this process.
func runPlugin(t *testing.T, args ...string) (out, errors string, err error) {
	t.Helper()
	c := pluginCommand()
	c.SetArgs(args)
	c.SilenceErrors, c.SilenceUsage = true, true
	var o, e bytes.Buffer
	c.SetOut(&o)
	c.SetErr(&e)
	err = c.ExecuteContext(t.Context())
	return o.String(), e.String(), err
}

// TestPluginList: names come from the catalogue, all else from the images.
func TestPluginList(t *testing.T) {
	out, hint, err := runPlugin(t, "list")
	if err != nil || !strings.Contains(strings.Join(strings.Fields(out), " "), " key-auth 1 yes mock 1 ") || !strings.Contains(out, "cache  ") {
		t.Errorf("got %s, %v", out, err)
	}
	if !strings.Contains(hint, "left out for") || !strings.Contains(hint, "--images") {
		t.Errorf("got %s", hint)
	}
	dir := layoutOf(t, "transform", `{"title": "transform", "description": "Changes\n things."}`)
	out, hint, err = runPlugin(t, "list", "--images", dir, "--json")
	if err != nil || strings.Contains(hint, "transform") || !strings.Contains(hint, "waf") {
		t.Errorf("got %s, %v", hint, err)
	}
	var all []listed
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, p := range all {
		if p.Name == "transform" {
			found = p.Description == "Changes things." && p.Guard && len(p.Capabilities) == 1 && p.Bytes == 8 && strings.HasPrefix(p.Digest, "sha256:")
		}
	}
	if !found {
		t.Errorf("got %+v", all)
	}
}

// TestPluginShow: what is shown of a plugin of the catalogue.
func TestPluginShow(t *testing.T) {
	dir := layoutOf(t, "transform", `{"type": "object", "description": "Changes things.", "properties": {"a": {"type": "string", "description": "what a is"}}}`,
		oci.CasesFile{Name: "cases.yaml", Text: []byte("cases: [{name: wrong, config: {b: 1}, refused: b}, {name: right, config: {a: x}, response: {status: 200}}]")})
	text, err := os.ReadFile("testdata/show.txt")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	s, err := subjectOf(t.Context(), options{images: []string{dir}, imageQuota: "1Mi"}, "transform", "")
	if err != nil {
		t.Fatal(err)
	}
	found := shown{Description: description(s.image), inspected: &inspected{ABI: "proxy-wasm", Image: "i", Manifest: s.image.Manifest, Schema: s.image.Schema, Module: "m", Bytes: 8}}
	if err := found.fill(s); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	found.write(&out, "transform")
	if got := out.String(); got != string(text) {
		t.Errorf("got\n%s\nwant\n%s", got, text)
	}
	for name, want := range map[string]string{
		"trnsform":  "did you mean transform?",
		"nobody":    "is no folder, no bundled plugin and no image reference (penstock plugin list",
		"transform": "--images names the folder",
		t.TempDir(): "no plugin is here",
	} {
		if _, _, err := runPlugin(t, "show", name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v; want %s", name, err, want)
		}
	}
}
