package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/author/cases"
	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/k8s/files"
)

// TestWriteAPluginDocument: the cases of docs/write-a-plugin.md can be read, and its
// objects have no problem.
func TestWriteAPluginDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/write-a-plugin.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := yamlBlock.FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 4 {
		t.Fatalf("%d blocks; want cases, a Service, and a PluginPolicy of a cluster and one of a laptop", len(blocks))
	}
	if file, err := cases.Parse("cases.yaml", []byte(blocks[0][1])); err != nil || len(file.Cases) != 4 {
		t.Errorf("got %v", err)
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	objects := strings.NewReplacer("@sha256:...", "@sha256:"+strings.Repeat("0", 64), `"-----BEGIN PUBLIC KEY-----..."`, quoted(key)).Replace(blocks[1][1] + "---\n" + blocks[2][1] + "---\n" + blocks[3][1])
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(objects), 0o600); err != nil {
		t.Fatal(err)
	}
	checked, err := files.Check(dir, newTranslator(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range checked.Problems {
		t.Error(p)
	}
}

// TestPlaceObjects: what penstock plugin run writes has no problem, whatever it is in
// front of.
func TestPlaceObjects(t *testing.T) {
	for _, to := range []string{"http://127.0.0.1:9000", "http://[::1]:9000/a/b%20c/", "https://127.0.0.1", "http://localhost:1/x"} {
		p, err := placeOf(t.Context(), tryOptions{to: to, listen: "127.0.0.1:8080", services: []string{"check=127.0.0.1:9001", "other:443=[::1]:9002"}})
		if err != nil {
			t.Fatal(err)
		}
		s := subject{folder: "/some where/Prices_2"}
		ref, err := oci.ParseReference("plugin.penstock.dev/run/" + repository(filepath.Base(s.folder)) + ":1")
		if err != nil {
			t.Fatal(err)
		}
		name, object := configMap([]byte("a: \"b\\n\"\n---: {{\n"))
		text := object + "---\n" + p.objects(ref, "sha256:"+strings.Repeat("0", 64), []string{"http-call"}, name, []string{"*.example.com"})
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		checked, err := files.Check(dir, newTranslator(nil))
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range checked.Problems { // the configuration is no mapping, which is all that is wrong
			if !strings.Contains(problem.Message, "configFrom") {
				t.Errorf("%s: %s\n%s", to, problem, text)
			}
		}
		if len(checked.Problems) == 0 {
			t.Error("a configuration that is no mapping is taken")
		}
	}
}
