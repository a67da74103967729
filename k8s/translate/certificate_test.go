package translate

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// FuzzKeyPair: crypto/tls accepts whatever is accepted here, with the same chain;
// an error shows nothing of the key.
func FuzzKeyPair(f *testing.F) {
	text, err := os.ReadFile("testdata/tls.in.yaml")
	if err != nil {
		f.Fatal(err)
	}
	seeds := 0
	for _, doc := range strings.Split(string(text), "\n---\n") {
		var secret struct {
			Kind       string
			StringData map[string]string
		}
		if err := yaml.Unmarshal([]byte(doc), &secret); err != nil {
			f.Fatal(err)
		}
		if secret.Kind == "Secret" && secret.StringData != nil {
			seeds++
			f.Add([]byte(secret.StringData["tls.crt"]), []byte(secret.StringData["tls.key"]))
		}
	}
	if seeds < 10 {
		f.Fatalf("only %d seeds", seeds)
	}
	f.Fuzz(func(t *testing.T, chain, key []byte) {
		c, _, err := parseKeyPair(chain, key)
		if err != nil {
			for line := range bytes.Lines(key) {
				if line = bytes.TrimSpace(line); len(line) > 40 && !bytes.Contains(chain, line) && strings.Contains(err.Error(), string(line)) {
					t.Fatalf("the error shows the key: %v", err)
				}
			}
			return
		}
		want, err := tls.X509KeyPair(chain, key)
		if err != nil {
			t.Fatalf("crypto/tls refuses it: %v", err)
		}
		if len(want.Certificate) != len(c.Chain) {
			t.Fatalf("got a chain of %d; want %d", len(c.Chain), len(want.Certificate))
		}
		for i := range c.Chain {
			if !bytes.Equal(c.Chain[i], want.Certificate[i]) {
				t.Fatalf("certificate %d differs", i)
			}
		}
		if _, err := tls.X509KeyPair(chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: c.Key})); err != nil {
			t.Fatalf("the key that was written: %v", err)
		}
		if _, err := x509.ParsePKCS8PrivateKey(c.Key); err != nil {
			t.Fatal(err)
		}
	})
}
